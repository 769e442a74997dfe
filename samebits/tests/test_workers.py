"""Workers that share the images have the bits of one that has them all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("shared.py")
SMALL, LARGE = ("examples", "transformer", "convolutional", "reader", "critic"), ("resnet18", "vit")
pytestmark = pytest.mark.slow


def printed(*networks: str, workers: int = 0) -> list[str]:
    """The lines of shared.py, run by so many workers, or by itself."""
    command = [sys.executable, str(SCRIPT), str(workers), *networks]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def alone() -> list[str]:
    return printed(*SMALL, *LARGE)


@pytest.mark.parametrize(("workers", "networks"), [(2, SMALL), (3, SMALL + LARGE), (5, SMALL)])  # of 10 and of 5 images
def test_workers_have_what_one_has(workers, networks, alone):
    assert printed(*networks, workers=workers) == alone[: len(alone) - len(SMALL + LARGE) + len(networks)]
