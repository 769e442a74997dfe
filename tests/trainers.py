"""Trainers as people change them; `python -m tests.trainers` trains with each, also as workers of torchrun."""

import hashlib
import io
from itertools import product
from typing import Any

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
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

SETTINGS = {
    "batch_size": 400, "dataset": "digits", "device": "cpu", "epochs": 4, "hidden_units": 7, "images_per_class": 1,
    "lr": 0.2, "mistakes": 1, "model": "sequential", "momentum": 0.5, "numerics": "exact", "row_images": 1, "seed": 0,
    "validation_images": 51,
}  # fmt: skip


class Stepped(Trainer):
    """A schedule by epochs."""

    def __init__(self, network: nn.Module, settings: Any) -> None:
        super().__init__(network, settings)
        self.schedule: Any = StepLR(self.optimizer, 2, 0.5)

    def epoch(self, *args: Any) -> float:
        loss = super().epoch(*args)
        self.schedule.step()
        return loss


class Cosine(Stepped):
    """A schedule that depends on how many epochs there will be."""

    def __init__(self, network: nn.Module, settings: Any) -> None:
        Trainer.__init__(self, network, settings)
        self.schedule = CosineAnnealingLR(self.optimizer, settings.epochs)


class Decayed(Trainer):
    """Another optimizer, with weight decay."""

    def __init__(self, network: nn.Module, settings: Any) -> None:
        super().__init__(network, settings)
        self.optimizer: Any = AdamW(network.parameters(), lr=0.01, weight_decay=0.1, foreach=False)


class Clipped(Trainer):
    """Clipping between the gradients and the step."""

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = functional.cross_entropy(self.network(images), labels)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 0.1)
        self.optimizer.step()
        return loss


class Shifted(Trainer):
    """Augmentation: each image is moved up or down by rows that are drawn for it."""

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        rows = torch.randint(-2, 3, (len(images), 1))
        return super().step(images.gather(1, (torch.arange(784) - 28 * rows) % 784), labels)


class Squared(Trainer):
    """Another loss."""

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = functional.mse_loss(self.network(images).softmax(1), functional.one_hot(labels, 10).float())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


class Averaged(Trainer):
    """An exponential average of the weights."""

    def __init__(self, network: nn.Module, settings: Any) -> None:
        super().__init__(network, settings)
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = super().step(images, labels)
        self.average.update_parameters(self.network)
        return loss

    def result(self) -> nn.Module:
        return self.average.module


class Accumulated(Trainer):
    """A step for every third batch."""

    def __init__(self, network: nn.Module, settings: Any) -> None:
        super().__init__(network, settings)
        self.batches = 0

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = functional.cross_entropy(self.network(images), labels)
        (loss / 3).backward()
        self.batches += 1
        if self.batches % 3 == 0:
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss


class TwoOptimizers(Trainer):
    """One for the weights, one for the biases."""

    def __init__(self, network: nn.Module, settings: Any) -> None:
        super().__init__(network, settings)
        weights, biases = ([p for p in network.parameters() if p.dim() == dim] for dim in (2, 1))
        self.optimizer = SGD(weights, lr=0.2, momentum=0.9, foreach=False)
        self.other = SGD(biases, lr=0.1, momentum=0.5, foreach=False)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = super().step(images, labels)
        self.other.step()
        self.other.zero_grad()
        return loss


class Mixed(Trainer):
    """Images mixed, by parts that are drawn, with what they are upside down."""

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        part = torch.rand(len(images), 1)
        return super().step(images * part + images.flip(1) * (1 - part), labels)


class Stopped(Trainer):
    """Early stopping: no epoch follows one that is good enough."""

    def validate(self, validation: Any) -> Any:
        measured = super().validate(validation)
        self.stopped = measured["validation_loss"] < 2.25
        return measured


CHANGES = [
    Trainer, Stepped, Cosine, Decayed, Clipped, Shifted, Squared, Averaged, Accumulated, TwoOptimizers, Mixed, Stopped,
]  # fmt: skip


def trained(change: type[Trainer], most: int = 99, **changes: Any) -> tuple[list[int], str, str, list[float]]:
    """How many epochs were done when it began and after each; hashes of what is kept and of the network; the losses.

    It is killed after `most` epochs.
    """
    settings = Params(**SETTINGS | changes)
    network = model.empty(settings)
    model.initialize(network, torch.Generator().manual_seed(settings.seed))
    files = list(digits.files().values())
    images = tensors.to_tensors(data.Split(*(data.decode_idx(content)[:840] for content in files[:2])))
    plain, train.Trainer = train.Trainer, change  # type: ignore[misc]
    contents, lengths = [change.__name__.encode()], []
    try:
        for history in train.trained(network, images, settings, contents):
            lengths.append(len(history))
            if len(lengths) > most:
                break
    finally:
        train.Trainer = plain  # type: ignore[misc]
    facts = resume.facts(settings.training(), contents, train.CODE, exact=settings.numerics == "exact")
    key = resume.fingerprint(facts)
    state = torch.load(io.BytesIO((resume.FOLDER / key).read_bytes()[32:]), weights_only=True)  # after its hash
    hashes = [hashlib.sha256(listed(each).encode()).hexdigest() for each in (state, network.state_dict())]
    return lengths, *hashes, [row["train_loss"] or 0.0 for row in history]  # type: ignore[return-value]


def listed(state: Any) -> str:
    """A kept state as text."""
    if isinstance(state, dict):
        return repr([(key, listed(value)) for key, value in state.items()])
    if isinstance(state, list | tuple):
        return repr([listed(value) for value in state])
    return repr(state.tolist() if isinstance(state, torch.Tensor) else state)


if __name__ == "__main__":
    with workers.joined():
        for numerics, each in product(("exact", "native"), CHANGES):
            found = trained(each, numerics=numerics)
            if workers.rank() == 0:
                print(numerics, each.__name__, *found[1:], flush=True)
