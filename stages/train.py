"""Train the network with SGD on cross-entropy.

Reads data/raw and models/initial.safetensors; writes models/checkpoint.safetensors and, after each epoch,
plots/loss.csv (epoch, train_loss, validation_loss, validation_accuracy). Workers of torchrun train together.
"""

import math
from collections.abc import Iterator
from inspect import unwrap
from pathlib import Path
from typing import Any

import stagecraft
from stagecraft import checkpoint, inputs, output, resume
from stagecraft.errors import PipelineError
from stagecraft.resume import History
from stages.lib import data, model, numerics, params, tensors
from stages.lib.params import Training
from stages.lib.tensors import Tensors

import pandas
import samebits
import torch
from samebits import NotExactError, WorkersError, workers
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Optimizer
from tqdm import tqdm

INITIAL = Path("models/initial.safetensors")
LIBRARIES = [Path(str(module.__file__)).parent for module in (data, samebits, stagecraft)]
CODE = [Path(__file__), *(path for folder in LIBRARIES for path in folder.glob("*.py"))]  # that may shape a training
# Guessing costs log(10) = 2.3 nats per image. A sigmoid network's loss can stay finite at any learning rate, since
# its hidden units stay between 0 and 1; a loss like this one says that the weights are beyond use.
DIVERGED = 100.0
# Else PyTorch imports its compiler, which takes a second, only to keep it out of these.
for _method in (Optimizer.add_param_group, Optimizer.zero_grad, Optimizer.state_dict, Optimizer.load_state_dict):
    vars(unwrap(_method)).setdefault("__dynamo_disable", unwrap(_method))
SGD.step = torch.no_grad()(unwrap(SGD.step))  # type: ignore[method-assign]
OWN = "something that one of them does depends on its own share of the images, and should on all"
SAME = "all must have the same commit checked out, the same params.yaml and the results of `dvc repro download build`"


