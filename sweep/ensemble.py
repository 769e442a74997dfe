"""Many networks trained at once: parameters stacked to (seeds, candidates, ...), one step for all of them.

Models of one seed start from the same weights and see the same images in the same order, so their first layers are one
wide layer, one matrix product in place of many small ones. torch.func.vmap carries that over a group of seeds, and
threads over the groups.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from stages.lib import model

import torch
from torch.func import grad, stack_module_state, vmap
from torch.nn import functional

GROUP = 4  # seeds trained by one thread: always as many, so that a result can't depend on the number of processors
Stacked = dict[str, torch.Tensor]  # by the names of one network's parameters, in their order


def initial(name: str, hidden_units: int, seeds: int, candidates: int) -> Stacked:
    """The parameters (seeds, candidates, ...) float32 as the build stage draws them, the same for all of one seed."""
    networks = [model.empty(name, hidden_units) for _ in range(seeds)]
    for seed, network in enumerate(networks):
        model.initialize(network, torch.Generator().manual_seed(seed))
    stacked, _ = stack_module_state(networks)
    return {name: value.detach().unsqueeze(1).repeat_interleave(candidates, 1) for name, value in stacked.items()}


def logits(parameters: Stacked, images: torch.Tensor) -> torch.Tensor:
    """Of one seed's models (candidates, ...) for images (b, 784): (candidates, b, 10)."""
    hidden_weight, hidden_bias, output_weight, output_bias = parameters.values()
    wide = functional.linear(images, hidden_weight.flatten(0, 1), hidden_bias.flatten())  # (b, candidates * hidden)
    hidden = wide.sigmoid().unflatten(1, hidden_bias.shape).transpose(0, 1)  # (candidates, b, hidden)
    return torch.baddbmm(output_bias.unsqueeze(1), hidden, output_weight.mT)


def losses(parameters: Stacked, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of the models' losses, whose gradient is that of each model's own loss, and each loss (candidates,)."""
    each = vmap(functional.cross_entropy, in_dims=(0, None))(logits(parameters, images), labels)
    return each.sum(), each


gradients = vmap(grad(losses, has_aux=True))  # over seeds: images (seeds, b, 784), labels (seeds, b)


class SGD:
    """What torch.optim.SGD does, with a learning rate and a momentum for each candidate."""

    def __init__(self, parameters: Stacked, candidates: list[tuple[float, float]]) -> None:
        self.parameters = parameters
        self.velocity = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self.lrs, self.momenta = torch.tensor(candidates).T

    def step(self, gradient: Stacked) -> None:
        """Update the parameters in place; gradient: (seeds, candidates, ...) by name, as they are."""
        for name, parameter in self.parameters.items():
            every = (-1, *[1] * (parameter.ndim - 2))  # a number for each candidate, the same for all its parameters
            velocity = self.velocity[name].mul_(self.momenta.view(every)).add_(gradient[name])
            parameter.addcmul_(velocity, self.lrs.view(every), value=-1)


def groups(parameters: Stacked, candidates: list[tuple[float, float]]) -> list[SGD]:
    """An optimizer for each GROUP of seeds; they update their part of `parameters` in place."""
    parts = zip(*(value.split(GROUP) for value in parameters.values()), strict=True)
    return [SGD(dict(zip(parameters, part, strict=True)), candidates) for part in parts]


def train_epoch(
    optimizers: list[SGD],
    images: torch.Tensor,
    labels: torch.Tensor,
    orders: torch.Tensor,
    batch_size: int,
    progress: Callable[[], object],
) -> torch.Tensor:
    """One pass over images (n, 784), labels (n,), each seed in its order (seeds, n); calls `progress` after each step.

    Every group of seeds is trained by a thread of its own, as many at a time as there are processors. Returns the mean
    losses over the images, (seeds, candidates) float64 in nats, each taken before the step that it leads to.
    """
    interrupted = Event()

    def train(optimizer: SGD, orders: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for index in orders.split(batch_size, 1):  # (seeds, b)
            if interrupted.is_set():
                break
            batch = images.index_select(0, index.flatten()).unflatten(0, index.shape)  # (seeds, b, 784)
            gradient, each = gradients(optimizer.parameters, batch, labels[index])
            optimizer.step(gradient)
            total = total + each.double() * index.shape[1]
            progress()
        return total / orders.shape[1]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            return torch.cat(list(pool.map(train, optimizers, orders.split(GROUP))))
        finally:
            interrupted.set()  # after Ctrl-C no thread goes on


def evaluate(parameters: Stacked, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """On images (n, 784): mean losses float64 in nats, and numbers of correct predictions, both (seeds, candidates)."""
    loss, correct = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
    for batch, truth in zip(images.split(1_000), labels.split(1_000), strict=True):
        scores = vmap(logits, in_dims=(0, None))(parameters, batch)  # (seeds, candidates, b, 10)
        log_probability = scores.double().log_softmax(-1)
        loss = loss - log_probability[..., torch.arange(len(truth)), truth].sum(-1)
        correct = correct + (scores.argmax(-1) == truth).sum(-1)
    return loss / len(labels), correct
