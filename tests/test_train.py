import shutil
from contextlib import chdir
from pathlib import Path

from stagecraft import resume
from stagecraft.errors import PipelineError
from stages import train
from stages.lib import data, model, tensors

import pandas
import pytest
import torch
from safetensors.torch import load_file
from torch import nn


def test_an_interrupted_training_ends_with_the_same_bytes(
    small: Path, tmp_path: Path, run_stages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").symlink_to(small / "data")
    plain, calls = train.Trainer.epoch, []

    def interrupted(*arguments: object) -> float:
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(1)
        return plain(*arguments)

    with chdir(tmp_path):
        run_stages("build")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(train.Trainer, "epoch", interrupted)
            run_stages("train")
        assert not Path("models/checkpoint.safetensors").exists()
        run_stages("train")
        assert "training goes on after epoch 1 of 2" in capsys.readouterr().out
        for name in ("models/checkpoint.safetensors", "plots/loss.csv"):
            assert Path(name).read_bytes() == (small / name).read_bytes()


def test_a_longer_training_begins_with_the_shorter_one(small: Path, tmp_path: Path, run_stages) -> None:
    (tmp_path / "data").symlink_to(small / "data")
    results = []
    with chdir(tmp_path):
        for fresh in (False, True):
            if fresh:
                shutil.rmtree(resume.FOLDER)
            else:
                run_stages("build", "train")
            run_stages("train", epochs=3)
            results.append([Path(name).read_bytes() for name in ("models/checkpoint.safetensors", "plots/loss.csv")])
    assert results[0] == results[1]
    assert results[0][1].startswith((small / "plots/loss.csv").read_bytes())


@pytest.mark.parametrize("numerics", ["exact", "native"])
def test_dropout_depends_on_the_seed_and_is_only_in_training(
    numerics: str, small: Path, tmp_path: Path, run_stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dropping(hidden_units: int) -> nn.Module:
        return nn.Sequential(nn.Linear(784, hidden_units), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden_units, 10))

    monkeypatch.setitem(model.MODELS, "sequential", dropping)
    (tmp_path / "data").symlink_to(small / "data")
    found = []
    with chdir(tmp_path):
        run_stages("build")
        for epochs in (1, 2, 2):  # the second goes on from the first, the third does not
            torch.manual_seed(len(found))  # what was drawn before must not matter
            run_stages("train", "evaluate", numerics=numerics, epochs=epochs, validation_images=300)
            found.append([Path(name).read_text() for name in ("plots/loss.csv", "metrics/test.json")])
            if epochs == 2:
                shutil.rmtree(resume.FOLDER)
    assert found[1] == found[2]
    assert found[1][0].startswith(found[0][0])

    with chdir(tmp_path):
        run_stages("evaluate", numerics=numerics, epochs=2, validation_images=300)
        assert Path("metrics/test.json").read_text() == found[2][1]  # nothing is drawn
        network = dropping(7).eval()
        network.load_state_dict(load_file("models/checkpoint.safetensors"))
        _, validation = tensors.to_tensors(data.load_train("digits")).split(1_200)
        logits = network(validation.images.flatten(1) / 255)
        (*_, last) = pandas.read_csv("plots/loss.csv")["validation_loss"]
    assert last == pytest.approx(nn.functional.cross_entropy(logits, validation.labels).item(), rel=1e-5)


@pytest.mark.parametrize("lr", [1e6, 1e38])
def test_training_that_diverges_stops_and_leaves_no_result(small: Path, tmp_path: Path, run_stages, lr: float) -> None:
    (tmp_path / "data").symlink_to(small / "data")
    with chdir(tmp_path):
        run_stages("build")
        with pytest.raises(PipelineError, match=r"diverged: .* in step \d of an epoch, with lr 1e\+\d+; lower lr"):
            run_stages("train", lr=lr)
        assert not Path("models/checkpoint.safetensors").exists()


def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PipelineError, match="device: cuda was asked for, but torch finds only cpu here"):
        train.available("cuda")
    assert train.available("cpu") == torch.device("cpu")


def test_only_models_that_train_alone_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(train.workers, "local_rank", lambda: 3)
    assert train.available("cuda", shared=True) == torch.device("cuda", 1)
    with pytest.raises(PipelineError, match="expected a GPU for each worker, found 2 here"):
        train.available("cuda")
