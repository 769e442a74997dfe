"""Where tests get the real MNIST from, and a small copy of the pipeline that runs in seconds."""

import importlib
import os
import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

from stages.lib import data
from tests import replica
from tests.project import DIGITS, ROOT, STAGES, run

import numpy as np
import pytest
import yaml
from filelock import FileLock

SMALL = {"dataset": "digits", "epochs": 2, "batch_size": 400, "momentum": 0.5, "hidden_units": 7, "mistakes": 5}


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Modules of slow tests first, so that in the end no process of pytest-xdist waits long for the other."""
    items.sort(key=lambda item: getattr(getattr(item.module, "pytestmark", None), "name", "") != "slow")


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory, run_stages: Callable[..., None]) -> Path:
    """A project folder in which data/raw holds the real MNIST, from the project's own or from MNIST_MIRROR."""
    raw = ROOT / data.FOLDER
    names = data.DATASETS["mnist"].sha256
    if all((raw / name).exists() and data.is_published("mnist", name, (raw / name).read_bytes()) for name in names):
        return ROOT
    if not os.environ.get("MNIST_MIRROR"):
        pytest.skip("needs the real MNIST: set MNIST_MIRROR, or let `dvc repro` fill data/raw")
    root = tmp_path_factory.mktemp("mnist")
    with chdir(root):
        run_stages("download", dataset="mnist")
    return root


@pytest.fixture(scope="session")
def run_stages() -> Callable[..., None]:
    """Runs stages, or modules of the sweep, here and in this process, after writing params.yaml with changes."""

    def run(*names: str, **changes: object) -> None:
        settings = yaml.safe_load((ROOT / "params.yaml").read_text()) | SMALL | changes
        Path("params.yaml").write_text(yaml.safe_dump(settings))
        for name in names:
            importlib.import_module(name if "." in name else f"stages.{name}").main()

    return run


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, run_stages: Callable[..., None]) -> Path:
    """A folder in which all stages ran on the embedded digits: 1,500 images in batches of 400, two epochs."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "data").mkdir()
    shutil.copy(ROOT / "data/published_loss.csv", folder / "data")
    with chdir(folder):
        run_stages(*STAGES)
    return folder


@pytest.fixture(scope="session")
def swept(small: Path, tmp_path_factory: pytest.TempPathFactory, run_stages: Callable[..., None]) -> Path:
    """A copy of `small` in which the sweep ran: four candidates, three seeds, the last 300 images held out."""
    folder = tmp_path_factory.mktemp("swept")
    shutil.copytree(small, folder, dirs_exist_ok=True)
    (folder / "sweep").mkdir()
    grid = {"grid": {"lr": [0.1, 0.5], "momentum": [0.0, 0.9]}, "seeds": 3, "validation_images": 300}
    (folder / "sweep/params.yaml").write_text(yaml.safe_dump(grid))
    with chdir(folder):
        run_stages("sweep.run")
    return folder


@pytest.fixture(scope="session")
def copy_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Gives each process of pytest-xdist its own copy of a folder, which the first that asks makes for all."""
    ours = tmp_path_factory.getbasetemp()
    of_all = ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours

    def copy(name: str, make: Callable[[Path], None]) -> Path:
        original = of_all / f"original-{name}"
        with FileLock(f"{original}.lock"):
            if not original.exists():
                begun = tmp_path_factory.mktemp("begun")
                make(begun)
                begun.rename(original)
        return shutil.copytree(original, ours / name, symlinks=True)

    return copy


@pytest.fixture(scope="session")
def trained(mnist: Path, copy_of: Callable[..., Path], run_stages: Callable[..., None]) -> Path:
    """A folder in which the network was built, trained and evaluated on the real MNIST, as the last commit says."""

    def make(folder: Path) -> None:
        (folder / data.FOLDER.parent).mkdir()
        shutil.copytree(mnist / data.FOLDER, folder / data.FOLDER)
        shutil.copy(ROOT / "data/published_loss.csv", folder / "data")
        with chdir(folder):
            settings = yaml.safe_load(run("git", "show", "HEAD:./params.yaml", cwd=ROOT))
            run_stages("build", "train", "evaluate", "draw", **settings)

    return copy_of("trained", make)


@pytest.fixture(scope="session")
def digits(copy_of: Callable[..., Path]) -> Path:
    """A copy of the project in which the whole pipeline ran on the digits, under DVC; tests only read it."""

    def make(folder: Path) -> None:
        replica.make(folder, {})
        changes = [word for name, value in DIGITS.items() for word in ("-S", f"{name}={value}")]
        printed = run("dvc", "exp", "run", *changes, cwd=folder)
        assert [name for name in STAGES if f"Running stage '{name}'" not in printed] == []

    return copy_of("digits", make)


@pytest.fixture
def split() -> data.Split:
    """Seven random images, with the labels 0 to 6 in another order."""
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (7, 28, 28), dtype=np.uint8)
    return data.Split(images, random.permutation(7).astype(np.uint8))
