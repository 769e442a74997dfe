"""Dropout, and draws by other distributions."""

import math
from collections.abc import Callable
from typing import Any

import torch
from samebits import workers
from torch import Tensor

TINY = torch.finfo().tiny  # the smallest normal number


def evenly(x: Tensor, shape: Any) -> Tensor:
    """Numbers from 0 to 1, in a shape that begins with the images of `x`, if it is of images."""
    shared = workers.is_of_images(x)
    drawn = workers.draw(x, lambda n: torch.rand(n, *shape[1:])) if shared else torch.rand(shape)
    return drawn.to(x.device)


def check_rate(p: float) -> None:
    """Raise ValueError for what is no probability."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def dropout(x: Tensor, p: float = 0.5, training: bool = True, channels: bool = False) -> Tensor:
    """In training each number, or each channel, is 0 with probability `p` and else divided by 1 - p.

    Every worker draws for the images of all, so that what is dropped does not depend on how they are shared out.
    """
    check_rate(p)
    if not training:
        return x
    kept = evenly(x, [*x.shape[:2], *[1] * (x.dim() - 2)] if channels else list(x.shape)) >= p
    return (x * kept.float().expand(x.shape)) / (1 - p if p < 1 else 1)


def dropout_of_channels(one: int | None = None) -> Callable[..., Tensor]:
    """dropout1d and its like, of channels in the second dimension, or the first if there are so many: one image."""

    def compute(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
        images = x.unsqueeze(0) if x.dim() == one else x
        return dropout(images, p, training, channels=True).view(x.shape)

    return compute


def alpha_dropout(x: Tensor, p: float = 0.5, training: bool = False) -> Tensor:
    """Klambauer et al. (2017): what is dropped is SELU's lowest value, and all is scaled to the moments of before."""
    check_rate(p)
    if not training:
        return x
    lowest = -1.7580993408473766
    scale = 1 / math.sqrt((1 - p) * (1 + p * lowest * lowest)) if p < 1 else 0.0
    return torch.where(evenly(x, x.shape) >= p, x, lowest) * scale - lowest * p * scale


def rrelu(x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Tensor:
    """What is negative by a slope of its own, evenly between the two in training, else by the one in the middle."""
    slopes = evenly(x, x.shape) * (upper - lower) + lower if training else (lower + upper) / 2
    return torch.where(x >= 0, x, x * slopes)


@torch.no_grad()
def multinomial(p: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Tensor:
    """Indices along the last dimension, with probabilities in proportion to float `p`, of one or two dimensions."""
    if p.dim() not in (1, 2) or not p.is_floating_point() or num_samples < 1:
        raise RuntimeError("expected one or more samples by floats of one or two dimensions")
    largest = p.amax(-1, keepdim=True)
    if not ((p >= 0) & (p < math.inf) & (largest > 0)).all():
        raise RuntimeError("expected probabilities from 0 on, some of them above 0, none of them infinite or NaN")
    if not replacement:  # the first that happen, if each happens in exponential time
        return (p / torch.empty_like(p).exponential_(generator=generator)).topk(num_samples).indices
    edges = (p / largest).cumsum(-1)  # which neither overflows nor has subnormal sums
    drawn = torch.empty(*p.shape[:-1], num_samples).uniform_(generator=generator).to(p.device)
    return torch.searchsorted(edges, drawn * edges[..., -1:], right=True)


@torch.no_grad()
def gamma(shape: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of gamma distributions with these shapes and scale 1, by Marsaglia and Tsang (2000).

    They are the first tensor times exp of the second, which is 0 but for shapes below 1; NaN for others than above 0.
    """
    d = shape + (shape < 1) - 1 / 3
    found = torch.where(shape > 0, d * 0, math.nan)
    while (waiting := found == 0).any():
        x = torch.randn_like(d)
        v = (x / (d * 9).sqrt() + 1) ** 3
        limit = x * x * 0.5 + d - d * v + d * v.where(v > 0, 1).log()
        accepted = waiting & (v > 0) & (-torch.empty_like(d).exponential_() < limit)
        found = torch.where(accepted, (d * v).clamp(min=TINY), found)
    return found, torch.where(shape < 1, -torch.empty_like(d).exponential_() / shape, 0)


def standard_gamma(shape: Tensor) -> Tensor:
    """None is 0, of which others take the logarithm."""
    found, less = gamma(shape)
    return (found * less.exp()).clamp(min=TINY)


def dirichlet(shape: Tensor) -> Tensor:
    """By logarithms, as gamma draws of small shapes would all be TINY."""
    found, less = gamma(shape)
    return (found.log() + less).softmax(-1).clamp(TINY, 1 - 2**-24)


def without_gradient(draw: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A draw by parameters whose gradients are not covered."""

    def compute(x: Tensor, generator: Any = None) -> Tensor:
        if generator is not None or (x.requires_grad and torch.is_grad_enabled()):
            raise NotImplementedError("a gradient, or a generator, of such a draw")
        return draw(x)

    return compute


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_standard_gamma": without_gradient(standard_gamma),
    "_sample_dirichlet": without_gradient(dirichlet),
    "dropout": dropout,
    "dropout1d": dropout_of_channels(2),
    "dropout2d feature_dropout": dropout_of_channels(),
    "dropout3d": dropout_of_channels(4),
    "alpha_dropout": alpha_dropout,
    "rrelu": rrelu,
    "multinomial": multinomial,
}
