"""What dvc.yaml declares is what the stages use: their imports, their files and their settings."""

import ast
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from stages.lib import params, resume
from tests.project import ROOT, STAGES, declared

import pytest


def project_imports(path: Path) -> set[Path]:
    """The project's own files that a file imports, directly or not, and itself; imports inside functions count."""
    found, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        found.add(current)
        for node in ast.walk(ast.parse((ROOT / current).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            paths = {Path(*name.split(".")).with_suffix(".py") for name in names}
            waiting += [imported for imported in paths - found if (ROOT / imported).exists()]
    return found


recording: list[tuple[str, str]] | None = None


def audit(event: str, arguments: tuple[object, ...]) -> None:
    """Note each file opened for reading and each renamed to its final name, while a test records."""
    if recording is None or event not in ("open", "os.rename"):
        return
    path, how = str(arguments[0]), arguments[1]
    if event == "os.rename":
        recording.append(("write", str(how)))
    elif how == "r" or how == "rb":
        recording.append(("read", path))


sys.addaudithook(audit)  # can't be taken away again, hence `recording`


@contextmanager
def recorded_files() -> Iterator[list[tuple[str, str]]]:
    global recording
    recording = events = []
    try:
        yield events
    finally:
        recording = None


def test_the_stages_are_the_files_of_the_folder_in_order() -> None:
    assert sorted(STAGES) == sorted(path.stem for path in (ROOT / "stages").glob("*.py"))
    assert all(stage["cmd"] == f"python -m stages.{name}" and stage["desc"] for name, stage in STAGES.items())


def test_a_stage_never_imports_another() -> None:
    for stage in STAGES:
        others = {Path(f"stages/{other}.py") for other in STAGES if other != stage}
        assert not project_imports(Path(f"stages/{stage}.py")) & others


@pytest.mark.parametrize("stage", STAGES)
def test_imports_are_deps(stage: str) -> None:
    code = {path for path in declared(stage, "deps") if path.endswith(".py")}
    assert code == {str(path) for path in project_imports(Path(f"stages/{stage}.py"))}


@pytest.mark.parametrize("stage", STAGES)
def test_files_and_settings_used_are_declared(
    stage: str, small: Path, tmp_path: Path, run_stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data", "metrics", "models", "plots"):
        (tmp_path / name).mkdir()
    for path in declared(stage, "deps") - {str(path) for path in project_imports(Path(f"stages/{stage}.py"))}:
        (tmp_path / path).symlink_to(small / path)
    read = set()
    plain = params.Params.__getattribute__

    def reading(self: params.Params, name: str) -> object:
        read.add(name)
        return plain(self, name)

    with chdir(tmp_path), recorded_files() as events:
        monkeypatch.setattr(params.Params, "__getattribute__", reading)
        run_stages(stage)
    assert read - {"initial", "training"} == set(STAGES[stage]["params"])

    undeclared = (
        "params.yaml",
        f"{resume.FOLDER}/",
    )
    files = {(kind, path) for kind, path in events if not Path(path).is_absolute() and not path.startswith(undeclared)}
    reads = {path for kind, path in files if kind == "read"}
    assert {folder_of(path, declared(stage, "deps")) for path in reads} == {
        path for path in declared(stage, "deps") if not path.endswith(".py")
    }
    writes = {path for kind, path in files if kind == "write"}
    assert {folder_of(path, declared(stage, "outs")) for path in writes} == declared(stage, "outs")


def folder_of(path: str, folders: set[str]) -> str:
    """The declared folder that a file lies in, or else its own path."""
    return next((str(parent) for parent in Path(path).parents if str(parent) in folders), path)
