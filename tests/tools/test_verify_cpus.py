"""make verify-cpus on a pipeline of one stage, once without and once with a dependence on the processor."""

import shutil
import subprocess
from pathlib import Path

from stages.lib.errors import PipelineError
from tools import verify_cpus

import pytest

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


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(DVC)
    Path("params.yaml").write_text("feature: SSE42\n")
    Path("features.py").write_text(FEATURES)
    subprocess.run("git init -q && dvc init -q", shell=True, check=True)
    return tmp_path


@pytest.fixture
def qemu() -> None:
    if shutil.which(verify_cpus.QEMU) is None:
        pytest.skip("needs qemu-x86_64 to emulate processors (Debian: qemu-user)")


@pytest.mark.slow
@pytest.mark.usefixtures("project", "qemu")
def test_what_all_processors_share_is_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    verify_cpus.verify(["SandyBridge"], {})
    printed = capfd.readouterr().out.splitlines()
    assert printed[0].split() == ["|", "output", "|", "this", "one", "|", "SandyBridge", "|"]
    assert printed[2].startswith("| features.csv |")
    assert printed[2].endswith("| same        |")
    assert printed[-1] == "verify-cpus: all 1 outputs are the same bytes on this one, SandyBridge"


@pytest.mark.slow
@pytest.mark.usefixtures("project", "qemu")
def test_a_dependence_on_the_processor_is_named() -> None:
    with pytest.raises(PipelineError, match=r"other bytes on SandyBridge: features.csv differs: line 2 should be"):
        verify_cpus.verify(["SandyBridge"], {"feature": "AVX2"})


@pytest.mark.slow
@pytest.mark.usefixtures("project", "qemu")
def test_an_unknown_processor_is_an_error() -> None:
    with pytest.raises(PipelineError, match=r"(?s)dvc repro failed.*unable to find CPU model 'Pentium9'"):
        verify_cpus.verify(["Pentium9"], {})


def test_without_qemu_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_cpus, "QEMU", "qemu-that-is-missing")
    with pytest.raises(PipelineError, match="apt-get install qemu-user"):
        verify_cpus.verify(["Haswell"], {})


def test_words_are_models_and_settings() -> None:
    assert verify_cpus.parse(["Haswell", "epochs=2", "numerics=native"]) == (
        ["Haswell"],
        {"dataset": "digits", "epochs": 2, "numerics": "native"},
    )
    assert verify_cpus.parse([]) == (verify_cpus.MODELS, verify_cpus.SETTINGS)
