"""Functions, and networks that nobody here wrote, have the same bits on every processor, with any number of threads."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("networks.py")
SMALL = ["examples", "transformer", "convolutional", "reader", "critic"]
LARGE = ["resnet18", "mobilenet_v2", "efficientnet_b0", "vit"]
WITHOUT_DROPOUT = ["convolutional", "critic", "resnet18", "vit"]
# whose formula PyTorch has changed since that version
CHANGED = "critic ", "products:", "largest of two:", "kl_div:", "multilabel_margin_loss"
ARM64 = os.environ.get("ARM64_PYTHON", "")


def trained(names: list[str], capability="", threads=1, how="exact", python="") -> list[str]:
    """A line for each network, with its losses and hash, from a process of its own."""
    # Threads that wait for work must not keep the tests beside from theirs.
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2]), "OMP_WAIT_POLICY": "PASSIVE"}
    if capability:
        environment["ATEN_CPU_CAPABILITY"] = capability
    command = [*(shlex.split(python) or [sys.executable]), str(SCRIPT), str(threads), how, *names]
    return subprocess.check_output(command, env=environment, text=True).splitlines()


@pytest.fixture(scope="module")
def here() -> list[str]:
    return trained([*SMALL, "functions", *LARGE])


@pytest.mark.slow
@pytest.mark.parametrize(("capability", "threads"), [("default", 1), ("avx2", 2)])
def test_instructions_and_threads_change_no_bit(capability: str, threads: int, here: list[str]) -> None:
    assert trained([*SMALL, "functions", *LARGE], capability, threads) == here


@pytest.mark.slow
@pytest.mark.skipif(not ARM64, reason="needs ARM64_PYTHON, a command that runs Python as arm64")
def test_arm64_with_another_torch_has_the_same_bits(here: list[str]) -> None:
    there = trained([*SMALL, "functions"], python=ARM64)
    expected = here[: -len(LARGE)]
    assert [line for line in there if not line.startswith(CHANGED)] == [
        line for line in expected if not line.startswith(CHANGED)
    ]
    assert len(there) == len(expected)


@pytest.mark.slow
def test_without_the_package_they_differ_and_the_losses_are_near(here: list[str]) -> None:
    one, other = (trained(WITHOUT_DROPOUT, capability, how="native") for capability in ("", "default"))
    assert all(a != b for a, b in zip(one, other, strict=True))
    for line in one:
        (exact,) = [each for each in here if each.split()[0] == line.split()[0]]
        losses = [[float(word.strip("[],")) for word in text.split()[1:-1]] for text in (line, exact)]
        assert losses[0] == pytest.approx(losses[1], rel=2e-3)
