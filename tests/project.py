"""The project as a thing to test: its graph, and copies of it in which DVC runs."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

from tests import forkserver, replica

import yaml

# A scratch repository is not signed, hooked or made from a template as its user's Git configuration may ask.
GIT = {
    "commit.gpgsign": "false",
    "core.hooksPath": os.devnull,
    "init.templateDir": "",
    "user.name": "test",
    "user.email": "test@localhost",
}
os.environ["GIT_CONFIG_COUNT"] = str(len(GIT))
for number, (key, value) in enumerate(GIT.items()):
    os.environ |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
# Threads that wait for work must not keep what runs beside them from its own: PyTorch's spin, on all processors.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).parent.parent
DIGITS = {"dataset": "digits", "batch_size": 10, "epochs": 2}  # with which the pipeline is run as a user runs it
PACKAGES = {"drawing", "samebits", "stagecraft"}  # of which dvc.yaml names the folder
# The tests' own Python first, so that the stages run under it.
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
QUICK = forkserver.environment(ENVIRONMENT)  # for what may start from a fork
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SWEEP = yaml.safe_load((ROOT / "sweep/dvc.yaml").read_text())["stages"]
# Of both graphs, by module.
MODULES = {stage["cmd"].rpartition("-m ")[2]: stage for stage in [*STAGES.values(), *SWEEP.values()]}


def declared(stage: str, kind: str) -> set[str]:
    """The paths under `deps`, or under `outs`, `metrics` and `plots`, of a stage or of a module of either graph."""
    kinds = ("deps",) if kind == "deps" else ("outs", "metrics", "plots")
    entries = [entry for each in kinds for entry in (STAGES | MODULES)[stage].get(each, [])]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def reading_order(file: str, seen: set[str]) -> list[str]:
    """A file of the project, or a package, and then all that it leads to and that was not seen before."""
    if file in seen:
        return []
    seen.add(file)
    others = [] if file in PACKAGES else imported(file)
    return [file, *(path for other in others for path in reading_order(other, seen))]


def imported(file: str) -> list[str]:
    """The project's own files and packages that a file imports, in their order; imports inside functions count."""
    names = []
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    files = [top if (top := name.partition(".")[0]) in PACKAGES else file_of(name) for name in names]
    return [file for file in files if (ROOT / file).exists()]


def file_of(module: str) -> str:
    return f"{module.replace('.', '/')}.py"


def copy_code(folder: Path) -> None:
    """Copy all that the stages and the sweep run, and what lies beside it, to a folder."""
    for name in PACKAGES | {"stages", "sweep"}:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.md", "tests"))


def run(*command: str, cwd: Path, status: int = 0) -> str:
    """The stdout of a command run in a folder, where `python` is that of the tests; it must end with `status`."""
    result = subprocess.run(command, cwd=cwd, env=QUICK, capture_output=True, text=True)
    assert result.returncode == status, f"{command} ended with {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout


class Project:
    """A copy of the project in a Git repository: with other settings and no results, or of `original` with its own."""

    def __init__(self, folder: Path, *, original: Path | None = None, **settings: object) -> None:
        self.folder = folder
        if original:
            shutil.copytree(original, folder, symlinks=True, dirs_exist_ok=True)
        else:
            replica.make(folder, settings)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    def run(self, *command: str, status: int | None = 0, **environment: str) -> str:
        """The output, stdout and stderr together, of a command that must end with `status` (None: not 0)."""
        with TemporaryFile("w+") as output:  # and not a pipe, which a worker of DVC's queue would keep open
            where = {"cwd": self.folder, "env": QUICK | environment}
            result = subprocess.run(command, **where, stdout=output, stderr=subprocess.STDOUT)
            output.seek(0)
            printed = output.read()
        assert result.returncode == status or (status is None and result.returncode != 0), printed
        return printed

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()
