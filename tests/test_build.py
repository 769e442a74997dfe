import hashlib
import json
from contextlib import chdir
from pathlib import Path

from stages import build
from stages.lib import model

import pytest
import torch
from safetensors.torch import load_file


def test_the_network_of_the_notebook_has_15910_parameters() -> None:
    described = build.describe(model.empty("sequential", 20))
    assert described == {
        "parameters": 15_910,
        "layers": {"0": 15_700, "2": 210},
        "shapes": {"0.weight": [20, 784], "0.bias": [20], "2.weight": [10, 20], "2.bias": [10]},
    }


def test_the_summary_and_the_metrics_agree(small: Path) -> None:
    described = json.loads((small / "metrics/model.json").read_text())
    assert described["parameters"] == 784 * 7 + 7 + 7 * 10 + 10
    assert f"Total params: {described['parameters']:,}" in (small / "models/summary.txt").read_text()


def test_another_seed_draws_other_weights(tmp_path: Path, run_stages) -> None:
    digests = []
    with chdir(tmp_path):
        for seed in (0, 1, 0):
            run_stages("build", seed=seed)
            digests.append(hashlib.sha256(Path("models/initial.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.parametrize("name", model.MODELS)
def test_initial_weights_are_the_same_bits_in_all_four(tmp_path: Path, run_stages, name: str) -> None:
    with chdir(tmp_path):
        run_stages("build", model=name)
        state = load_file("models/initial.safetensors")
        run_stages("build", model="sequential")
        expected = load_file("models/initial.safetensors")
    # Sorted, the names of all four give the same order: hidden before output, bias before weight.
    assert all(torch.equal(state[a], expected[b]) for a, b in zip(sorted(state), sorted(expected), strict=True))
