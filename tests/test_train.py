import shutil
from contextlib import chdir
from pathlib import Path

from stages import train
from stages.lib import data, resume
from stages.lib.errors import PipelineError

import numpy as np
import pandas
import pytest
import torch
from safetensors.torch import load_file


def numpy_training(
    images: np.ndarray, labels: np.ndarray, weights: list[np.ndarray], *, seed: int, epochs: int, batch_size: int,
    lr: float, momentum: float,
) -> list[float]:  # fmt: skip
    """The losses of the same training written out in float64, with gradients by hand; `weights` change in place."""
    w1, b1, w2, b2 = weights
    velocity = [np.zeros_like(weight) for weight in weights]
    losses = []
    for epoch in range(1, epochs + 1):
        order = np.random.default_rng((seed, epoch)).permutation(len(labels))
        total = 0.0
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            x, n = images[chosen].reshape(len(chosen), -1) / 255, len(chosen)
            hidden = 1 / (1 + np.exp(-(x @ w1.T + b1)))
            logits = hidden @ w2.T + b2
            probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            total -= np.log(probability[np.arange(n), labels[chosen]]).sum()
            d_logits = (probability - np.eye(10)[labels[chosen]]) / n
            d_hidden = d_logits @ w2 * hidden * (1 - hidden)
            gradients = [d_hidden.T @ x, d_hidden.sum(0), d_logits.T @ hidden, d_logits.sum(0)]
            for weight, v, gradient in zip(weights, velocity, gradients, strict=True):
                v *= momentum
                v += gradient
                weight -= lr * v
        losses.append(total / len(labels))
    return losses


def parameters(path: Path) -> list[np.ndarray]:
    """Weight and bias of the hidden layer, then of the output layer."""
    found = load_file(path)
    return [found[name].numpy().astype(float) for name in ("0.weight", "0.bias", "2.weight", "2.bias")]


def test_training_agrees_with_numpy_where_the_last_batch_is_short(small: Path) -> None:
    # 1,500 images in batches of 400: three whole ones and one of 300, whose images must not count for more.
    images, labels = (
        data.decode_idx((small / data.FOLDER / f"train-{kind}-ubyte").read_bytes())
        for kind in ("images-idx3", "labels-idx1")
    )
    weights = parameters(small / "models/initial.safetensors")
    expected = numpy_training(images, labels, weights, seed=0, epochs=2, batch_size=400, lr=0.1, momentum=0.5)
    found = pandas.read_csv(small / "plots/loss.csv")
    assert found["epoch"].tolist() == [1, 2]
    np.testing.assert_allclose(found["train_loss"], expected, rtol=1e-6)
    for mine, trained in zip(weights, parameters(small / "models/checkpoint.safetensors"), strict=True):
        np.testing.assert_allclose(trained, mine, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["ordered", "module", "functional"])
def test_all_four_networks_have_the_same_losses_to_the_byte(small: Path, tmp_path: Path, run_stages, name: str) -> None:
    (tmp_path / "data").symlink_to(small / "data")
    with chdir(tmp_path):
        run_stages("build", "train", model=name)
        assert Path("plots/loss.csv").read_bytes() == (small / "plots/loss.csv").read_bytes()


def test_an_interrupted_training_ends_with_the_same_bytes(
    small: Path, tmp_path: Path, run_stages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").symlink_to(small / "data")
    plain, calls = train.train_epoch, []

    def interrupted(*arguments: object) -> float:
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(1)
        return plain(*arguments)

    with chdir(tmp_path):
        run_stages("build")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(train, "train_epoch", interrupted)
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
