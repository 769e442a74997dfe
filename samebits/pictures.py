"""Pooling, and pictures of another size: sums of numbers, each by a weight that Python's floats have."""

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Weights = dict[int, float]  # of numbers along a dimension, by their places in it


# Pooling


def pooled(
    x: Tensor, size: list[int], stride: Any = (), padding: Any = 0, beyond: bool = False,
    counts_padding: bool = True, divisor: int | None = None,
) -> Tensor:  # fmt: skip
    """Means of windows: a convolution, divided by what another one counts. Windows may go `beyond` the padding."""
    dims, stride = len(size), stride or size
    padding = [padding] * dims if isinstance(padding, int) else padding
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
    return (
        (sums / (divisor or convolve(ones[None, None], window, stride=stride)))
        .unflatten(0, x.shape[:-dims])
        .squeeze(-dims - 1)
    )


def adaptive(x: Tensor, shape: Any) -> Tensor:
    """Means of windows that share out each of the last dimensions, perhaps unevenly."""
    each = [[slice(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
            for new, old in zip(shape, x.shape[-len(shape) :], strict=True)]  # fmt: skip
    last = tuple(range(-len(shape), 0))
    means = [x[(..., *window)].mean(last) for window in product(*each)]  # type: ignore[index]
    return torch.stack(means, -1).unflatten(-1, shape) if means else x.new_zeros(*x.shape[: -len(shape)], *shape)


def largest(x: Tensor, places: Tensor, dims: int) -> Tensor:
    """Of each window that number which is at one of the places, counted along the last dimensions."""
    return x.flatten(-dims).gather(-1, places.flatten(-dims)).view(places.shape)


# Another size


def nearest(exact: bool, old: int, new: int, scale: float) -> list[Weights]:
    """The one number that each of `new` numbers is, rounded as PyTorch does, as that decides which it is."""
    scale = torch.tensor(scale, dtype=torch.float32).item()
    places = torch.tensor([(i + exact * 0.5) * scale for i in range(new)], dtype=torch.float32).tolist()
    return [{min(int(place), old - 1): 1.0} for place in places]


def weights_at(at: float, old: int, cubic: bool, width: float) -> Weights:
    """By lines, or by the cubic of Keys (1981), between the numbers around a place; of `width`, if that is not 0."""
    reach, a = 1 + cubic, -0.5 if width else -0.75  # PyTorch has one for each
    if width:
        near = range(max(int(at + 1 - reach * width), 0), min(int(at + 1 + reach * width), old))
    else:
        near = range(math.floor(at) + 1 - reach, math.floor(at) + 1 + reach)
    found: Weights = {}
    for place in near:
        inside, t = min(max(place, 0), old - 1), abs(place - at) / (width or 1)
        inner = ((a + 2) * t - (a + 3)) * t * t + 1 if cubic else 1 - t
        outer = ((t - 5) * t + 8) * t * a - 4 * a if cubic and t < 2 else 0.0
        found[inside] = found.get(inside, 0.0) + (inner if t < 1 else outer)
    total = math.fsum(found.values()) if width else 1.0
    return {place: weight / total for place, weight in found.items()}


def weighed(x: Tensor, dim: int, weights: list[Weights]) -> Tensor:
    """Along `dim` the sums of numbers by these weights, added one after the other."""
    found: Any = None
    for i in range(max(map(len, weights))):
        chosen = [[*each.items()][i] if i < len(each) else (next(iter(each)), 0.0) for each in weights]
        part = x.index_select(dim, torch.tensor([place for place, _ in chosen], device=x.device))
        if any(weight != 1 for _, weight in chosen):
            values = torch.tensor([weight for _, weight in chosen], device=x.device)
            part = part * values.view(-1, *[1] * (x.dim() - 1 - dim))
        found = part if found is None else found + part
    return found


def interpolated(x: Tensor, sizes: list[int], *how: Any, mode: str) -> Tensor:
    """Along one dimension after the other; `how`: whether from corner to corner, and the factors, if they are given."""
    corners, *factors = (False, *how) if "nearest" in mode else how
    x, cubic, antialias = x.clone(), "cubic" in mode, "antialias" in mode
    for dim, new in enumerate(sizes, 2):
        old, factor = x.shape[dim], (*factors, None, None, None)[dim - 2]
        if new == old and (antialias or not cubic):  # as in PyTorch, whatever the factor
            continue
        scale = (1 / factor) if factor else old / new
        if corners:
            scale = (old - 1) / (new - 1) if new > 1 else 0.0
        if "nearest" in mode:
            weights = nearest("exact" in mode, old, new, scale)
        else:
            shift = 0.0 if corners and not antialias else 0.5
            places = [(i + shift) * scale - shift for i in range(new)]
            places = places if antialias or cubic else [max(place, 0.0) for place in places]
            weights = [weights_at(at, old, cubic, max(scale, 1.0) * antialias) for at in places]
        x = weighed(x, dim, weights)
    return x


INTERPOLATIONS: dict[str, Callable[..., Tensor]] = {
    **{f"upsample_nearest{n}d": partial(interpolated, mode="nearest") for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d": partial(interpolated, mode="nearest-exact") for n in (1, 2, 3)},
    **{f"upsample_{name}": partial(interpolated, mode="linear") for name in ("linear1d", "bilinear2d", "trilinear3d")},
    "upsample_bicubic2d": partial(interpolated, mode="cubic"),
    "_upsample_bilinear2d_aa": partial(interpolated, mode="linear, antialias"),
    "_upsample_bicubic2d_aa": partial(interpolated, mode="cubic, antialias"),
}
