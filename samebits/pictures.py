"""Pooling, and pictures of another size: sums of numbers, each by a weight."""

import math
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Pooling


def pooled(
    dims: int, x: Tensor, size: list[int], stride: Any = (), padding: Any = (0,), beyond: bool = False,
    counts_padding: bool = True, divisor: int | None = None,
) -> Tensor:  # fmt: skip
    """Means of windows: a convolution, divided by what another one counts. Windows may go `beyond` the padding."""
    size, stride, padding = ([*each] * (dims if len(each) == 1 else 1) for each in (size, stride or size, padding))
    ones, ends = x.new_ones(x.shape[-dims:]), list[int]()
    for old, k, s, p in zip(x.shape[-dims:], size, stride, padding, strict=True):
        windows = (old + 2 * p - k + (s - 1) * beyond) // s + 1
        windows -= beyond and (windows - 1) * s >= old + p  # the last would begin behind all
        ends = [p, (windows - 1) * s + k - old - p, *ends]
    around = [p for p in reversed(padding) for _ in range(2)]
    ones = functional.pad(ones, around, value=float(counts_padding))
    ones = functional.pad(ones, [end - p for end, p in zip(ends, around, strict=True)])
    convolve, window = (functional.conv1d, functional.conv2d, functional.conv3d)[dims - 1], x.new_ones(1, 1, *size)
    sums = convolve(functional.pad(x, ends).reshape(-1, 1, *ones.shape), window, stride=stride)
    found = sums / (divisor or convolve(ones[None, None], window, stride=stride))
    return found.view(*x.shape[:-dims], *found.shape[2:])


def adaptive(x: Tensor, shape: Any) -> Tensor:
    """Means of windows that share out each of the last dimensions, perhaps unevenly."""
    each = [[slice(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
            for new, old in zip(shape, x.shape[-len(shape) :], strict=True)]  # fmt: skip
    last = tuple(range(-len(shape), 0))
    means = [x[(..., *window)].mean(last) for window in product(*each)]  # type: ignore[index]
    return torch.stack(means, -1).unflatten(-1, shape) if means else x.new_zeros(*x.shape[: -len(shape)], *shape)


# Another size


def weights_at(at: float, old: int, width: float, cubic: bool) -> list[float]:
    """Of `old` numbers, around a place: by lines to 0 at `width` from it; or by the cubic of Keys (1981)."""
    found = [0.0] * old
    reach = (1 + cubic) * width
    for place in range(max(int(at + 1 - reach), 0), min(int(at + 1 + reach), old)):
        t = abs(place - at) / width
        inner = (1.5 * t - 2.5) * t * t + 1 if cubic else 1 - t
        outer = ((2.5 - 0.5 * t) * t - 4) * t + 2 if cubic and t < 2 else 0.0
        found[place] = inner if t < 1 else outer
    return [weight / math.fsum(found) for weight in found]


def smoothed(cubic: bool, x: Tensor, sizes: list[int], corners: bool, *factors: float | None) -> Tensor:
    """Images (n, channels, ...) in another size, without aliases: sums of numbers of one dimension after the other."""
    for dim, new in enumerate(sizes, 2):
        old, factor = x.shape[dim], (*factors, None, None)[dim - 2]
        if new == old:  # as in PyTorch, whatever the factor
            continue
        scale = 1 / factor if factor else old / new
        if corners:
            scale = (old - 1) / (new - 1) if new > 1 else 0.0
        places = ((i + 0.5) * scale - 0.5 for i in range(new))
        weights = torch.tensor([weights_at(at, old, max(scale, 1.0), cubic) for at in places], device=x.device)
        x = (x.transpose(dim, -1) @ weights.t()).transpose(dim, -1)
    return x.contiguous()
