"""The sweep compares what the train stage trains: its models are those of single runs, to the byte."""

import json
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from statistics import mean, stdev

from stages import train
from stages.lib import model, output, params
from stages.lib.errors import PipelineError
from sweep import answer, comparison, grid
from tests.project import ENVIRONMENT, ROOT

import pandas
import pytest
import torch
import yaml
from scipy.stats import t
from torch import nn

SERIES = "plots/sweep/series.csv"


def of_sweep(folder: Path, **model_settings: object) -> pandas.DataFrame:
    """The epochs of one model of the sweep, as plots/loss.csv would have them."""
    series = pandas.read_csv(folder / SERIES)
    for name, value in model_settings.items():
        series = series[series[name] == value]
    return series[["epoch", "train_loss", "validation_loss", "validation_accuracy"]].reset_index(drop=True)


def write_grid(**content: object) -> None:
    output.write_text("sweep/params.yaml", yaml.safe_dump({"seeds": 2, "validation_images": 300} | content))


def test_a_model_of_the_sweep_is_that_of_a_single_run(swept: Path, tmp_path: Path, run_stages) -> None:
    (tmp_path / "data").symlink_to(swept / "data")
    with chdir(tmp_path):
        run_stages("build", "train", lr=0.5, momentum=0.9, seed=2, validation_images=300)
        alone = pandas.read_csv("plots/loss.csv")
    pandas.testing.assert_frame_equal(of_sweep(swept, lr=0.5, momentum=0.9, seed=2), alone, check_exact=True)


def test_the_train_stage_goes_on_with_what_the_sweep_kept(
    swept: Path, tmp_path: Path, run_stages, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(swept, tmp_path, dirs_exist_ok=True)
    with chdir(tmp_path):
        run_stages("build", "train", lr=0.5, momentum=0.0, seed=1, validation_images=300)
    assert "training goes on after epoch 2 of 2" in capsys.readouterr().out


def relu(hidden_units: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, hidden_units), nn.ReLU(), nn.Linear(hidden_units, 5), nn.Tanh(), nn.Linear(5, 10)
    )


def test_another_network_and_optimizer_are_what_the_sweep_compares(
    small: Path, tmp_path: Path, run_stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adam(network: nn.Module, settings: params.Params) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), lr=settings.lr, foreach=False)

    monkeypatch.setitem(model.MODELS, "sequential", relu)
    monkeypatch.setattr(train, "optimizer_of", adam)
    (tmp_path / "data").symlink_to(small / "data")
    with chdir(tmp_path):
        write_grid(grid={"hidden_units": [3, 6], "batch_size": [500]})
        run_stages("sweep.run", lr=0.01)
        run_stages("build", "train", lr=0.01, hidden_units=6, batch_size=500, seed=1, validation_images=300)
        alone = pandas.read_csv("plots/loss.csv")
    pandas.testing.assert_frame_equal(of_sweep(tmp_path, hidden_units=6, seed=1), alone, check_exact=True)


@pytest.mark.slow
def test_workers_share_the_models_out_and_give_the_same_files(swept: Path, tmp_path: Path) -> None:
    for name in ("stages", "sweep"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("data", "params.yaml", "sweep/params.yaml"):
        copy = shutil.copytree if (swept / name).is_dir() else shutil.copy
        copy(swept / name, tmp_path / name)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3", "-m", "sweep.run"]
    subprocess.run(launch, cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    for name in (
        SERIES,
        "plots/sweep/settings.csv",
        "plots/sweep/settings.png",
        "metrics/sweep.json",
        "sweep/answer.md",
    ):
        assert (tmp_path / name).read_bytes() == (swept / name).read_bytes(), name


def test_the_best_is_tested_once_with_all_its_seeds(swept: Path) -> None:
    found = json.loads((swept / "metrics/sweep.json").read_text())
    assert (found["test"]["models"], found["test"]["total"]) == (3, 297)
    series = pandas.read_csv(swept / SERIES)
    last = series[series["epoch"] == 2].groupby(["lr", "momentum"])["validation_accuracy"].apply(list)
    means = {name: mean(values) for name, values in last.items()}
    best = found["candidates"][0]
    assert means[best["lr"], best["momentum"]] == max(means.values()) == best["accuracy_mean"]
    assert best["accuracy_sd"] == stdev(last[best["lr"], best["momentum"]])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"grid": {"lr": [0.1, -1]}}, "lr: -1 is not a number above 0"),
        ({"grid": {"hidden_units": [0]}}, "hidden_units: 0 is not a whole number"),
        ({"grid": {"seed": [1, 2]}}, "grid: seed can't vary; expected one of .*lr"),
        ({"grid": {"learning_rate": [1]}}, "grid: learning_rate can't vary"),
        ({"grid": {"lr": [0.1, 0.1]}}, "each once"),
        ({"grid": {"lr": [0.1]}, "seeds": 1}, "seeds: 1 is not a whole number from 2 to 100"),
    ],
)
def test_what_can_t_be_compared_is_refused(content: dict, expected: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with chdir(tmp_path):
        write_grid(**content)
        with pytest.raises(PipelineError, match=expected):
            grid.load()


def test_every_combination_is_a_candidate_with_every_seed(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with chdir(tmp_path):
        write_grid(grid={"lr": [0.1, 0.2], "model": ["ordered", "module", "functional"]})
        candidates, settings = grid.load()
    assert candidates[1] == {"lr": 0.1, "model": "module"} and len(candidates) == 6
    assert [(one.lr, one.model, one.seed, one.validation_images) for one in settings[1]] == [
        (0.1, "module", 0, 300),
        (0.1, "module", 1, 300),
    ]


@pytest.mark.parametrize(("candidates", "seeds"), [(5, 8), (2, 2), (3, 30), (1, 2)])
def test_intervals_are_as_wide_as_student_and_bonferroni_say(candidates: int, seeds: int) -> None:
    pairs = max(candidates * (candidates - 1) // 2, 1)
    assert comparison.critical(candidates, seeds) == pytest.approx(t.ppf(1 - 0.025 / pairs, seeds - 1), rel=1e-9)


def test_differences_are_paired_by_seed() -> None:
    best, other = [0.9, 0.7, 0.8], [0.89, 0.68, 0.79]  # far apart by seed, but always a little less
    rows = comparison.compare([other, best], [[1.0] * 3, [2.0] * 3])
    assert [row["candidate"] for row in rows] == [1, 0]
    assert rows[1]["difference"] == pytest.approx(-0.04 / 3)
    half = t.ppf(0.975, 2) * stdev([-0.01, -0.02, -0.01]) / 3**0.5
    assert rows[1]["difference_high"] == pytest.approx(-0.04 / 3 + half)
    assert rows[1]["tied"] == (half >= 0.04 / 3)


def test_the_answer_names_the_best_and_warns_at_the_edge_of_the_grid(swept: Path) -> None:
    table = pandas.read_csv(swept / "plots/sweep/settings.csv")
    text = (swept / "sweep/answer.md").read_text()
    assert f"**{answer.names(table, ['lr', 'momentum'])[0]}**" in text
    assert answer.edge("lr", [0.5, 0.1]) == "Its lr is the largest of the grid: a larger one may be better still."
    assert answer.edge("lr", [0.1]) == answer.edge("lr", [0.2, 0.1, 0.3]) == answer.edge("model", ["a", "b"]) == ""
