"""The stages as other processors run them, emulated by QEMU, instruction by instruction: every file is the same.

All of them as arm64, for which the environment variable ARM64_PYTHON names the command that runs Python with torch, of
another version, too; those that train as x86-64 without AVX (`qemu-x86_64 -cpu help` lists others). What AVX2 computes
is compared in test_variations.py.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

from stages.lib import data
from tests import replica
from tests.project import STAGES, declared
from tools import outputs

import pytest
import yaml

QEMU, ARM64 = "qemu-x86_64", os.environ.get("ARM64_PYTHON", "")
SETTINGS = {
    "dataset": "digits", "batch_size": 50, "epochs": 2, "momentum": 0.5, "validation_images": 1_000,
    "mistakes": 4, "row_images": 3, "images_per_class": 2,  # an emulated processor takes long for each picture
}  # fmt: skip
HERE = [sys.executable]
# All in one process, as PyTorch takes half a minute to start there; an absolute path is where the next stages run.
STAGES_IN_TURN = """
import os, runpy, sys
for word in sys.argv[1:]:
    os.chdir(word) if os.path.isabs(word) else runpy.run_module(f"stages.{word}", run_name="__main__")
"""
needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"needs {QEMU} (Debian: qemu-user)")
needs_arm64 = pytest.mark.skipif(not ARM64, reason="needs ARM64_PYTHON, a command that runs Python as arm64")
pytestmark = pytest.mark.slow


def change(folder: Path, **settings: object) -> Path:
    """Change settings of a copy of the project; returns the copy."""
    before = yaml.safe_load((folder / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump(before | settings))
    return folder


def compute(folder: Path, python: list[str], *stages: object) -> str:
    """Run stages in a copy of the project, all of them if none is named; returns what they print."""
    anew = ["env", "-u", "OPENBLAS_CORETYPE"]  # as a machine may have set for its own processor
    return replica.run(folder, [*anew, *python, "-c", STAGES_IN_TURN, *map(str, stages or STAGES)])


def pixels(results: dict[str, bytes]) -> dict[str, object]:
    """Of each picture its pixels, which a system's own library may have packed differently; all else as it is."""
    return {name: outputs.pixels(file) if name.endswith(".png") else file for name, file in results.items()}


def checkpoint(folder: Path) -> bytes:
    return (folder / "models/checkpoint.safetensors").read_bytes()


def native(here: Path, folder: Path) -> Path:
    """A copy, to be trained as each processor likes best."""
    return change(shutil.copytree(here, folder), numerics="native")


def fresh(folder: Path) -> Path:
    """A copy of the project in which nothing has run."""
    replica.make(folder, SETTINGS)
    for result in ("metrics", "plots"):
        shutil.rmtree(folder / result)
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which this processor ran all stages."""
    folder = fresh(tmp_path_factory.mktemp("here") / "project")
    compute(folder, HERE)
    return folder


def convolutional(here: Path, folder: Path) -> Path:
    """A copy, for another network and 40 images, as an emulated processor takes long for each; kmnist has no hash."""
    shutil.copytree(here, folder)
    for path in data.TRAIN_FILES:
        few = data.decode_idx((folder / path).read_bytes())[:40]
        (folder / path).write_bytes(data.encode_idx(few))
    return change(folder, dataset="kmnist", model="convolutional", epochs=1, batch_size=13, validation_images=10)


@pytest.fixture(scope="module")
def on_nehalem(here: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Where a Nehalem built the network and trained it, and trained natively."""
    root = tmp_path_factory.mktemp("nehalem")
    whole, last = fresh(root / "whole"), native(here, root / "native")
    shutil.copytree(here / data.FOLDER, whole / data.FOLDER)
    compute(whole, [QEMU, "-cpu", "Nehalem", sys.executable], "build", "train", last, "train")
    return [whole, last]


@pytest.fixture(scope="module")
def on_arm64(here: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Where arm64 ran all stages, went on after an epoch that was trained here, trained natively, and convolutions."""
    root = tmp_path_factory.mktemp("arm64")
    whole, begun = fresh(root / "whole"), shutil.copytree(here, root / "begun")
    last, images = native(here, root / "native"), convolutional(here, root / "convolutional")
    shutil.rmtree(begun / ".train_cache")
    compute(change(begun, epochs=1), HERE, "train")
    assert checkpoint(begun) != checkpoint(here)
    change(begun, epochs=SETTINGS["epochs"])
    ways = [*STAGES, begun, "train", last, "train", images, "build", "train"]
    assert "training goes on after epoch 1 of 2" in compute(whole, shlex.split(ARM64), *ways)
    return [whole, begun, last, images]


@needs_qemu
def test_an_x86_64_without_avx_trains_to_the_same_files(here: Path, on_nehalem: list[Path]) -> None:
    for path in [path for stage in ("build", "train") for path in declared(stage, "outs")]:
        assert (on_nehalem[0] / path).read_bytes() == (here / path).read_bytes(), path


@needs_arm64
def test_arm64_gives_the_same_files(here: Path, on_arm64: list[Path]) -> None:
    found, expected = (pixels(replica.results(folder)) for folder in (on_arm64[0], here))
    assert len(expected) >= 20
    assert [path for path in expected | found if expected.get(path) != found.get(path)] == []


@needs_arm64
def test_a_training_goes_on_on_another_processor(here: Path, on_arm64: list[Path]) -> None:
    assert checkpoint(on_arm64[1]) == checkpoint(here)


@needs_arm64
def test_arm64_trains_convolutions_to_the_same_bits(here: Path, on_arm64: list[Path], tmp_path: Path) -> None:
    folder = convolutional(here, tmp_path / "project")
    compute(folder, HERE, "build", "train")
    assert checkpoint(on_arm64[3]) == checkpoint(folder)


@pytest.fixture(scope="module")
def natively(here: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = native(here, tmp_path_factory.mktemp("natively") / "project")
    compute(folder, HERE, "train")
    return checkpoint(folder)


@needs_qemu
def test_native_numerics_differ(natively: bytes, on_nehalem: list[Path]) -> None:
    """The negative control, as the next one: these processors do round differently."""
    assert checkpoint(on_nehalem[1]) != natively


@needs_arm64
def test_native_numerics_differ_on_arm64(natively: bytes, on_arm64: list[Path]) -> None:
    assert checkpoint(on_arm64[2]) != natively
