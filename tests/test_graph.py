"""What dvc.yaml and sweep/dvc.yaml declare is what the stages use: their imports, their files and their settings."""

import re
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from stagecraft import resume
from stages import train
from stages.lib import params
from sweep.grid import Grid
from tests.project import MODULES, PACKAGES, ROOT, STAGES, SWEEP, declared, file_of, reading_order, run
from tools import outputs, repair

import pytest
import yaml

events: list[tuple[str, str]] = []


def audit(event: str, arguments: tuple[object, ...]) -> None:
    """Note each file opened for reading and each renamed to its final name."""
    if event == "os.rename":
        events.append(("write", str(arguments[1])))
    elif event == "open" and arguments[1] in ("r", "rb"):
        events.append(("read", str(arguments[0])))


sys.addaudithook(audit)  # can't be taken away again


def test_the_stages_are_the_files_of_the_folder_in_order():
    files = sorted(path.stem for path in (ROOT / "stages").glob("*.py"))
    assert sorted(STAGES) == files, "dvc.yaml: each file of stages is a stage, and each stage a file"
    assert [*MODULES][: len(STAGES)] == [f"stages.{name}" for name in STAGES]
    assert all(stage["desc"] for stage in MODULES.values())


def test_a_stage_never_imports_another():
    for name in STAGES:
        files = [path for path in declared(name, "deps") if re.fullmatch(r"stages/\w+\.py", path)]
        assert files == [file_of(f"stages.{name}")]


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_deps(module):
    found = {path for path in declared(module, "deps") if path.endswith(".py") or path in PACKAGES}
    imports = {*reading_order(file_of(module), set())}
    assert found == imports, f"`deps` of {module} in its dvc.yaml: list all that it imports, itself too"


def test_a_training_goes_on_with_the_same_code_only():
    for name in reading_order("stages/train.py", set()):
        files = {*ROOT.glob(f"{name}/**/*.py" if name in PACKAGES else name)} - {*ROOT.glob(f"{name}/tests/*")}
        assert files <= {*train.CODE}, f"stages.train.CODE: {name}"


def test_what_makes_a_stage_safe_knows_no_stage():
    imports = [line for path in (ROOT / "stagecraft").glob("*.py") for line in path.read_text().splitlines()]
    assert not [line for line in imports if re.match(r"\s*(from|import) (stages|drawing|sweep|tools)\b", line)]


@pytest.mark.parametrize("module", MODULES)
def test_files_and_settings_used_are_declared(module, swept, tmp_path, run_stages, monkeypatch):
    files_read = {path for path in declared(module, "deps") if not path.endswith(".py")} - PACKAGES
    for path in {"sweep/params.yaml", *files_read}:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(swept / path)
    read = set()

    def reading(self: params.Params | Grid, name: str) -> object:
        read.add(name)
        return object.__getattribute__(self, name)

    for schema in (params.Params, Grid):
        monkeypatch.setattr(schema, "__getattribute__", reading)
    events.clear()
    with chdir(tmp_path):
        run_stages(module)
    if module.startswith("sweep."):
        read.discard("seed")  # each model has its own
    settings = read & {*params.Params.model_fields, *Grid.model_fields}
    entries = [{"": [entry]} if isinstance(entry, str) else entry for entry in MODULES[module]["params"]]
    named = {name for entry in entries for names in entry.values() for name in names}
    assert settings == named, f"`params` of {module} in its dvc.yaml: list the settings that it reads"

    beside = {Path(path) for kind, path in events if kind == "read" and path.endswith((".html", ".js"))}
    assert {path.relative_to(ROOT).parts[0] for path in beside} <= declared(module, "deps") & PACKAGES
    undeclared = ("params.yaml", "sweep/params.yaml", f"{resume.FOLDER}/")
    files = {(kind, path) for kind, path in events if not Path(path).is_absolute() and not path.startswith(undeclared)}
    for kind, known in (("read", files_read), ("write", declared(module, "outs"))):
        found = {folder_of(path, known) for each, path in files if each == kind}
        assert found == known, f"`deps` and outputs of {module}: list the files that it reads and writes"


def folder_of(path: str, folders: set[str]) -> str:
    """The declared folder that a file lies in, or else its own path."""
    return next((str(parent) for parent in Path(path).parents if str(parent) in folders), path)


@pytest.mark.parametrize("name", [*STAGES, *SWEEP])
def test_a_stage_refuses_to_be_recorded_if_something_it_is_made_from_changed(name):
    module, graph = (f"stages.{name}", "") if name in STAGES else ("sweep.run", ', "sweep/dvc.yaml"')
    code = (ROOT / file_of(module)).read_text()
    assert f'inputs.unchanged("{name}"{graph})' in code, f"{module}: put main() in the context `inputs.unchanged`"


@pytest.mark.parametrize("lock", repair.LOCKS)
def test_the_last_commit_s_results_are_of_its_code(lock, tmp_path, monkeypatch):
    subprocess.run(f"git archive HEAD | tar -xC '{tmp_path}'", shell=True, cwd=ROOT, check=True)
    monkeypatch.chdir(tmp_path)
    stages = yaml.safe_load(Path(lock).read_text())["stages"].values() if Path(lock).exists() else []
    recorded = {Path(dep["path"]): dep["md5"] for stage in stages for dep in stage["deps"]}
    changed = [path.as_posix() for path, md5 in recorded.items() if path.exists() and outputs.hash_of(path) != md5]
    assert not changed, f"{lock}: commit what `dvc repro {lock.replace('lock', 'yaml')}` makes; changed: {changed}"


def test_no_stage_runs_again_for_what_a_tool_leaves_beside_the_package():
    names = ".pytest_cache/CACHEDIR.TAG", "README.md", "tests/test_grid.py", "grid.py"
    files = [f"samebits/{name}" for name in names]
    assert run("dvc", "check-ignore", *files, cwd=ROOT).splitlines() == files[:3]
