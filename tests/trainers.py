"""Trainers as people change them; `python -m tests.trainers` trains with each, also as workers of torchrun."""

import hashlib
import io
import json
from itertools import islice, product
from typing import Any
from unittest.mock import patch

from stagecraft import resume
from stages import train
from stages.lib import data, digits, model, tensors
from stages.lib.params import Params
from stages.train import Trainer

import torch
from samebits import workers
from torch import nn
from torch.nn import functional
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

SETTINGS = {
    "batch_size": 400, "dataset": "digits", "device": "cpu", "epochs": 4, "hidden_units": 7, "images_per_class": 1,
    "lr": 0.2, "mistakes": 1, "model": "sequential", "momentum": 0.5, "numerics": "exact", "row_images": 1, "seed": 0,
    "validation_images": 51,
}  # fmt: skip


class Cosine(Trainer):
    """A schedule by epochs, that depends on how many there will be."""

    def __init__(self, network: nn.Module, settings: Any) -> None:
        super().__init__(network, settings)
        self.schedule = CosineAnnealingLR(self.optimizer, settings.epochs)

    def epoch(self, *args: Any) -> float:
        loss = super().epoch(*args)
        self.schedule.step()
        return loss


class Squared(Trainer):
    """Another loss, and clipping between the gradients and the step."""

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = functional.mse_loss(self.network(images).softmax(1), functional.one_hot(labels, 10).float())
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 0.001)
        self.optimizer.step()
        return loss


class Mixed(Trainer):
    """Augmentation: each image is moved by rows, and mixed with what it is upside down by a part, drawn for it."""

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        rows, part = torch.randint(-2, 3, (len(images), 1)), torch.rand(len(images), 1)
        moved = images.gather(1, (torch.arange(784) - 28 * rows) % 784)
        return super().step(moved * part + images.flip(1) * (1 - part), labels)


class Averaged(Trainer):
    """An exponential average of the weights."""

    def __init__(self, network: nn.Module, settings: Any) -> None:
        super().__init__(network, settings)
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))

    def step(self, *batch: torch.Tensor) -> torch.Tensor:
        loss = super().step(*batch)
        self.average.update_parameters(self.network)
        return loss

    def result(self) -> nn.Module:
        return self.average.module


class TwoOptimizers(Trainer):
    """One for the weights, and one for the biases, with weight decay, whose gradients add up for three batches."""

    def __init__(self, network: nn.Module, settings: Any) -> None:
        super().__init__(network, settings)
        weights, biases = ([p for p in network.parameters() if p.dim() == dim] for dim in (2, 1))
        self.optimizer = SGD(weights, lr=0.2, momentum=0.9, foreach=False)
        self.other, self.batches = AdamW(biases, lr=0.01, weight_decay=0.1, foreach=False), 0

    def step(self, *batch: torch.Tensor) -> torch.Tensor:
        loss = super().step(*batch)
        self.batches += 1
        if self.batches % 3 == 0:
            self.other.step()
            self.other.zero_grad()
        return loss


class Stopped(Trainer):
    """Early stopping: no epoch follows one that is good enough."""

    def validate(self, validation: Any) -> Any:
        measured = super().validate(validation)
        self.stopped = measured["validation_loss"] < 2.25
        return measured


CHANGES = [Trainer, Cosine, Squared, Mixed, Averaged, TwoOptimizers, Stopped]


def trained(change: type[Trainer], most: int = 99, **changes: Any) -> tuple[list[int], str, str, list[float | None]]:
    """How many epochs were done when it began and after each; hashes of what is kept and of the network; the losses.

    It is killed after `most` epochs.
    """
    settings = Params(**SETTINGS | changes)
    network = model.empty(settings)
    model.initialize(network, torch.Generator().manual_seed(settings.seed))
    files = list(digits.files().values())
    images = tensors.to_tensors(data.Split(*(data.decode_idx(content)[:840] for content in files[:2])))
    contents = [change.__name__.encode()]
    with patch.object(train, "Trainer", change):
        histories = [list(each) for each in islice(train.trained(network, images, settings, contents), most + 1)]
    facts = resume.facts(settings.training(), contents, train.CODE, exact=settings.numerics == "exact")
    key = resume.fingerprint(facts)
    state = torch.load(io.BytesIO((resume.FOLDER / key).read_bytes()[32:]), weights_only=True)  # after its hash
    texts = [json.dumps(each, default=torch.Tensor.tolist) for each in (state, network.state_dict())]
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    losses = [row[name] for row in histories[-1] for name in ("train_loss", "validation_loss")]
    return [len(history) for history in histories], *hashes, losses  # type: ignore[return-value]


if __name__ == "__main__":
    with workers.joined():
        for numerics, each in product(("exact", "native"), CHANGES):
            found = trained(each, numerics=numerics)
            if workers.rank() == 0:
                print(numerics, each.__name__, *found[1:], flush=True)
