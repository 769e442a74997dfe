"""Workers that share the images have the bits of one that has them all, or are refused."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from samebits.tests.shared import LOSSES, REFUSED, REFUSED_NATIVELY, SHARED

HERE = Path(__file__).parent
SMALL, LARGE = ("examples", "transformer", "convolutional", "reader"), ("resnet18", "vit")
pytestmark = pytest.mark.slow


@cache
def printed(script: str, *arguments: str, workers: int = 0) -> list[str]:
    """The lines of a script, run by so many workers, or by itself."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"] if workers else []
    command = [sys.executable, *torchrun, str(HERE / script), *arguments]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("workers", "networks"), [(1, SMALL), (2, SMALL), (3, LARGE), (3, SMALL), (5, SMALL)]
)  # of five images
def test_workers_train_networks_as_one_does(workers, networks):
    command = "networks.py", "1", "exact", *networks
    assert printed(*command, workers=workers) == printed(*command)


@pytest.mark.parametrize("workers", [2, 3])  # of seven images
@pytest.mark.parametrize(
    ("way", "possible", "refused"), [("exact", SHARED, REFUSED), ("native", LOSSES, REFUSED_NATIVELY)]
)
def test_what_needs_the_images_of_all_gets_them_or_is_refused(way, possible, refused, workers):
    alone = printed("shared.py", way)[: len(possible)]
    assert printed("shared.py", way, workers=workers) == alone + [f"{name}: refused" for name in refused]
