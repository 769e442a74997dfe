"""The stages need nothing that only POSIX has: they run where what Windows lacks is hidden, and with its line ends."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.project import ROOT, STAGES

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
runpy.run_module(f"stages.{sys.argv[1]}", run_name="__main__")
"""


@pytest.mark.slow
def test_the_stages_run_without_what_windows_lacks_and_write_the_same_bytes(small: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*(tmp_path / "stages").rglob("*.py"), tmp_path / "params.yaml"]:
        source = path if path.exists() else small / "params.yaml"
        path.write_bytes(source.read_bytes().replace(b"\n", b"\r\n"))
    shutil.copytree(small / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw"))
    for stage in STAGES:
        run = [sys.executable, "-c", WITHOUT, stage]
        subprocess.run(run, cwd=tmp_path, env=os.environ | {"MNIST_MIRROR": ""}, check=True, stdout=subprocess.DEVNULL)
    written = {
        path.relative_to(small)
        for name in ("data", "models", "metrics", "plots")
        for path in (small / name).rglob("*.*")
    }
    assert len(written) > 15
    assert [str(path) for path in written if (tmp_path / path).read_bytes() != (small / path).read_bytes()] == []
