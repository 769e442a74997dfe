"""The whole pipeline under DVC, on the embedded digits, as a user runs it."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

from stages.lib import digits
from tests import replica
from tests.project import DIGITS, MODULES, QUICK, ROOT, Project, copy_code, run

import pytest

pytestmark = pytest.mark.slow
RUN = ("python", "-m", "tools.run")  # as `make run` does
NO_MIRROR = dict.fromkeys(("MNIST_MIRROR", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
WITHOUT = """
import os, runpy, signal, sys
for module in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[module] = None  # importing it raises ImportError
for name in ("fork", "getuid", "killpg", "sched_getaffinity"):
    delattr(os, name)
for name in ("SIGALRM", "SIGKILL", "alarm"):
    delattr(signal, name)
sys.path.insert(0, os.getcwd())
for module in sys.argv[1:]:
    runpy.run_module(module, run_name="__main__")
"""


def stages_run(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage ")]


@pytest.fixture(scope="module")
def project(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project on the digits, with a commit of its results."""
    project = Project(tmp_path_factory.mktemp("project"), original=digits)
    project.commit("results")
    return project


def test_another_learning_rate_trains_and_evaluates_only_and_the_way_back_runs_nothing(project: Project) -> None:
    before = project.read("plots/loss.csv")
    assert stages_run(project.run("dvc", "exp", "run", "-S", "lr=0.05")) == ["train", "evaluate", "draw"]
    assert project.read("plots/loss.csv") != before
    assert stages_run(project.run("dvc", "exp", "run", "-S", "lr=0.1")) == []
    assert "up to date" in project.run("dvc", "repro")
    assert project.read("plots/loss.csv") == before
    assert project.run("git", "status", "--porcelain") == ""


