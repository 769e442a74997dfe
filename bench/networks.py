"""What exact sums cost: python -m bench.networks trains five networks exactly and natively, and writes networks.md.

Both ways train in turn, a step or some short ones each, on one thread, so that a slow second of the machine hits both.
Measured is the time of the processor. The first two steps of a block don't count: the watch looks at them.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from os import cpu_count
from pathlib import Path
from platform import machine
from statistics import median, quantiles
from typing import NamedTuple

from stages.lib import model

import samebits
import torch
from samebits.tests import networks
from torch import nn

ROUNDS, BLOCK = 15, 50  # blocks of each way, and milliseconds that one lasts, or one step
WHY = """
On a busy machine the milliseconds are too many; the ratios are the better guide. Exact products and convolutions are of
float64, twice the bytes of float32. Each sum first finds its largest number and rounds its terms."""
DRAW = torch.Generator().manual_seed(0)


class Case(NamedTuple):
    """A network with a batch: its name in samebits/tests/networks.py and its sizes there."""

    name: str
    sizes: dict[str, int]
    x: torch.Tensor
    labels: torch.Tensor


def images(count: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ones of ten classes."""
    return torch.rand(count, *shape, generator=DRAW), torch.randint(10, (count,), generator=DRAW)


TEXTS = torch.randint(65, (12, 65), generator=DRAW)
GPT = {"tokens": 65, "length": 64, "width": 128, "heads": 4, "blocks": 4}
CASES = {
    "the notebook's: 784-20-10, batch 100, SGD": Case("notebook", {}, *images(100, 784)),
    "PyTorch's examples/mnist: batch 64, Adadelta": Case(
        "examples", {"first": 32, "second": 64, "hidden": 128}, *images(64, 1, 28, 28)
    ),
    "RepDL's for MNIST: batch 64, Adam": Case("convolutional", {"first": 32, "second": 64}, *images(64, 1, 28, 28)),
    "torchvision's resnet18: 3 x 32 x 32, batch 32, SGD with momentum": Case("resnet18", {}, *images(32, 3, 32, 32)),
    "small GPT: 4 layers of width 128, length 64, batch 12, AdamW, clipping": Case(
        "transformer", GPT, TEXTS[:, :-1], TEXTS[:, 1:]
    ),
}


def stepper(case: Case) -> Callable[[], float]:
    """A step of a training that begins anew; it gives the loss."""
    if case.name == "notebook":
        network: nn.Module = model.sequential(20)
        samebits.initialize(network, torch.Generator().manual_seed(0))
        optimizer: torch.optim.Optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    else:
        network = networks.network_of(case.name, **case.sizes)
        optimizer = networks.optimizer_of(case.name, network.parameters())

    def step() -> float:
        loss = networks.loss_of(case.name, network, case.x, case.labels)
        optimizer.zero_grad()
        loss.backward()
        if case.name == "transformer":
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def block(step: Callable[[], float], arithmetic: AbstractContextManager[object]) -> list[float]:
    """Milliseconds of each step of a block."""
    times: list[float] = []
    with arithmetic:
        step()
        step()
        while sum(times) < BLOCK:
            start = time.process_time()
            step()
            times.append(1e3 * (time.process_time() - start))
    return times


def row(title: str, case: Case) -> str:
    """Of the table: medians over all steps; of the ratios of two blocks in a row, the middle half, too."""
    ways = [(stepper(case), samebits.exact()), (stepper(case), nullcontext())]
    rounds = [[block(*way) for way in ways] for _ in range(ROUNDS)]
    exact, native = (median(time for blocks in rounds for time in blocks[way]) for way in (0, 1))
    low, middle, high = quantiles(median(one) / median(other) for one, other in rounds)
    return f"| {title} | {exact:.2f} | {native:.2f} | {middle:.1f} ({low:.1f} to {high:.1f}) |"


def main() -> None:
    torch.set_num_threads(1)
    where = f"{cpu_count()} cores ({machine()}, {torch.backends.cpu.get_cpu_capability()})"
    lines = [
        f"# Exact beside native, measured in {date.today():%B %Y}\n",
        f"One thread of {where}, PyTorch {torch.__version__.split('+')[0]}: milliseconds of the processor for a step,",
        f"which is forward, loss, backward and optimizer; in turn, {ROUNDS} blocks of steps each way; medians.\n",
        "| network | exact | native | times native (middle half) |\n|---|---|---|---|",
    ]
    for title, case in CASES.items():
        lines.append(row(title, case))
        print(lines[-1], flush=True)
    lines.append(WHY)
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
