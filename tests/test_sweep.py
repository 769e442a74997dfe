"""sweep/: many models at once are the same models as one by one, and the comparison says what the numbers say."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import chdir
from pathlib import Path

from stages.lib import data, digits, model, output, tensors
from stages.lib.errors import PipelineError
from stages.lib.params import read
from stages.train import train_epoch
from sweep import comparison, ensemble, report
from sweep.grid import Grid
from sweep.train import refuse_divergence

import numpy as np
import pandas
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from torch.nn import functional

SEEDS, LRS, MOMENTA, BATCH = 5, [0.1, 0.5], [0.0, 0.9], 7


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(66, 784, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randint(10, (66,), generator=torch.Generator().manual_seed(2))


def alone(name: str, seed: int, lr: float, momentum: float, images: torch.Tensor, labels: torch.Tensor):
    """The losses of three epochs, and the network, by the pipeline's own loop."""
    network = model.empty(name, 5)
    model.initialize(network, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum)
    square = images.view(-1, 1, 28, 28)
    losses = [
        train_epoch(
            network,
            optimizer,
            tensors.batches(square, labels, tensors.shuffled(len(labels), seed, epoch), BATCH),
            epoch,
        )
        for epoch in (1, 2, 3)
    ]
    return losses, network


@pytest.mark.parametrize("name", model.MODELS)
def test_each_model_is_the_one_that_the_pipeline_trains_alone(name: str, images: torch.Tensor, labels: torch.Tensor):
    candidates = [(lr, momentum) for lr in LRS for momentum in MOMENTA]
    parameters = ensemble.initial(name, 5, SEEDS, len(candidates))
    optimizers = ensemble.groups(parameters, candidates)
    steps: list[None] = []
    losses = []
    for epoch in (1, 2, 3):
        orders = torch.stack([tensors.shuffled(len(labels), seed, epoch) for seed in range(SEEDS)])
        losses.append(ensemble.train_epoch(optimizers, images, labels, orders, BATCH, lambda: steps.append(None)))
    validation_loss, correct = ensemble.evaluate(parameters, images, labels)

    assert len(steps) == 3 * 10 * 2  # 66 images in batches of 7, the last of 3; 5 seeds in groups of 4 and 1
    for seed in range(SEEDS):
        for column, (lr, momentum) in enumerate(candidates):
            expected, network = alone(name, seed, lr, momentum, images, labels)
            found = [epoch[seed, column].item() for epoch in losses]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
            with torch.no_grad():
                logits = network(images)
            loss = functional.cross_entropy(logits.double(), labels).item()
            assert validation_loss[seed, column].item() == pytest.approx(loss, abs=1e-5)
            assert correct[seed, column].item() == (logits.argmax(1) == labels).sum().item()


def test_an_interrupted_epoch_ends_every_thread(images: torch.Tensor, labels: torch.Tensor) -> None:
    parameters = ensemble.initial("sequential", 5, SEEDS, 1)
    orders = torch.arange(66).repeat(SEEDS, 1).repeat(1, 1_000)

    before = threading.active_count()

    def progress() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensemble.train_epoch(ensemble.groups(parameters, [(0.1, 0.0)]), images, labels, orders, BATCH, progress)
    assert threading.active_count() <= before


def final(accuracies: dict[float, list[float]]) -> pandas.DataFrame:
    rows = [(lr, 0.0, seed, a, 1 - a) for lr, values in accuracies.items() for seed, a in enumerate(values)]
    return pandas.DataFrame(rows, columns=["lr", "momentum", "seed", "accuracy", "loss"])


def test_comparison_agrees_with_scipy_and_ranks_the_best_first():
    good, near, bad = [0.94, 0.95, 0.97, 0.93], [0.95, 0.945, 0.965, 0.92], [0.90, 0.92, 0.93, 0.89]
    table = comparison.compare(final({0.1: bad, 0.2: good, 0.3: near}))
    assert table["lr"].tolist() == [0.2, 0.3, 0.1]
    assert table["tied"].tolist() == [True, True, False]
    assert table["accuracy_sd"].tolist() == pytest.approx([np.std(v, ddof=1) for v in (good, near, bad)])
    for row, values in ((1, near), (2, bad)):
        expected = stats.ttest_rel(values, good).confidence_interval(1 - 0.05 / 3)  # of three pairs
        assert table.loc[row, ["difference_low", "difference_high"]].tolist() == pytest.approx(list(expected))


