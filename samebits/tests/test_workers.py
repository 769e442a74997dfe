"""Workers that share the images have the bits of one that has them all, or are refused."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from samebits.tests.shared import WAYS

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


@pytest.mark.parametrize(("workers", "networks"), [(2, SMALL), (3, SMALL + LARGE), (5, SMALL)])  # of five images
def test_workers_train_networks_as_one_does(workers, networks):
    alone = printed("networks.py", "1", "exact", *SMALL, *LARGE)
    assert printed("networks.py", "1", "exact", *networks, workers=workers) == alone[: len(networks)]


@pytest.mark.parametrize("workers", [2, 3])  # of seven images
def test_what_needs_the_images_of_all_gets_them_or_is_refused(workers):
    refused = {f"{way} {name}" for way, (_, _, names) in WAYS.items() for name in names}
    alone = [line.partition(": ") for line in printed("shared.py")]
    expected = [f"{case}: {'refused' if case in refused else found}" for case, _, found in alone]
    assert printed("shared.py", workers=workers) == expected
