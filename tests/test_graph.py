"""What dvc.yaml and sweep/dvc.yaml declare is what the stages use: their imports, their files and their settings."""

import ast
import re
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from stagecraft import resume
from stages import train
from stages.lib import params
from sweep.grid import Grid
from tests.project import MODULES, PACKAGES, ROOT, STAGES, SWEEP, declared, run
from tools import outputs, repair

import pytest
import yaml


def project_imports(module: str) -> set[str]:
    """The project's own files that a module imports, directly or not, and itself; imports inside functions count."""
    found, waiting = set(), [file_of(module)]
    while waiting:
        current = waiting.pop()
        if (package := current.partition("/")[0].removesuffix(".py")) in PACKAGES:
            found.add(package)
            continue
        found.add(current)
        for node in ast.walk(ast.parse((ROOT / current).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            paths = {file_of(name) for name in names}
            waiting += [path for path in paths - found if (ROOT / path).exists() or path[:-3] in PACKAGES]
    return found


def file_of(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


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
    stages = {f"stages/{name}.py" for name in STAGES}
    for stage in stages:
        assert project_imports(stage.removesuffix(".py").replace("/", ".")) & stages == {stage}


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_deps(module):
    found = {path for path in declared(module, "deps") if path.endswith(".py") or path in PACKAGES}
    assert found == project_imports(module), f"`deps` of {module} in its dvc.yaml: list all that it imports, itself too"


def test_a_training_goes_on_with_the_same_code_only():
    for name in project_imports("stages.train"):
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
    reads = {path for kind, path in files if kind == "read"}
    assert {folder_of(path, files_read) for path in reads} == files_read, f"`deps` of {module}: list the files it reads"
    writes = {path for kind, path in files if kind == "write"}
    outputs = declared(module, "outs")
    assert {folder_of(path, outputs) for path in writes} == outputs, f"outputs of {module}: list the files it writes"


def folder_of(path: str, folders: set[str]) -> str:
    """The declared folder that a file lies in, or else its own path."""
    return next((str(parent) for parent in Path(path).parents if str(parent) in folders), path)


@pytest.mark.parametrize("module", MODULES)
def test_a_stage_refuses_to_be_recorded_if_something_it_is_made_from_changed(module):
    name = next(name for name, stage in {**STAGES, **SWEEP}.items() if stage is MODULES[module])
    graph = "" if name in STAGES else f', "{module.split(".")[0]}/dvc.yaml"'
    code = (ROOT / file_of(module)).read_text()
    assert f'inputs.unchanged("{name}"{graph})' in code, f"{module}: put main() in the context `inputs.unchanged`"


@pytest.mark.parametrize("lock", repair.LOCKS)
def test_the_last_commit_s_results_are_of_its_code(lock, tmp_path, monkeypatch):
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=tmp_path, input=archive, check=True)
    monkeypatch.chdir(tmp_path)
    stages = yaml.safe_load(Path(lock).read_text())["stages"].values() if Path(lock).exists() else []
    recorded = {Path(dep["path"]): dep["md5"] for stage in stages for dep in stage["deps"]}
    changed = [path.as_posix() for path, md5 in recorded.items() if path.exists() and outputs.hash_of(path) != md5]
    assert not changed, (
        f"{lock}: run `dvc repro {lock.replace('lock', 'yaml')}` and commit it, as these changed: {changed}"
    )


def test_no_stage_runs_again_for_what_a_tool_leaves_beside_the_package():
    names = ".pytest_cache/CACHEDIR.TAG", "README.md", "tests/test_grid.py", "grid.py"
    files = [f"samebits/{name}" for name in names]
    assert run("dvc", "check-ignore", *files, cwd=ROOT).splitlines() == files[:3]
