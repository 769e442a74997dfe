"""Kill the pipeline at random moments: what comes after must be the bytes of a run that was never killed.

The moments come from a seed, which each failure names with the moment, so that it can be repeated.
"""

import importlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import chdir, suppress
from functools import cache
from pathlib import Path

from stagecraft import resume
from tests import replica
from tests.project import DIGITS, ENVIRONMENT, QUICK, STAGES, Project, declared

import pytest

SEED = 20
STAGE_KILLS = 40
LOSSES = "plots/loss.csv"  # written after each epoch
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
pytestmark = pytest.mark.slow


def broken(folder: Path, whole: Path) -> list[str]:
    """Results that are not those of the whole run; the losses may be those of its first epochs, in whole lines."""
    expected = replica.results(whole)
    different = {path: content for path, content in replica.results(folder).items() if expected.get(path) != content}
    begun = different.get(LOSSES, b"")
    if begun.endswith(b"\n") and expected[LOSSES].startswith(begun):
        del different[LOSSES]
    return [*different]


def start(stage: str, longest_file: int | None = None) -> int:
    """The process id of a copy of this process, with everything imported, that runs one stage.

    The system kills it in the middle of a write that makes a file longer than `longest_file` bytes.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if longest_file is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_FSIZE, (longest_file, longest_file))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            importlib.import_module(f"stages.{stage}").main()
            status = 0
        finally:
            os._exit(status)
    return pid


def files_of(stage: str) -> list[Path]:
    """What a stage has written here, the files of a folder, too."""
    outs = [Path(out) for out in declared(stage, "outs")]
    return [path for out in outs for path in [out, *out.rglob("*")] if path.is_file()]


def clear(stage: str) -> None:
    """Delete what a stage writes, as DVC does before it runs one, and what it could go on from."""
    shutil.rmtree(resume.FOLDER, ignore_errors=True)
    for path in files_of(stage):
        path.unlink()


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory, run_stages) -> Callable[[str], tuple[Path, float]]:
    """Where a stage ran to its end, and the seconds that it took."""

    @cache
    def run(stage: str) -> tuple[Path, float]:
        folder = shutil.copytree(small, tmp_path_factory.mktemp(stage), dirs_exist_ok=True)
        with chdir(folder):
            if stage == "train":  # more epochs than the other tests need, so that kills come in the middle of them
                run_stages(epochs=12)
            began = time.monotonic()
            os.waitpid(start(stage), 0)
            return folder, time.monotonic() - began

    return run


@pytest.mark.parametrize("kill", range(STAGE_KILLS))
def test_a_stage_killed_at_any_moment(kill: int, finished: Callable[[str], tuple[Path, float]], tmp_path: Path) -> None:
    chance = random.Random(f"{SEED} {kill}")
    stage, moment, how = chance.choice([*STAGES]), chance.random(), chance.choice(SIGNALS)
    whole, seconds = finished(stage)
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    with chdir(tmp_path):
        clear(stage)
        pid = start(stage)
        time.sleep(moment * seconds)
        os.kill(pid, how)
        os.waitpid(pid, 0)
        told = f"seed {SEED}, kill {kill}: {stage}, {how.name} at {moment:.0%} of {seconds:.2f} s"
        assert broken(tmp_path, whole) == [], f"{told} left a result that is no whole one"
        os.waitpid(start(stage), 0)
    assert replica.difference(whole, tmp_path) == "", told


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_in_the_middle_of_each_write(stage: str, small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    with chdir(tmp_path):
        for size in sorted({path.stat().st_size for path in files_of(stage)}):
            clear(stage)
            _, status = os.waitpid(start(stage, longest_file=size - 1), 0)
            assert os.WTERMSIG(status) == signal.SIGXFSZ
            assert broken(tmp_path, small) == [], f"{stage}, killed at byte {size - 1} of a file"
        os.waitpid(start(stage), 0)
    assert replica.difference(small, tmp_path) == ""


@pytest.mark.parametrize(
    ("stage", "moment", "how", "kill_it"),
    [("train", 2.5, signal.SIGKILL, os.kill), ("render", 0.9, signal.SIGINT, os.killpg)],
)
def test_dvc_killed_some_seconds_after_the_start_of_a_stage(stage, moment, how, kill_it, digits, tmp_path):
    # A stage whose DVC was killed alone goes on beside the next run.
    project = Project(tmp_path / "project", **DIGITS)
    with (tmp_path / "printed").open("w+") as printed:
        process = subprocess.Popen(
            ["dvc", "repro"], cwd=project.folder, env=ENVIRONMENT, start_new_session=True,
            stdout=printed, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while f"Running stage '{stage}'" not in (tmp_path / "printed").read_text():
            assert process.poll() is None
            time.sleep(0.02)
    time.sleep(moment)
    with suppress(ProcessLookupError):
        kill_it(process.pid, how)
    process.wait()
    project.run("python", "-m", "tools.repair")
    project.run("dvc", "repro")
    assert replica.results(digits).items() <= replica.results(project.folder).items()
    assert project.read("dvc.lock") == (digits / "dvc.lock").read_bytes()


INTERRUPTED = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it
def interrupt(event, arguments):
    if event == "os.rename":
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(interrupt)
runpy.run_module(f"stages.{sys.argv[1]}", run_name="__main__")
"""


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_while_the_first_result_gets_its_name_ends_a_stage_with_one_line(stage, small, tmp_path):
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    with chdir(tmp_path):
        clear(stage)
    environment = QUICK | {"PYTHONPATH": str(Path.cwd())}
    command = ["python", "interrupted.py", stage]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in result.stderr
