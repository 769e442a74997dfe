"""On which machines the recorded bytes are promised."""

import platform
from pathlib import Path

from stages.lib import numerics
from tools import promise

import pytest

PINNED = "".join(f"{package}=={promise.installed(package)}\n    # via nothing\n" for package in promise.PACKAGES)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that keeps the promise, whatever this one is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(numerics, "has_avx2", lambda: True)
    Path("requirements.txt").write_text(PINNED)


def test_pinned_versions_on_x86_64_with_avx2_keep_the_promise() -> None:
    assert promise.limits() == []


def test_another_architecture_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert promise.limits() == ["it is for Linux on x86_64, this is Linux on aarch64"]


def test_an_old_processor_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "has_avx2", lambda: False)
    assert promise.limits() == ["it needs a processor with AVX2, this one has none"]


@pytest.mark.parametrize("package", ["torch", "numpy", "pillow"])
def test_another_version_does_not(package: str) -> None:
    here = promise.installed(package)
    Path("requirements.txt").write_text(PINNED.replace(f"{package}=={here}", f"{package}==0.1 ; python_version > '3'"))
    assert promise.limits() == [f"requirements.txt pins {package} 0.1, installed is {here}"]


def test_a_missing_package_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promise, "PACKAGES", ["nothing-of-this-name"])
    assert promise.limits() == []
    Path("requirements.txt").write_text("nothing-of-this-name==1.0\n")
    assert promise.limits() == ["requirements.txt pins nothing-of-this-name 1.0, installed is None"]


def test_bands_are_four_deviations_wide() -> None:
    assert promise.within("accuracy", 0.9377)  # seed 0
    assert promise.within("accuracy", 0.9402 + 0.0067)
    assert not promise.within("accuracy", 0.9402 + 0.0069)
    assert not promise.within("train_loss", 0.2200)


def test_settings_without_a_band_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parent.parent.parent
    settings = (root / "params.yaml").read_text()
    Path("params.yaml").write_text(settings)
    assert promise.other_settings() == []
    Path("params.yaml").write_text(
        settings.replace("lr: 0.1 ", "lr: 0.5 ").replace("dataset: mnist", "dataset: digits")
    )
    assert promise.other_settings() == ["dataset: digits", "lr: 0.5"]
