"""The model card: its lines run, and its numbers are the recorded ones."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from stages.lib import data, tensors
from tests.project import ROOT

import pandas
import pytest
import torch
import yaml

CARD = (ROOT / "MODEL.md").read_text(encoding="utf-8")
WORDS = " ".join(CARD.split())


Network = Callable[[torch.Tensor], torch.Tensor]


def load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Network, Network]:
    """What the card's lines make in a folder: the network, and the function that names digits."""
    monkeypatch.chdir(folder)
    names: dict = {}
    lines = re.search(r"```python\n(.*?)```", CARD, re.DOTALL)[1]
    assert len(list(filter(None, lines.splitlines()))) == 5
    exec(lines, names)
    return names["network"], names["digits"]


def shown(dataset: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The test images (n, 28, 28) in [0, 1], and their labels."""
    everything = tensors.to_tensors(data.load_test(dataset))
    pixels, labels = everything.batch(everything.every())
    return pixels.view(-1, 28, 28), labels


def accuracy(network: Network, images: torch.Tensor, labels: torch.Tensor) -> float:
    return (network(images.flatten(1)).argmax(1) == labels).double().mean().item()


@pytest.mark.slow
def test_the_lines_load_the_network(digits, monkeypatch):
    network, named = load(digits, monkeypatch)
    images, labels = shown("digits")
    recorded = json.loads((digits / "metrics/test.json").read_text())["accuracy"]
    assert accuracy(network, images, labels) == pytest.approx(recorded, abs=1e-12)
    pixels = data.load_test("digits").images.reshape(-1, 784)
    assert (named(torch.from_numpy(pixels.copy())) == labels).double().mean().item() == pytest.approx(recorded)


def test_results_are_those_of_the_last_commit():
    # not those of the working tree, which may hold an experiment
    recorded = json.loads(subprocess.check_output(["git", "show", "HEAD:./metrics/test.json"], cwd=ROOT))
    percent = {name: f"{value:.2%}".replace("%", " %") for name, value in recorded.items()}
    result = (
        f"on the {recorded['total']:,} test images: {recorded['correct']:,} right, "
        f"an accuracy of {percent['accuracy']} "
        f"(95 % interval {percent['accuracy_low']} to {percent['accuracy_high']}), loss {recorded['loss']:.4f} nats"
    )
    assert result in WORDS, f"MODEL.md: the last commit's result is {result}"


@pytest.mark.slow
def test_limits_are_measured(trained, monkeypatch):
    network, _ = load(trained, monkeypatch)
    images, labels = shown("mnist")
    classes = pandas.read_csv("plots/classes.csv").set_index("class")
    moved = accuracy(network, torch.roll(images, 4, 2), labels)
    assert f"moved 4 pixels to the right: {moved:.1%}".replace("%", " %") in WORDS
    assert f"unprepared: {accuracy(network, 1 - images, labels):.1%}".replace("%", " %") in WORDS
    hardest = classes["recall"].idxmin()
    assert f"{hardest} is the hardest class: {classes['recall'][hardest]:.2%}".replace("%", " %") in WORDS


def test_it_is_the_artifact_of_the_pipeline():
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    artifact = graph["artifacts"]["mnist-classifier"]
    assert artifact["path"] in graph["stages"]["train"]["outs"]
    assert artifact["type"] == "model"
    assert (ROOT / "MODEL.md").is_file()
    assert CARD.startswith("# Model card: mnist-classifier\n")
