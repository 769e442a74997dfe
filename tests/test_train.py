import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from stagecraft.errors import PipelineError
from stages import train
from stages.lib import data, model, tensors
from stages.lib.params import Params
from stages.train import Trainer
from tests.project import ROOT
from tests.trainers import SETTINGS

import numpy as np
import pandas
import pytest
import torch
from torch import nn

CHECKPOINT, LOSSES = Path("models/checkpoint.safetensors"), Path("plots/loss.csv")


@pytest.fixture
def folder(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, what the download has written, and nothing else."""
    (tmp_path / "data").symlink_to(small / "data")
    monkeypatch.chdir(tmp_path)


def test_an_interrupted_training_ends_with_the_same_bytes(folder, small, run_stages, capsys):
    in_epoch_2 = patch.object(tensors, "seed", side_effect=[None, KeyboardInterrupt])
    with in_epoch_2, pytest.raises(KeyboardInterrupt):
        run_stages("build", "train")
    assert not CHECKPOINT.exists()
    run_stages("train")
    assert "training goes on after epoch 1 of 2" in capsys.readouterr().out
    for path in CHECKPOINT, LOSSES:
        assert path.read_bytes() == (small / path).read_bytes()


@pytest.mark.parametrize("numerics", ["exact", "native"])
def test_nothing_is_dropped_to_validate_and_to_evaluate(numerics, folder, run_stages, monkeypatch):
    dropping = nn.Sequential(nn.Linear(784, 7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 10))
    monkeypatch.setitem(model.MODELS, "sequential", lambda hidden_units: dropping)
    run_stages("build", "train", "evaluate", numerics=numerics, validation_images=300)
    _, validation = tensors.to_tensors(data.load_train("digits")).split(1_200)
    (*_, validated) = pandas.read_csv(LOSSES)["validation_loss"]
    evaluated = json.loads(Path("metrics/test.json").read_text())["loss"]
    for measured, split in (validated, validation), (evaluated, tensors.to_tensors(data.load_test("digits"))):
        logits = dropping.eval()(split.images.flatten(1) / 255)
        assert measured == pytest.approx(nn.functional.cross_entropy(logits, split.labels).item(), rel=1e-5)


class Spy(nn.Module):
    """A network that notes whether it trains, and what is drawn then."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(784, 10), []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        drawn = (torch.rand(1).item(), np.random.rand(), random.random()) if self.training else ()
        self.seen.append((images[:, 0].tolist(), drawn))
        return self.layer(images)


IMAGES = tensors.Tensors(torch.arange(5 * 784, dtype=torch.uint8).view(5, 28, 28), torch.tensor([1, 0, 3, 2, 4]))


def fit(network: nn.Module, seed: int = 0) -> list[dict[str, float | None]]:
    settings = Params(**SETTINGS | {"batch_size": 2, "validation_images": 1, "seed": seed})
    return list(train.fit(Trainer(network, settings), IMAGES, settings, range(1, 4)))


def test_each_epoch_trains_on_all_images_and_draws_anew_and_nothing_is_drawn_to_validate():
    one, same, other = Spy(), Spy(), Spy()
    for spy, seed in ((one, 0), (same, 0), (other, 1)):
        torch.manual_seed(len(spy.seen) + id(spy))  # what was drawn before must not matter
        fit(spy, seed)
    assert [(len(images), len(drawn)) for images, drawn in one.seen] == [(2, 3), (2, 3), (1, 0)] * 3
    orders = [one.seen[i][0] + one.seen[i + 1][0] for i in (0, 3, 6)]
    assert [sorted(order) for order in orders] == [pytest.approx([i * 16 / 255 for i in range(4)])] * 3
    assert len({*map(tuple, orders)}) > 1
    drawn = [number for spy in (one, other) for _, numbers in spy.seen for number in numbers]
    assert len(set(drawn)) == len(drawn) == 36
    assert one.seen == same.seen


def test_an_exact_training_does_not_wait_for_pytorch_s_compiler(folder, run_stages):
    run_stages("build")
    code = "import sys; from stages import train; train.main(); sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_what_a_trainer_says_is_its_result_is_validated():
    unsure = nn.Linear(784, 10, bias=False)
    nn.init.zeros_(unsure.weight)
    with patch.object(Trainer, "result", return_value=unsure):
        losses = [row["validation_loss"] for row in fit(nn.Linear(784, 10))]
    assert losses == [pytest.approx(math.log(10))] * 3


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (100, r"lower lr, or return the mean over the images from Trainer.step$"),
        (math.nan, r"found nan in step 1 of an epoch, with lr 0\.2; lower lr$"),
    ],
)
def test_a_sum_in_place_of_a_mean_and_a_loss_that_is_no_number_are_named(factor, told, monkeypatch):
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda *arguments: step(*arguments) * factor)
    with pytest.raises(PipelineError, match=rf"^training diverged: .*{told}"):
        fit(nn.Linear(784, 10))


@pytest.mark.parametrize("lr", [1e6, 1e38])
def test_training_that_diverges_stops_and_leaves_no_result(lr, folder, run_stages):
    run_stages("build")
    with pytest.raises(PipelineError, match=r"diverged: .* in step [2-4] of an epoch, with lr 1e\+\d+; lower lr$"):
        run_stages("train", lr=lr)
    assert not CHECKPOINT.exists()


def test_a_device_that_is_not_there_is_named_and_only_models_that_train_alone_share_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PipelineError, match="device: cuda was asked for, but torch finds only cpu here"):
        train.available("cuda")
    assert train.available("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(train.workers, "local_rank", lambda: 3)
    assert train.available("cuda", shared=True) == torch.device("cuda", 1)
    with pytest.raises(PipelineError, match="expected a GPU for each worker, found 2 here"):
        train.available("cuda")