def test_settings_edited_while_a_stage_runs_are_not_recorded(digits: Path, tmp_path: Path) -> None:
    project = Project(tmp_path, original=digits)
    settings = project.folder / "params.yaml"
    settings.write_text(settings.read_text().replace("epochs: 2\n", "epochs: 20\n"))
    (project.folder / "plots/loss.csv").unlink()
    with subprocess.Popen(["dvc", "repro"], cwd=tmp_path, env=QUICK, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and not (project.folder / "plots/loss.csv").exists():
            time.sleep(0.01)
        settings.write_text(settings.read_text().replace("lr: 0.1", "lr: 0.4"))
        errors = running.communicate()[1]
    assert running.returncode != 0 and "while train ran, somebody changed lr (was 0.1, is 0.4)" in errors
    assert b"lr: 0.4" not in project.read("dvc.lock")
    assert stages_run(project.run("dvc", "repro")) == ["train", "evaluate", "draw"]
    assert b'\\"lr\\": 0.4' in project.read("models/checkpoint.safetensors")


def test_the_queue_runs_without_downloading_again(project: Project) -> None:
    project.run("dvc", "exp", "run", "--queue", "-S", "lr=0.2,0.3")
    project.run("dvc", "queue", "start", "-j", "2", **NO_MIRROR)
    deadline = time.monotonic() + 300
    while (status := project.run("dvc", "queue", "status")).count("Success") < 2:
        assert "Failed" not in status and time.monotonic() < deadline, status
        time.sleep(1)
    project.run("dvc", "queue", "stop", "--kill")


def test_without_a_mirror_make_run_falls_back_and_repro_says_what_to_do(tmp_path: Path) -> None:
    project = Project(tmp_path, epochs=1)
    failed = project.run("dvc", "repro", status=None, **NO_MIRROR)
    assert "no mirror of mnist can be reached" in failed and "http://127.0.0.1:9\n" in failed
    assert "Traceback" not in failed
    for running in ("Running the same stages on the embedded digits", "Data and pipelines are up to date"):
        shown = project.run(*RUN, **NO_MIRROR)
        assert running in shown
        assert "This is on the digits, not on MNIST. To return: `git checkout params.yaml`" in shown
        assert json.loads(project.read("metrics/test.json"))["total"] == 297


def test_the_digits_never_replace_what_is_there_of_mnist(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", epochs=1)
    with (project.folder / "stages/lib/data.py").open("a") as file:
        file.write('DATASETS["mnist"] = DATASETS["digits"]\n')  # small files in place of MNIST's
    for name, content in digits.files().items():
        (tmp_path / name).write_bytes(content)
    project.run(*RUN, MNIST_MIRROR=str(tmp_path))
    lock, test = project.read("dvc.lock"), project.read("metrics/test.json")
    with (project.folder / "stages/download.py").open("a") as file:
        file.write("# touched\n")
    assert "Running stage 'download'" in project.run(*RUN, **NO_MIRROR)
    assert project.read("dvc.lock") != lock and project.read("metrics/test.json") == test
    for lost in (".dvc/cache", "data/raw"):
        shutil.rmtree(project.folder / lost)
    assert "no mirror of mnist can be reached" in project.run(*RUN, status=None, **NO_MIRROR)
    assert project.read("metrics/test.json") == test and b"dataset: mnist" in project.read("params.yaml")


def test_on_a_terminal_make_run_shows_how_far_training_is(digits: Path, tmp_path: Path) -> None:
    project = Project(tmp_path, original=digits)
    with (project.folder / "stages/train.py").open("a") as file:
        file.write("# touched\n")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    shown = b""
    with subprocess.Popen(RUN, cwd=tmp_path, env=QUICK, stdout=theirs, stderr=theirs):
        os.close(theirs)
        with suppress(OSError):  # nobody has it open any more
            while chunk := os.read(ours, 2**16):
                shown += chunk
    os.close(ours)
    assert re.search(r"0%\|.*\| 0/2 \[.*epoch/s\]", shown.decode()), shown
    assert b"epoch 2/2  train_loss" in shown


def test_nothing_else_makes_run_fall_back(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "stages/download.py").write_text("raise SystemExit(1)\n")
    shown = project.run(*RUN, status=None, **NO_MIRROR)
    assert "failed to reproduce 'download'" in shown and "digits" not in shown
    (tmp_path / "params.yaml").write_text("lr: -1\n")
    assert "error: params.yaml" in project.run(*RUN, status=None)


def test_two_runs_at_once_do_not_disturb_each_other(project: Project, tmp_path: Path) -> None:
    twice = Project(tmp_path, **DIGITS)
    runs = [
        subprocess.Popen(["dvc", "repro"], cwd=tmp_path, env=QUICK, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for each in runs:
        _, errors = each.communicate()
        assert each.returncode == 0 or b"lock" in errors, errors
    twice.run("dvc", "repro")
    assert replica.difference(project.folder, tmp_path) == ""


def test_it_runs_without_what_docs_change_md_says_can_be_deleted(digits: Path, tmp_path: Path) -> None:
    project = Project(tmp_path, original=digits)
    weights = project.read("models/checkpoint.safetensors")
    page = (ROOT / "docs/change.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\$ (.*?) +#", page.split("## Make it yours")[1], re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        project.run("sh", "-ec", line)
        project.run("dvc", "repro")
    assert not (tmp_path / "tools").exists()

    model = tmp_path / "stages/lib/model.py"
    code = re.sub(r"(?ms)^(?:class|def) (?!sequential|empty|initialize)\w+.*?\n\n\n", "", model.read_text())
    model.write_text(re.sub(r'    "(?!sequential)\w+": \w+,\n', "", code))
    assert "Running stage 'train'" in project.run("dvc", "repro")
    assert project.read("models/checkpoint.safetensors") == weights


def test_all_runs_without_what_windows_lacks_and_writes_the_same_bytes(swept: Path, tmp_path: Path) -> None:
    copy_code(tmp_path)
    for name in ("params.yaml", "sweep/params.yaml"):
        shutil.copy(swept / name, tmp_path / name)
    for path in [*tmp_path.rglob("*.py"), *tmp_path.rglob("*.yaml")]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    shutil.copytree(swept / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw"))
    run(sys.executable, "-c", WITHOUT, *MODULES, cwd=tmp_path)
    written = [path for name in ("data", "models", "metrics", "plots") for path in (swept / name).rglob("*.*")]
    assert len(written) > 20
    assert [path for path in written if (tmp_path / path.relative_to(swept)).read_bytes() != path.read_bytes()] == []
