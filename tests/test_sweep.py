"""The sweep compares what the train stage trains: its models are those of single runs, to the byte."""

import json
import re
import shutil
from contextlib import chdir
from itertools import product
from pathlib import Path
from statistics import mean, stdev

from stagecraft import output, resume
from stagecraft.errors import PipelineError
from stages import train
from sweep import answer, comparison, grid
from tests.project import ROOT, copy_code, run
from tests.trainers import TwoOptimizers

import pandas
import pytest
import yaml
from scipy.stats import t
from torch import nn

SERIES = "plots/sweep/series.csv"
WRITTEN = SERIES, "plots/sweep/settings.csv", "plots/sweep/settings.png", "metrics/sweep.json", "sweep/answer.md"
RESULTS = "models/checkpoint.safetensors", "plots/loss.csv"  # of a single run


def spread(name: str, values: list[float]) -> dict[str, float]:
    return {f"{name}_mean": mean(values), f"{name}_sd": stdev(values)}


@pytest.fixture
def folder(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, what the download has written, and nothing else."""
    (tmp_path / "data").symlink_to(small / "data")
    monkeypatch.chdir(tmp_path)


def write_grid(**content: object) -> None:
    output.write_text("sweep/params.yaml", yaml.safe_dump({"seeds": 2, "validation_images": 300} | content))


def test_of_any_network_and_optimizer_it_compares_single_runs_to_the_byte(folder, run_stages, monkeypatch, capsys):
    monkeypatch.setattr(nn, "Sigmoid", nn.ReLU)  # of the network
    monkeypatch.setattr(train, "Trainer", TwoOptimizers)
    write_grid(grid={"hidden_units": [3, 6], "batch_size": [500]})
    run_stages("sweep.run")
    single = {"hidden_units": 6, "batch_size": 500, "seed": 1, "validation_images": 300}
    run_stages("build", "train", **single)
    assert "training goes on after epoch 2 of 2" in capsys.readouterr().out
    found = [Path(name).read_bytes() for name in RESULTS]
    shutil.rmtree(resume.FOLDER)
    run_stages("train", **single)
    assert "training goes on" not in capsys.readouterr().out
    assert [Path(name).read_bytes() for name in RESULTS] == found
    alone, series = pandas.read_csv(RESULTS[1]), pandas.read_csv(SERIES).query("hidden_units == 6 and seed == 1")
    pandas.testing.assert_frame_equal(series[alone.columns].reset_index(drop=True), alone, check_exact=True)


def test_a_killed_sweep_goes_on_where_it_was_and_a_larger_grid_uses_what_is_there(folder, run_stages, monkeypatch):
    plain, epochs = train.Trainer.epoch, []

    def counting(*arguments: object) -> float:
        epochs.append(len(epochs) + 1)
        if epochs[-1] == 6:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(train.Trainer, "epoch", counting)
    write_grid(grid={"lr": [0.1, 0.5]})
    with pytest.raises(KeyboardInterrupt):
        run_stages("sweep.run")
    run_stages("sweep.run")
    assert len(epochs) == 1 + 2 * 2 * 2  # the sixth, and each epoch of each model once
    write_grid(grid={"lr": [0.1, 0.2, 0.5]})
    run_stages("sweep.run")
    assert len(epochs) == 1 + 3 * 2 * 2
    results = [Path(name).read_bytes() for name in WRITTEN]
    shutil.rmtree(resume.FOLDER)
    run_stages("sweep.run")
    assert [Path(name).read_bytes() for name in WRITTEN] == results


def test_a_model_that_can_t_be_trained_is_named(folder, run_stages):
    write_grid(grid={"lr": [0.1, 1e30], "momentum": [0.5]})
    with pytest.raises(PipelineError, match=r"^lr=1e\+30 momentum=0.5 seed=0 of the sweep: training diverged"):
        run_stages("sweep.run")


@pytest.mark.slow
def test_workers_share_the_models_out_and_give_the_same_files(swept, tmp_path):
    copy_code(tmp_path)
    for name in ("data", "params.yaml", "sweep/params.yaml"):
        copy = shutil.copytree if (swept / name).is_dir() else shutil.copy
        copy(swept / name, tmp_path / name)
    launch = "python -m torch.distributed.run --standalone --nproc-per-node 3 -m sweep.run"
    printed = run(*launch.split(), cwd=tmp_path)
    told = printed.removesuffix((tmp_path / "sweep/answer.md").read_text() + "\n").splitlines()
    assert told[-1].startswith("24 of 24 epochs of all models, 00:00 left")
    assert all(re.fullmatch(r"\d+ of 24 epochs of all models, \S+ left", line) for line in told)
    assert len(told) == len(set(told))
    for name in WRITTEN:
        assert (tmp_path / name).read_bytes() == (swept / name).read_bytes(), name


def test_of_all_combinations_the_best_has_the_highest_accuracy_and_scores_of_single_runs(swept, tmp_path, run_stages):
    shutil.copytree(swept, tmp_path, dirs_exist_ok=True)
    found = json.loads((swept / "metrics/sweep.json").read_text())
    best, *others = found["candidates"]
    assert {(each["lr"], each["momentum"]) for each in [best, *others]} == {*product([0.1, 0.5], [0.0, 0.9])}
    settings = {name: best[name] for name in ("lr", "momentum")}
    alone = []
    with chdir(tmp_path):
        for seed in range(3):
            run_stages("build", "train", "evaluate", **settings, seed=seed, validation_images=300)
            alone.append(json.loads(Path("metrics/test.json").read_text()))
            alone[-1]["validated"] = pandas.read_csv("plots/loss.csv")["validation_accuracy"].iloc[-1]
    accuracy, loss, validated = ([scores[name] for scores in alone] for name in ("accuracy", "loss", "validated"))
    assert found["test"] == spread("accuracy", accuracy) | spread("loss", loss) | {"models": 3, "total": 297}
    assert best.items() >= spread("accuracy", validated).items()
    assert all(other["accuracy_mean"] <= best["accuracy_mean"] for other in others)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"grid": {"seed": [1, 2]}}, "grid: seed can't vary; expected one of .*lr"),
        ({"grid": {"lr": [0.1, "1e-1"]}}, "grid: lr has 0.1 twice"),
        ({"grid": {"lr": []}}, "grid: lr has no value"),
        ({"grid": {"lr": 0.1}}, "grid: 0.1 is not lines like"),
        ({"grid": {}}, "grid: {} is not lines like"),
        ({"grid": {"lr": [0.1, -1], "batch_size": ["x"]}}, "batch_size: x is not .*\n  lr: -1 is not"),
        ({"grid": {"lr": [0.1]}, "seeds": 1}, "seeds: 1 is not a whole number from 2 to 100"),
    ],
)
def test_what_can_t_be_compared_is_refused(content, expected, tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with chdir(tmp_path), pytest.raises(PipelineError, match=expected):
        write_grid(**content)
        grid.load()


@pytest.mark.parametrize(("candidates", "seeds"), [(5, 8), (2, 2), (3, 30), (1, 2)])
def test_intervals_are_as_wide_as_student_and_bonferroni_say(candidates, seeds):
    pairs = max(candidates * (candidates - 1) // 2, 1)
    assert comparison.critical(candidates, seeds) == pytest.approx(t.ppf(1 - 0.025 / pairs, seeds - 1), rel=1e-9)


def test_differences_are_paired_by_seed():
    best, other = [0.9, 0.7, 0.8], [0.89, 0.68, 0.79]  # far apart by seed, but always a little less
    rows = comparison.compare([other, best], [[1.0] * 3, [2.0] * 3])
    assert [row["candidate"] for row in rows] == [1, 0]
    assert rows[1]["difference"] == pytest.approx(-0.04 / 3)
    half = t.ppf(0.975, 2) * stdev([-0.01, -0.02, -0.01]) / 3**0.5
    assert rows[1]["difference_high"] == pytest.approx(-0.04 / 3 + half)
    assert rows[1]["tied"] == (half >= 0.04 / 3)


def test_the_answer_names_the_best_and_warns_at_the_edge_of_the_grid(swept):
    table = pandas.read_csv(swept / "plots/sweep/settings.csv")
    text = (swept / "sweep/answer.md").read_text()
    assert f"**{answer.names(table, ['lr', 'momentum'])[0]}**" in text
    assert answer.edge("lr", [0.5, 0.1]) == "Its lr is the largest of the grid: a larger one may be better still."
    assert answer.edge("lr", [0.1]) == answer.edge("lr", [0.2, 0.1, 0.3]) == answer.edge("model", ["a", "b"]) == ""
