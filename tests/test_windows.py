"""Stages and sweep need nothing that only POSIX has: they run where what Windows lacks is hidden, in its line ends."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.project import MODULES, copy_code

import pytest

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


@pytest.mark.slow
def test_all_runs_without_what_windows_lacks_and_writes_the_same_bytes(swept: Path, tmp_path: Path) -> None:
    copy_code(tmp_path)
    for name in ("params.yaml", "sweep/params.yaml"):
        shutil.copy(swept / name, tmp_path / name)
    for path in [*tmp_path.rglob("*.py"), *tmp_path.rglob("*.yaml")]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    shutil.copytree(swept / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw"))
    run = [sys.executable, "-c", WITHOUT, *MODULES]
    subprocess.run(run, cwd=tmp_path, env=os.environ | {"MNIST_MIRROR": ""}, check=True, stdout=subprocess.DEVNULL)
    folders = [swept / name for name in ("data", "models", "metrics", "plots")]
    written = {path.relative_to(swept) for folder in folders for path in folder.rglob("*.*")}
    assert len(written) > 20
    assert [str(path) for path in written if (tmp_path / path).read_bytes() != (swept / path).read_bytes()] == []
