"""Train the network with SGD on cross-entropy.

Reads data/raw and models/initial.safetensors; writes models/checkpoint.safetensors and plots/loss.csv (epoch,
train_loss).
"""

import math
from collections.abc import Iterator
from pathlib import Path

from stages.lib import checkpoint, data, model, numerics, output, params, resume, tensors
from stages.lib.errors import PipelineError

import pandas
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

INITIAL = Path("models/initial.safetensors")
# Guessing costs log(10) = 2.3 nats per image. A sigmoid network's loss can stay finite at any learning rate, since
# its hidden units stay between 0 and 1; a loss like this one says that the weights are beyond use.
DIVERGED = 1_000.0


def train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    epoch: int,
) -> float:
    """One pass over batches of images (b, 1, 28, 28) and labels (b,); returns the mean loss over the images in nats.

    Each batch's loss is taken before the step that it leads to, as in the notebook.
    Raises PipelineError at the first loss that is not finite, or so large that nothing is learned.
    """
    loss_sum, n = 0.0, 0
    for step, (images, labels) in enumerate(batches, start=1):
        logits = network(images.flatten(1))  # (b, 10)
        loss = functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()
        if not value < DIVERGED:  # NaN, too, is not
            raise diverged(value, epoch, step, optimizer.param_groups[0]["lr"])
        loss_sum += value * len(labels)
        n += len(labels)
    return loss_sum / n


def diverged(loss: float, epoch: int, step: int, lr: float) -> PipelineError:
    """The error that says where training went wrong and what to do."""
    return PipelineError(
        f"training diverged: expected a loss around {math.log(10):.1f} or less, found {loss:g} "
        f"in epoch {epoch}, step {step}, with lr {lr:g}; lower lr"
    )


def available(device: str) -> torch.device:
    """The torch device of that name; raises PipelineError if this machine has none."""
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not found[device]:
        usable = ", ".join(name for name in found if found[name])
        raise PipelineError(f"device: {device} was asked for, but torch finds only {usable} here; set device: cpu")
    return torch.device(device)


def main() -> None:
    settings = params.load()
    device = available(settings.device)
    numerics.configure(settings.numerics)
    network = model.empty(settings.model, settings.hidden_units)
    checkpoint.load(INITIAL, network, settings.initial())
    network.to(device)
    images, labels = (tensor.to(device) for tensor in tensors.to_tensors(data.load_train(settings.dataset)))
    optimizer = torch.optim.SGD(network.parameters(), lr=settings.lr, momentum=settings.momentum)

    key = resume.fingerprint(settings.training(), [INITIAL, *data.TRAIN_FILES])
    losses = resume.restore(key, settings.epochs, network, optimizer)
    for epoch in tqdm(range(len(losses) + 1, settings.epochs + 1), unit="epoch"):
        order = tensors.shuffled(len(labels), settings.seed, epoch).to(device)
        batches = tensors.batches(images, labels, order, settings.batch_size)
        losses.append(train_epoch(network, optimizer, batches, epoch))
        resume.save(key, network, optimizer, losses)
        tqdm.write(f"epoch {epoch}/{settings.epochs}  train_loss {losses[-1]:.4f}")

    output.write_csv("plots/loss.csv", pandas.DataFrame({"epoch": range(1, len(losses) + 1), "train_loss": losses}))
    checkpoint.save("models/checkpoint.safetensors", network, settings.training())


if __name__ == "__main__":
    main()
