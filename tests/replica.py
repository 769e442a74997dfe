"""Fresh copies of the project in which the pipeline runs cold, to compare runs under other circumstances."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stagecraft.errors import PipelineError
from tools import outputs

import yaml

REPRO = ["dvc", "repro"]
LOG_SHOWN = 4_000  # characters


def make(folder: Path, settings: Mapping[str, Any]) -> None:
    """Copy what Git tracks or would track, as it is here, into a new repository with these settings and no results."""
    names = subprocess.check_output(["git", "ls-files", "-coz", "--exclude-standard"]).decode().split("\0")
    for name in names:
        if Path(name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder / name)
    changed = yaml.safe_load((folder / "params.yaml").read_text()) | settings
    (folder / "params.yaml").write_text(yaml.safe_dump(changed))
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "Copy"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


def run(folder: Path, command: Sequence[str] = REPRO, environment: Mapping[str, str] | None = None) -> str:
    """Run a command in the copy, with this Python's folder first on PATH; returns all it printed.

    Raises PipelineError with the end of that if it fails.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    result = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path} | dict(environment or {}),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
    )  # fmt: skip
    if result.returncode != 0:
        raise PipelineError(f"{' '.join(command)} failed in {folder}; it ended with\n{result.stdout[-LOG_SHOWN:]}")
    return result.stdout


def results(folder: Path) -> dict[str, bytes]:
    """The files of all outputs, in the order of the stages, but for what is half written."""
    paths = [path for name in ("data/raw", "models", "metrics", "plots") for path in sorted((folder / name).rglob("*"))]
    files = [path for path in paths if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def difference(expected: Path, found: Path) -> str:
    """The first file in which two copies differ, and where; empty if none does."""
    before, now = results(expected), results(found)
    for path in before | now:
        if path not in before or path not in now:
            return f"{path} is only in {expected if path in before else found}"
        if before[path] != now[path]:
            return f"{path} differs: {outputs.first_difference(before[path], now[path])}"
    return ""
