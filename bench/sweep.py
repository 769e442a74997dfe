"""How much faster the sweep trains its models than the train stage one after the other: python -m bench.sweep [STEPS].

Both train the same models for the same steps, in turns, with the settings of sweep/params.yaml; medians of 5 rounds.
One model of each candidate is trained alone, and its time counts for every seed.
"""

import resource
import sys
import time
from collections.abc import Callable
from statistics import median

from stages.lib import data, model, numerics, params, tensors
from stages.train import train_epoch
from sweep import ensemble
from sweep.grid import Grid, load_grid

import torch

ROUNDS = 5


def together(
    settings: params.Params, grid: Grid, images: torch.Tensor, labels: torch.Tensor, orders: torch.Tensor
) -> None:
    parameters = ensemble.initial(settings.model, settings.hidden_units, grid.seeds, len(grid.candidates))
    optimizers = ensemble.groups(parameters, grid.candidates)
    ensemble.train_epoch(optimizers, images.flatten(1), labels, orders, settings.batch_size, lambda: None)


def alone(
    settings: params.Params, grid: Grid, images: torch.Tensor, labels: torch.Tensor, orders: torch.Tensor
) -> None:
    for lr, momentum in grid.candidates:
        network = model.empty(settings.model, settings.hidden_units)
        model.initialize(network, torch.Generator().manual_seed(0))
        optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum)
        train_epoch(network, optimizer, tensors.batches(images, labels, orders[0], settings.batch_size), 1)


def cost(action: Callable[..., None], *arguments: object) -> float:
    start = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - start


def peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # MiB


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    settings, grid = params.load(), load_grid()
    numerics.configure(settings.numerics)
    images, labels = tensors.to_tensors(data.load_train(settings.dataset))
    n = min(len(labels), steps * settings.batch_size)
    orders = torch.stack([tensors.shuffled(len(labels), seed, 1)[:n] for seed in range(grid.seeds)])
    task = settings, grid, images, labels, orders

    before = peak_memory()
    pairs = [(grid.seeds * cost(alone, *task), cost(together, *task)) for _ in range(ROUNDS)]
    models = grid.seeds * len(grid.candidates)
    one_by_one, at_once = (
        1e3 * median(values) / models / (n / settings.batch_size) for values in zip(*pairs, strict=True)
    )
    ratios = sorted(first / second for first, second in pairs)
    print(f"{models} models, {settings.numerics}: {one_by_one:.3f} ms per step and model alone, {at_once:.3f} at once")
    print(f"{median(ratios):.2f} times faster ({ratios[0]:.2f} to {ratios[-1]:.2f} in {ROUNDS} rounds)")
    print(f"peak memory {peak_memory():.0f} MiB, {before:.0f} of it before the first model")


if __name__ == "__main__":
    main()