def test_of_equal_candidates_one_is_called_worse_in_at_most_one_sweep_of_twenty():
    accuracy = np.random.default_rng(0).normal(size=(20_000, 5, 8))  # sweeps, candidates, seeds
    best = accuracy.mean(2).argmax(1)
    difference = accuracy - accuracy[np.arange(len(best)), best][:, None]
    error = difference.std(2, ddof=1) / math.sqrt(8)
    wrong = (difference.mean(2) + comparison.critical(5, 8) * error < 0).any(1).mean()
    assert 0.03 < wrong < 0.05  # 0.27 with an interval for each pair alone


def test_a_grid_of_one_candidate_has_a_best():
    table = comparison.compare(final({0.1: [0.90, 0.92]}))
    assert report.names(table) == ["lr=0.1 momentum=0.0"]
    assert table["difference_low"].tolist() == table["difference_high"].tolist() == [0]


def test_the_verdict_names_the_best_the_open_and_the_worse_candidates():
    table = comparison.compare(final({0.1: [0.90, 0.92, 0.91], 0.2: [0.94, 0.96, 0.953], 0.3: [0.95, 0.945, 0.94]}))
    best, tied, worse = report.verdict(table, 3)
    assert "with 3 seeds each: **lr=0.2**, 95.10% ± 1.01% " in best
    assert (tied, worse) == ("Can't be told apart from it: lr=0.3.", "Worse: lr=0.1.")
    assert [row.split(" | ")[0] for row in report.rows(table)] == ["| 0.2", "| 0.3", "| 0.1"]


def test_only_what_varies_is_named():
    lrs, momenta = [0.1, 0.2], [0.0, 0.9]
    both = pandas.DataFrame([(lr, momentum) for lr in lrs for momentum in momenta], columns=["lr", "momentum"])
    assert report.names(both)[1:3] == ["lr=0.1 momentum=0.9", "lr=0.2 momentum=0.0"]
    assert report.names(both[:2]) == ["momentum=0.0", "momentum=0.9"]


@pytest.mark.parametrize(("near", "is_open"), [([0.95, 0.92, 0.95], True), ([0.90, 0.92, 0.95], False)])
def test_the_picture_explains_orange_where_there_is_some(near: list[float], is_open: bool):
    picture = report.figure(comparison.compare(final({0.1: [0.94, 0.96, 0.99], 0.2: near})))
    assert ("orange" in picture.axes[1].get_title()) == is_open


def test_a_best_at_the_edge_of_the_grid_is_said():
    assert report.edge(0.1, [0.1, 0.2]).startswith("Its learning rate is the smallest")
    assert report.edge(0.2, [0.1, 0.2]).endswith("a larger one may be better still.")
    assert report.edge(0.1, [0.1]) == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lrs: []", "lrs: () is not|lrs: \\[\\] is not 1 to 20 different numbers above 0"),
        ("lrs: 0.1", "lrs: 0.1 is not 1 to 20 different"),
        ("lrs: [0.1, 0.1]", "lrs: .* is not 1 to 20 different"),
        ("lrs: [0.1, -0.1]", "lrs: -0.1 is not 1 to 20 different numbers above 0"),
        ("lrs: [.nan]", "lrs: .nan is not"),
        ("lrs: [true]", "lrs: true is not"),
        ("momenta: [1.0]", "momenta: 1.0 is not"),
        ("seeds: 1", "seeds: 1 is not a whole number from 2 to 100"),
        ("seed: 3", "seed is not a setting; did you mean seeds?|'seed' is not a setting; did you mean seeds?"),
        ("validation_images: 0", "validation_images: 0 is not"),
    ],
)
def test_bad_grids_are_refused(tmp_path: Path, line: str, message: str):
    values = {"lrs": "[0.1]", "momenta": "[0.0]", "seeds": "2", "validation_images": "5"}
    key, value = line.split(": ")
    path = tmp_path / "params.yaml"
    path.write_text("".join(f"{name}: {text}\n" for name, text in (values | {key: value}).items()))
    with pytest.raises(PipelineError, match=message):
        read(path, Grid)


def test_validation_images_must_leave_a_batch():
    grid = Grid(lrs=(0.1,), momenta=(0.0,), seeds=2, validation_images=1_495)
    assert grid.training_images(1_500, 5) == 5
    with pytest.raises(PipelineError, match="leaves 5 to train on, less than a batch of 6; set it to at most 1,494"):
        grid.training_images(1_500, 6)


