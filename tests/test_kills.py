"""Kill the pipeline at random moments: what comes after must be the bytes of a run that was never killed.

The moments come from a seed, which each failure names with the moment, so that it can be repeated.
"""

import hashlib
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
from tests.project import ENVIRONMENT, QUICK, STAGES, Project, declared

import pytest

SEED = 20
STAGE_KILLS = 40
LOSSES = "plots/loss.csv"  # written after each epoch
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
Kill = Callable[[int, int], None]
pytestmark = pytest.mark.slow


def results(folder: Path) -> dict[str, str]:
    """The hash of every file under the folders of the stages' outputs."""
    paths = [path for name in ("data", "models", "metrics", "plots") for path in files_of(folder / name)]
    files = [path for path in paths if path.suffix != ".partial"]
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def broken(folder: Path, expected: dict[str, str], losses: bytes) -> list[str]:
    """Results that are not the expected ones; the losses may be those of the first epochs, in whole lines."""
    different = [path for path, md5 in results(folder).items() if expected.get(path) != md5]
    return [
        path
        for path in different
        if path != LOSSES or not losses.startswith((folder / path).read_bytes().removesuffix(b"\n") + b"\n")
    ]


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


@pytest.fixture(scope="module")
def finished(
    small: Path, tmp_path_factory: pytest.TempPathFactory, run_stages: Callable[..., None]
) -> Callable[[str], tuple[Path, float]]:
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
    expected, losses = results(whole), (whole / LOSSES).read_bytes()
    with chdir(tmp_path):
        clear(stage)
        pid = start(stage)
        time.sleep(moment * seconds)
        os.kill(pid, how)
        os.waitpid(pid, 0)
        told = f"seed {SEED}, kill {kill}: {stage}, {how.name} at {moment:.0%} of {seconds:.2f} s"
        assert broken(tmp_path, expected, losses) == [], f"{told} left a result that is no whole one"
        os.waitpid(start(stage), 0)
        assert results(tmp_path) == expected, told


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_in_the_middle_of_each_write(stage: str, small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    expected = results(small)
    with chdir(tmp_path):
        sizes = {path.stat().st_size for output in declared(stage, "outs") for path in files_of(Path(output))}
        for size in sorted(sizes):
            clear(stage)
            _, status = os.waitpid(start(stage, longest_file=size - 1), 0)
            assert os.WTERMSIG(status) == signal.SIGXFSZ
            whole = (small / LOSSES).read_bytes()
            assert broken(tmp_path, expected, whole) == [], f"{stage}, killed at byte {size - 1} of a file"
        os.waitpid(start(stage), 0)
        assert results(tmp_path) == expected


def clear(stage: str) -> None:
    """Delete what a stage writes, as DVC does before it runs one, and what it could go on from."""
    shutil.rmtree(resume.FOLDER, ignore_errors=True)
    for output in declared(stage, "outs"):
        for path in files_of(Path(output)):
            path.unlink()


def files_of(output: Path) -> list[Path]:
    """An output that is a file, or the files of one that is a folder."""
    return [path for path in [output, *output.rglob("*")] if path.is_file()]


@pytest.mark.parametrize(
    ("stage", "moment", "how", "kill_it"),
    [("train", 2.5, signal.SIGKILL, os.kill), ("render", 0.9, signal.SIGINT, os.killpg)],
)
def test_dvc_killed_some_seconds_after_the_start_of_a_stage(
    stage: str, moment: float, how: int, kill_it: Kill, digits: Path, tmp_path: Path
) -> None:
    # A stage whose DVC was killed alone goes on beside the next run.
    project = Project(tmp_path / "project", original=digits)
    project.commit("results")
    lock, expected = project.read("dvc.lock"), results(project.folder)
    with chdir(project.folder):
        for each in STAGES:
            clear(each)
        Path("dvc.lock").unlink()
        shutil.rmtree(".dvc/cache")
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
    assert {path: results(project.folder).get(path) for path in expected} == expected
    assert project.read("dvc.lock") == lock


INTERRUPTED = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it
awaited, stage = sys.argv[1:]
def interrupt(event, arguments):
    global awaited
    if event == awaited and (event != "import" or arguments[0] in ("torch", "sklearn")):
        awaited = ""
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(interrupt)
runpy.run_module(f"stages.{stage}", run_name="__main__")
"""


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("event", ["import", "os.rename"])
def test_ctrl_c_ends_a_stage_with_one_line(event: str, stage: str, small: Path, tmp_path: Path) -> None:
    # While a large library is imported, and while the first result gets its final name.
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    with chdir(tmp_path):
        clear(stage)
    environment = ENVIRONMENT if event == "import" else QUICK  # where all is imported
    result = subprocess.run(
        ["python", "interrupted.py", event, stage], cwd=tmp_path, env=environment | {"PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in result.stderr
