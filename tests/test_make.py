"""make itself: when it sets up anew, and what it says where Git has nothing to compare with."""

import re
import shlex
import shutil
import sys
from pathlib import Path

from tests.project import ENVIRONMENT, ROOT, Project, run

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def set_up(folder: Path) -> None:
    """An environment such as make leaves, whose Python is that of the tests."""
    (folder / ".venv/bin").mkdir(parents=True)
    python = folder / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (folder / ".venv/ready").write_text(f"{folder}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder, é (1)"
    (folder / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "requirements.txt", folder)
    set_up(folder)
    return folder


@pytest.mark.parametrize(
    ("change", "set_up_by"),
    [
        ("true", []),
        ("touch -t 200001010000 .venv/ready", ["-m venv .venv "]),  # older than requirements.txt, which may name more
        ("echo /elsewhere > .venv/ready", ["-m venv .venv --clear"]),  # as if the folder had been moved
        ("ln -sf /no/such/python .venv/bin/python", ["-m venv .venv --clear"]),
    ],
)
def test_an_environment_is_used_added_to_or_made_anew(folder: Path, change: str, set_up_by: list[str]) -> None:
    run("sh", "-c", change, cwd=folder)
    *planned, last = run("make", "--no-print-directory", "--dry-run", "repair", cwd=folder).splitlines()
    assert re.findall("-m venv .*", "\n".join(planned)) == set_up_by and last == "python -m tools.repair"
    assert set_up_by or not planned


@pytest.mark.parametrize("name", ["a$b.png", "$(x) #1.png", "it's.png", ""])
def test_a_picture_s_name_reaches_python_as_it_was_typed(folder: Path, name: str) -> None:
    (folder / "tools/predict.py").write_text("import sys\nprint(sys.argv[1:])\n")
    assert run("make", "--silent", "predict", f"IMAGE={name}", cwd=folder) == f"{[name]}\n"


def test_pip_and_dvc_find_what_they_need_in_any_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "tools/repair.py").write_text("import os\nprint(os.environ['PIP_USER'], len(os.environ['USER']) > 0)\n")
    monkeypatch.setitem(ENVIRONMENT, "PIP_USER", "1")
    monkeypatch.delitem(ENVIRONMENT, "USER", raising=False)
    assert run("make", "--silent", "repair", cwd=folder) == "0 True\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    set_up(project.folder)
    return project


@pytest.mark.slow
def test_a_report_tells_what_changed_or_that_there_is_no_base(project: Project) -> None:
    settings = project.folder / "params.yaml"
    settings.write_text(settings.read_text().replace("lr: 0.1", "lr: 0.3"))
    assert "| params.yaml | lr      | 0.1    | 0.3         |" in project.run("make", "--silent", "report")
    project.run("git", "checkout", "-q", "params.yaml")
    for base in ("0" * 40, "HEAD~1"):
        printed = project.run("make", "--silent", "report", f"BASE={base}")
        assert printed.startswith(f"There is no commit {base} here") and printed.count("\n") == 1


@pytest.mark.slow
def test_no_experiments_are_explained(project: Project) -> None:
    assert project.run("make", "--silent", "experiments").startswith("No experiment started from this commit")


@pytest.mark.slow
def test_the_page_names_the_last_commit_that_make_has_seen(project: Project) -> None:
    for message in ("one", "two"):
        project.run("git", "commit", "--quiet", "--allow-empty", "--message", message)
        project.run("make", "--silent", ".dvc/page.html")
        commit = project.run("git", "rev-parse", "--short", "HEAD").strip()
        assert f'const COMMIT = "{commit}";' in project.read(".dvc/page.html").decode()


@pytest.mark.slow
def test_modules_are_found_whatever_python_s_safe_path_says(project: Project) -> None:
    assert "repair: nothing is damaged" in project.run("make", "--silent", "repair", PYTHONSAFEPATH="1")