def test_divergence_names_the_candidate():
    columns = ["epoch", "seed", "lr", "momentum", "train_loss", "validation_loss"]
    table = pandas.DataFrame([(2, 0, 0.1, 0.0, 1.0, 1.0), (2, 1, 99.0, 0.9, 1.0, float("inf"))], columns=columns)
    refuse_divergence(table[:1])
    with pytest.raises(PipelineError, match=r"after epoch 2: lr 99.0, momentum 0.9, seed 1;"):
        refuse_divergence(table)


def swept_network(swept: Path, seed: int, column: int) -> torch.nn.Module:
    """One of the models that the sweep of `swept` trained."""
    stacked = load_file(swept / "models/sweep.safetensors")
    network = model.empty("sequential", 7)
    network.load_state_dict({name: value[seed, column] for name, value in stacked.items()})
    return network


def correct(network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> int:
    return int((network(images.flatten(1)).argmax(1) == labels).sum())


def test_models_are_validated_on_images_held_out_of_training(swept: Path):
    with chdir(swept):
        images, labels = tensors.to_tensors(data.load_train("digits"))
    series = pandas.read_csv(swept / "plots/sweep/series.csv").query("epoch == 2")
    expected = [
        correct(swept_network(swept, seed, column), images[-300:], labels[-300:])
        for seed in range(3)
        for column in range(4)
    ]
    assert series["validation_correct"].tolist() == expected

    network = model.empty("sequential", 7)
    model.initialize(network, torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    for epoch in (1, 2):
        train_epoch(network, optimizer, tensors.batches(images, labels, tensors.shuffled(1_200, 1, epoch), 400), epoch)
    for own, other in zip(network.parameters(), swept_network(swept, 1, 3).parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-5)


def test_the_best_candidate_is_tested_on_the_test_images(swept: Path):
    with chdir(swept):
        images, labels = tensors.to_tensors(data.load_test("digits"))
    results = json.loads((swept / "metrics/sweep.json").read_text())
    best = results["candidates"][0]
    column = [(0.1, 0.0), (0.1, 0.9), (0.5, 0.0), (0.5, 0.9)].index((best["lr"], best["momentum"]))
    assert column > 0 and best["accuracy_mean"] == max(each["accuracy_mean"] for each in results["candidates"])
    accuracy = [correct(swept_network(swept, seed, column), images, labels) / 297 for seed in range(3)]
    assert results["test"]["accuracy_mean"] == pytest.approx(np.mean(accuracy))
    assert results["test"]["accuracy_sd"] == pytest.approx(np.std(accuracy, ddof=1))


def test_damaged_models_are_refused(swept: Path, tmp_path: Path):
    shutil.copytree(swept, tmp_path, dirs_exist_ok=True)
    models = tmp_path / "models/sweep.safetensors"
    models.write_bytes(models.read_bytes()[:-1_000])
    with chdir(tmp_path), pytest.raises(PipelineError, match=r"models/sweep\.safetensors is damaged"):
        report.main()


def run_sweep(root: Path, threads: int) -> dict[str, bytes]:
    """The sweep's results on the digits, by path."""
    for folder in ("stages", "sweep"):
        shutil.copytree(folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    changes = {"dataset": "digits", "batch_size": "50", "epochs": "2", "validation_images": "300", "seeds": "3"}
    for path in ("params.yaml", "sweep/params.yaml"):
        text = Path(path).read_text()
        for key, value in changes.items():
            text = re.sub(rf"^{key}: \S+", f"{key}: {value}", text, flags=re.MULTILINE)
        (root / path).write_text(text)
    for name, content in digits.files().items():
        output.write_bytes(root / data.FOLDER / name, content)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    for stage in ("train", "report"):
        subprocess.run([sys.executable, "-m", f"sweep.{stage}"], cwd=root, env=environment, check=True)
    results = ("models/sweep.safetensors", "metrics/sweep.json", "sweep/answer.md")
    return {str(path): (root / path).read_bytes() for path in [*results, *_relative(root, "plots/sweep")]}


def _relative(root: Path, folder: str) -> list[Path]:
    return sorted(path.relative_to(root) for path in (root / folder).iterdir())


@pytest.mark.slow
def test_same_bytes_whatever_the_number_of_threads(tmp_path: Path):
    one, two, eight = (run_sweep(tmp_path / str(threads), threads) for threads in (1, 2, 8))
    assert len(one) == 6
    assert one == two == eight
