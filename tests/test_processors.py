"""The five stages as other processors run them, emulated by QEMU, instruction by instruction: every file is the same.

As x86-64 without AVX and with AVX2 (`qemu-x86_64 -cpu help` lists them), and as arm64, for which the environment
variable ARM64_PYTHON names the command that runs Python with torch, of another version, too.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import replica
from tests.project import STAGES
from tools import outputs

import pytest
import yaml

QEMU, ARM64 = "qemu-x86_64", os.environ.get("ARM64_PYTHON", "")
SETTINGS = {"dataset": "digits", "batch_size": 50, "epochs": 2, "momentum": 0.5, "validation_images": 100}
HERE = [sys.executable]
PYTHONS = {
    **{model: [QEMU, "-cpu", model, sys.executable] for model in ("Nehalem", "Haswell")},
    "arm64": shlex.split(ARM64),
}
# All in one process, as PyTorch takes half a minute to start there.
ONE_AFTER_THE_OTHER = (
    "import runpy, sys; [runpy.run_module(f'stages.{name}', run_name='__main__') for name in sys.argv[1:]]"
)
needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"needs {QEMU} (Debian: qemu-user)")
needs_arm64 = pytest.mark.skipif(not ARM64, reason="needs ARM64_PYTHON, a command that runs Python as arm64")
pytestmark = pytest.mark.slow


def compute(folder: Path, python: list[str], *stages: str, **changes: object) -> Path:
    """Run stages in a copy of the project, with some settings changed; returns the copy."""
    settings = yaml.safe_load((folder / "params.yaml").read_text()) | changes
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    replica.run(folder, [*python, "-c", ONE_AFTER_THE_OTHER, *(stages or STAGES)])
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """All results by their path; of a picture the pixels, which a system's own library may have packed differently."""
    paths = [path for name in ("data/raw", "models", "metrics", "plots") for path in (folder / name).rglob("*")]
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}
    return {name: repr(outputs.pixels(content)).encode() if name.endswith(".png") else content
            for name, content in contents.items()}  # fmt: skip


def checkpoint(folder: Path) -> bytes:
    return (folder / "models/checkpoint.safetensors").read_bytes()


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
    return compute(fresh("here"), HERE)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_arm64 if name == "arm64" else needs_qemu) for name in PYTHONS]
)
def test_another_processor_gives_the_same_files(name: str, here: Path, fresh: Callable[[str], Path]) -> None:
    expected, found = files(here), files(compute(fresh(name), PYTHONS[name]))
    assert len(expected) >= 20
    assert [path for path in expected | found if expected.get(path) != found.get(path)] == []


@needs_arm64
def test_a_training_goes_on_on_another_processor(here: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(here, tmp_path / "project")
    shutil.rmtree(folder / ".train_cache")
    assert checkpoint(compute(folder, HERE, "train", epochs=1)) != checkpoint(here)
    (folder / "params.yaml").write_text((here / "params.yaml").read_text())
    assert "training goes on after epoch 1 of 2" in replica.run(folder, [*PYTHONS["arm64"], "-m", "stages.train"])
    assert checkpoint(folder) == checkpoint(here)


@needs_qemu
def test_native_numerics_differ(here: Path, tmp_path: Path) -> None:
    """The negative control: these processors do round differently."""

    def native(name: str, python: list[str]) -> bytes:
        return checkpoint(compute(shutil.copytree(here, tmp_path / name), python, "train", numerics="native"))

    with ThreadPoolExecutor(2) as pool:
        found = set(pool.map(native, ("here", "Nehalem", "Haswell"), (HERE, PYTHONS["Nehalem"], PYTHONS["Haswell"])))
    assert len(found) > 1
