"""The stages as other processors run them, emulated by QEMU, instruction by instruction: every file is the same.

All of them as arm64, for which the environment variable ARM64_PYTHON names the command that runs Python with torch, of
another version, too; those that train as x86-64 without AVX (`qemu-x86_64 -cpu help` lists others). What AVX2 computes
is compared in test_variations.py.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
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


def files(folder: Path) -> dict[str, bytes]:
    """All results by their path; of a picture the pixels, which a system's own library may have packed differently."""
    paths = [path for name in ("data/raw", "models", "metrics", "plots") for path in (folder / name).rglob("*")]
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}
    return {name: repr(outputs.pixels(content)).encode() if name.endswith(".png") else content
            for name, content in contents.items()}  # fmt: skip


def checkpoint(folder: Path) -> bytes:
    return (folder / "models/checkpoint.safetensors").read_bytes()


def native(here: Path, folder: Path) -> Path:
    """A copy, to be trained as each processor likes best."""
    return change(shutil.copytree(here, folder), numerics="native")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes copies of the project in which nothing has run."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name) / "project"
        replica.make(folder, SETTINGS)
        for result in ("metrics", "plots"):
            shutil.rmtree(folder / result)
        return folder

    return make


@pytest.fixture(scope="module")
def here(fresh: Callable[[str], Path]) -> Path:
    """A copy in which this processor ran all stages."""
    folder = fresh("here")
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
def on_nehalem(here: Path, fresh: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Where a Nehalem built the network and trained it, and trained natively."""
    whole, last = fresh("nehalem"), native(here, tmp_path_factory.mktemp("native") / "project")
    shutil.copytree(here / data.FOLDER, whole / data.FOLDER)
    compute(whole, [QEMU, "-cpu", "Nehalem", sys.executable], "build", "train", last, "train")
    return [whole, last]


@pytest.fixture(scope="module")
def on_arm64(here: Path, fresh: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Where arm64 ran all stages, went on after an epoch that was trained here, trained natively, and convolutions."""
    whole, begun = fresh("arm64"), shutil.copytree(here, tmp_path_factory.mktemp("begun") / "project")
    last = native(here, tmp_path_factory.mktemp("native") / "project")
    shutil.rmtree(begun / ".train_cache")
    compute(change(begun, epochs=1), HERE, "train")
    assert checkpoint(begun) != checkpoint(here)
    change(begun, epochs=SETTINGS["epochs"])
    images = convolutional(here, tmp_path_factory.mktemp("convolutional") / "project")
    ways = [*STAGES, begun, "train", last, "train", images, "build", "train"]
    assert "training goes on after epoch 1 of 2" in compute(whole, shlex.split(ARM64), *ways)
    return [whole, begun, last, images]


def same(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    assert len(expected) >= 20
    assert [path for path in expected | found if expected.get(path) != found.get(path)] == []


@needs_qemu
def test_an_x86_64_without_avx_trains_to_the_same_files(here: Path, on_nehalem: list[Path]) -> None:
    found, expected = files(on_nehalem[0]), files(here)
    written = [path for stage in ("build", "train") for path in declared(stage, "outs")]
    assert {path: found[path] for path in written} == {path: expected[path] for path in written}


@needs_arm64
def test_arm64_gives_the_same_files(here: Path, on_arm64: list[Path]) -> None:
    same(files(on_arm64[0]), files(here))


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
