import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from stagecraft import resume
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
from safetensors.torch import load_file
from torch import nn


@pytest.fixture
def folder(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, what the download has written, and nothing else."""
    (tmp_path / "data").symlink_to(small / "data")
    monkeypatch.chdir(tmp_path)


def results(folder: Path = Path()) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("plots/loss.csv", "models/checkpoint.safetensors")]


def test_an_interrupted_training_ends_with_the_same_bytes(folder, small, run_stages, monkeypatch, capsys):
    plain, calls = train.Trainer.epoch, []

    def interrupted(*arguments: object) -> float:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(train.Trainer, "epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_stages("build", "train")
    assert not Path("models/checkpoint.safetensors").exists()
    run_stages("train")
    assert "training goes on after epoch 1 of 2" in capsys.readouterr().out
    assert results() == results(small)


@pytest.mark.parametrize("numerics", ["exact", "native"])
def test_dropout_depends_on_seed_and_epoch_alone_and_is_only_in_training(numerics, folder, run_stages, monkeypatch):
    def dropping(hidden_units: int) -> nn.Module:
        return nn.Sequential(nn.Linear(784, hidden_units), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden_units, 10))

    monkeypatch.setitem(model.MODELS, "sequential", dropping)
    run_stages("build")
    found = []
    for epochs in (1, 2, 2):  # the second goes on from the first, the third does not
        torch.manual_seed(len(found))  # what was drawn before must not matter
        run_stages("train", "evaluate", numerics=numerics, epochs=epochs, validation_images=300)
        found.append([*results(), Path("metrics/test.json").read_bytes()])
        if epochs == 2:
            shutil.rmtree(resume.FOLDER)
    assert found[1] == found[2]
    assert found[1][0].startswith(found[0][0])

    run_stages("evaluate", numerics=numerics, epochs=2, validation_images=300)
    assert Path("metrics/test.json").read_bytes() == found[2][2]  # nothing is drawn
    network = dropping(7).eval()
    network.load_state_dict(load_file("models/checkpoint.safetensors"))
    _, validation = tensors.to_tensors(data.load_train("digits")).split(1_200)
    logits = network(validation.images.flatten(1) / 255)
    (*_, last) = pandas.read_csv("plots/loss.csv")["validation_loss"]
    assert last == pytest.approx(nn.functional.cross_entropy(logits, validation.labels).item(), rel=1e-5)


class Spy(nn.Module):
    """A network that notes whether it trains, and what is drawn then."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(784, 10), []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        drawn = (torch.rand(1).item(), np.random.rand(), random.random()) if self.training else ()
        self.seen.append((len(images), drawn))
        return self.layer(images)


IMAGES = tensors.Tensors(torch.arange(5 * 784, dtype=torch.uint8).view(5, 28, 28), torch.tensor([1, 0, 3, 2, 4]))


def fit(trainer: type[Trainer], network: nn.Module) -> list[dict[str, float | None]]:
    settings = Params(**SETTINGS | {"batch_size": 2, "validation_images": 1})
    return list(train.fit(trainer(network, settings), IMAGES, settings, range(1, 4)))


def test_each_epoch_trains_on_all_images_and_draws_anew_and_nothing_is_drawn_to_validate():
    one, other = Spy(), Spy()
    for spy in (one, other):
        torch.manual_seed(len(spy.seen) + id(spy))  # what was drawn before must not matter
        fit(Trainer, spy)
    assert [len(drawn) and images for images, drawn in one.seen] == [2, 2, 0, 2, 2, 0, 2, 2, 0]
    assert [images for images, drawn in one.seen if not drawn] == [1, 1, 1]
    drawn = [number for _, numbers in one.seen for number in numbers]
    assert len(set(drawn)) == len(drawn) == 18
    assert one.seen == other.seen


def test_an_exact_training_does_not_wait_for_pytorch_s_compiler(folder, run_stages):
    run_stages("build")
    code = "import sys; from stages import train; train.main(); sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_what_a_trainer_says_is_its_result_is_validated():
    class Unsure(Trainer):
        def result(self) -> nn.Module:
            network = nn.Linear(784, 10)
            network.load_state_dict({name: torch.zeros_like(value) for name, value in network.state_dict().items()})
            return network

    losses = [row["validation_loss"] for row in fit(Unsure, nn.Linear(784, 10))]
    assert losses == [pytest.approx(math.log(10))] * 3


def test_a_sum_in_place_of_a_mean_is_named():
    class Summing(Trainer):
        def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return super().step(images, labels) * 100

    with pytest.raises(PipelineError, match=r"; lower lr, or return the mean over the images from Trainer.step$"):
        fit(Summing, nn.Linear(784, 10))


def test_a_loss_that_is_no_number_stops_the_training():
    class Lost(Trainer):
        def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return super().step(images, labels) * math.nan

    with pytest.raises(PipelineError, match=r"training diverged: .* found nan in step 1 of an epoch"):
        fit(Lost, nn.Linear(784, 10))


@pytest.mark.parametrize("lr", [1e6, 1e38])
def test_training_that_diverges_stops_and_leaves_no_result(folder, run_stages, lr):
    run_stages("build")
    with pytest.raises(PipelineError, match=r"diverged: .* in step \d of an epoch, with lr 1e\+\d+; lower lr"):
        run_stages("train", lr=lr)
    assert not Path("models/checkpoint.safetensors").exists()


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