class Trainer:
    """All that changes while a network is trained. Its attributes are kept after each epoch and restored whole.

    Each is something with a state_dict, as a schedule or an average of weights, or a tensor, number or text.
    """

    def __init__(self, network: nn.Module, settings: Training) -> None:
        self.network, self.stopped = network, False  # whether no epoch should follow
        self.optimizer = SGD(network.parameters(), lr=settings.lr, momentum=settings.momentum, foreach=False)

    def result(self) -> nn.Module:
        """What is validated and saved: the network, or one of the same parameters, as an average is."""
        return self.network

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Learn from a batch: images (b, 784) and labels (b,). Returns the mean loss before that, in nats."""
        logits = self.network(images)  # (b, 10)
        loss = functional.cross_entropy(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def epoch(self, training: Tensors, batches: tuple[torch.Tensor, ...]) -> float:
        """One pass over batches, each the indices of its images; returns the mean loss over the images in nats.

        Raises PipelineError at the first loss that is not finite, or so large that nothing is learned.
        """
        self.network.train()
        loss_sum, n = 0.0, sum(map(len, batches))
        for number, batch in enumerate(batches, start=1):
            images, labels = training.batch(samebits.share(batch))
            loss = self.step(images, labels).item()
            if not loss < DIVERGED:  # NaN, too, is not
                raise diverged(loss, number, self.optimizer.param_groups[0]["lr"])
            loss_sum += loss * len(batch)
        return loss_sum / n

    @torch.no_grad()
    def validate(self, validation: Tensors) -> dict[str, float | None]:
        """Mean loss in nats and accuracy on images that are not trained on; None if there are none."""
        n = len(validation.labels)
        if n == 0:
            return {"validation_loss": None, "validation_accuracy": None}
        images, labels = validation.batch(validation.every())
        logits = self.result().eval()(images)
        loss, correct = functional.cross_entropy(logits, labels), (logits.argmax(1) == labels).sum()
        return {"validation_loss": loss.item(), "validation_accuracy": int(correct) / n}


def diverged(loss: float, step: int, lr: float) -> PipelineError:
    """The error that says where training went wrong and what to do."""
    or_mean = ", or return the mean over the images from Trainer.step" if step == 1 and math.isfinite(loss) else ""
    return PipelineError(
        f"training diverged: expected a loss around {math.log(10):.1f} or less, found {loss:g} "
        f"in step {step} of an epoch, with lr {lr:g}; lower lr{or_mean}"
    )


def fit(trainer: Trainer, images: Tensors, settings: Training, epochs: range) -> Iterator[dict[str, float | None]]:
    """Train for these epochs, from 1 on; gives the losses after each. The last images only validate."""
    n = settings.training_images(len(images.labels))
    training, validation = images.split(n)
    arithmetic = numerics.arithmetic(settings.numerics, settings.device)
    for epoch in epochs:
        if trainer.stopped:
            return
        order = tensors.shuffled(n, settings.seed, epoch).to(images.labels.device)
        tensors.seed(settings.seed, epoch)  # for layers that draw numbers, as dropout does
        with arithmetic:
            loss = trainer.epoch(training, order.split(settings.batch_size))
        with arithmetic:
            measured = trainer.validate(validation)
        yield {"train_loss": loss, **measured}


def available(device: str, *, shared: bool = False) -> torch.device:
    """The torch device of that name, of several GPUs the worker's own; raises PipelineError if there is none.

    If `shared`, several workers may have the same.
    """
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not found[device]:
        usable = ", ".join(name for name in found if found[name])
        raise PipelineError(f"device: {device} was asked for, but torch finds only {usable} here; set device: cpu")
    if device != "cuda":
        return torch.device(device)
    number, found_gpus = workers.local_rank(), torch.cuda.device_count()
    if number >= found_gpus and not shared:
        raise PipelineError(f"expected a GPU for each worker, found {found_gpus} here; start no more workers than that")
    return torch.device(device, number % found_gpus)


def trained(network: nn.Module, images: Tensors, settings: Training, contents: list[bytes]) -> Iterator[History]:
    """Train, from where an earlier training was interrupted if there is its state; gives the history after each epoch.

    In the end the network is the result.
    contents: the files of images, labels and initial weights.
    """
    recorded: Any = resume.Recorded(settings)
    trainer = Trainer(network, recorded)
    facts = resume.facts(settings.training(), contents, CODE, exact=settings.numerics == "exact")
    workers.agree({**facts, "settings": settings.training()}, SAME)  # on the epochs, too
    key = resume.fingerprint(facts)
    history = resume.restore(key, settings.epochs, trainer)
    yield history
    for row in fit(trainer, images, recorded, range(len(history) + 1, settings.epochs + 1)):
        history.append(row)
        workers.agree({f"weights after epoch {len(history)}": resume.weights_digest(trainer)}, OWN)
        resume.save(key, trainer, history, settings.epochs if "epochs" in recorded.names else None)
        yield history
    network.load_state_dict(trainer.result().state_dict())


def table(history: History) -> pandas.DataFrame:
    """What plots/loss.csv holds: epoch, train_loss, validation_loss, validation_accuracy, empty where not measured."""
    return pandas.DataFrame([{"epoch": epoch, **row} for epoch, row in enumerate(history, start=1)])


def told(history: History, epochs: int) -> str:
    """The last epoch as a line."""
    values = [f"{name} {value:.4f}" for name, value in history[-1].items() if value is not None]
    return "  ".join([f"epoch {len(history)}/{epochs}", *values])


def main() -> None:
    with workers.joined((PipelineError, NotExactError, WorkersError)), inputs.unchanged("train"):
        settings = params.load()
        device = available(settings.device)
        network = model.empty(settings)
        checkpoint.load(INITIAL, network, settings.initial())
        network.to(device)
        images = tensors.to_tensors(data.load_train(settings.dataset), device)
        contents = [inputs.read(path) for path in (*data.TRAIN_FILES, INITIAL)]

        is_first = workers.rank() == 0  # the one that speaks and writes
        with tqdm(total=settings.epochs, unit="epoch", disable=None if is_first else True) as bar:
            for number, history in enumerate(trained(network, images, settings, contents)):
                bar.update(len(history) - bar.n)
                if is_first and history:
                    output.write_csv("plots/loss.csv", table(history))
                    goes_on = f"training goes on after epoch {len(history)} of {settings.epochs}"
                    tqdm.write(told(history, settings.epochs) if number else goes_on)
        if is_first:
            checkpoint.save("models/checkpoint.safetensors", network, settings.training())


if __name__ == "__main__":
    main()
