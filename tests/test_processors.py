"""The whole pipeline on the digits as other processors would run it: every output is the same bytes.

QEMU runs the Python of each stage instruction by instruction as the named processor (`qemu-x86_64 -cpu help` lists
them); DVC runs as usual.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

from stages.lib.errors import PipelineError
from tests import replica

import pytest

QEMU = "qemu-x86_64"
MODELS = ["Nehalem", "EPYC-Rome"]  # Intel's without AVX, and AMD's with AVX2
SETTINGS = {"dataset": "digits", "batch_size": 10, "epochs": 2}
DVC = """
stages:
  features:
    cmd: python features.py
    deps: [features.py]
    params: [feature]
    outs: [features.csv]
"""
FEATURES = """
import yaml
from numpy._core._multiarray_umath import __cpu_features__ as features
name = yaml.safe_load(open("params.yaml"))["feature"]
open("features.csv", "w").write(f"feature,{name}\\nhere,{features[name]}\\n")
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"needs {QEMU} to emulate processors (Debian: qemu-user)"),
]


def compute(folder: Path, model: str, **settings: object) -> Path:
    """Run the pipeline as `model`, or as this processor if that is empty, in a fresh copy; returns the copy."""
    replica.make(folder / "project", settings)
    environment = {}
    if model:
        (folder / "bin").mkdir()
        python = folder / "bin/python"
        python.write_text(f'#!/bin/sh\nexec {shlex.join([QEMU, "-cpu", model, sys.executable])} "$@"\n')
        python.chmod(0o755)
        path = [folder / "bin", Path(sys.executable).parent, os.environ["PATH"]]
        environment["PATH"] = os.pathsep.join(map(str, path))
    replica.run(folder / "project", environment=environment)
    return folder / "project"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which this processor ran the pipeline."""
    return compute(tmp_path_factory.mktemp("here"), "", **SETTINGS)


@pytest.mark.emulated
@pytest.mark.parametrize("model", MODELS)
def test_another_processor_gives_the_same_bytes(model: str, here: Path, tmp_path: Path) -> None:
    assert len(replica.hashes(here)) >= 15
    assert replica.difference(here, compute(tmp_path, model, **SETTINGS)) == ""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline of one stage that writes down whether the processor has a feature."""
    (tmp_path / "toy").mkdir()
    monkeypatch.chdir(tmp_path / "toy")
    Path("dvc.yaml").write_text(DVC)
    Path("params.yaml").write_text("feature: SSE42\n")
    Path("features.py").write_text(FEATURES)
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
        replica.run(Path(), command)
    return tmp_path


def test_a_dependence_on_the_processor_is_seen(toy: Path) -> None:
    one, other = (compute(toy / name, name, feature="AVX2") for name in ("Haswell", "SandyBridge"))
    assert replica.difference(one, other) == "features.csv differs: line 2 should be `here,True`, is `here,False`"


def test_an_unknown_processor_is_an_error(toy: Path) -> None:
    with pytest.raises(PipelineError, match=r"(?s)dvc repro failed.*unable to find CPU model 'Pentium9'"):
        compute(toy / "one", "Pentium9")
