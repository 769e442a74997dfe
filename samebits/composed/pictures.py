"""Pooling by means, and pictures of another size or form."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from samebits.products import one_each
from torch import Tensor
from torch.nn import functional

Weights = dict[int, float]  # of numbers along a dimension, by their places in it


# Pooling


def beyond(size: int, taps: int, step: int, pad: int) -> int:
    """By how much the first window that is not whole goes beyond the padding; 0 if it begins there, too."""
    start = (size + 2 * pad - taps) // step * step + step
    more = start + taps - size - 2 * pad
    return more if more < step and start < size + pad else 0


def avg_pool(dims: int) -> Callable[..., Tensor]:
    """avg_pool1d and its like, with as many dimensions."""

    def compute(
        x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Tensor:  # fmt: skip
        kernel, stride, pads = (one_each(value, dims) for value in (kernel_size, stride or kernel_size, padding))
        around = [n for pad in reversed(pads) for n in (pad, pad)]
        more = map(beyond, x.shape[-dims:], kernel, stride, pads) if ceil_mode else [0] * dims
        after = [n for each in reversed([*more]) for n in (0, each)]
        windows, ones = functional.pad(x, around), torch.ones(x.shape[-dims:], device=x.device)
        ones = functional.pad(ones, around, value=float(count_include_pad))
        windows, ones = functional.pad(windows, after), functional.pad(ones, after)
        for i in range(dims):
            windows = windows.unfold(x.dim() - dims + i, kernel[i], stride[i])
            ones = ones.unfold(i, kernel[i], stride[i])
        last = tuple(range(-dims, 0))
        return windows.sum(last) / (divisor_override or ones.sum(last))

    return compute


def adaptive_avg_pool(dims: int) -> Callable[[Tensor, Any], Tensor]:
    """adaptive_avg_pool1d and its like, with as many dimensions."""

    def compute(x: Tensor, output_size: Any) -> Tensor:
        each = zip(one_each(output_size, dims), x.shape[-dims:], strict=True)
        sizes = [old if new is None else new for new, old in each]
        if 0 in sizes:
            return x.new_zeros(*x.shape[:-dims], *sizes)
        windows: Any = [
            [slice(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
            for new, old in zip(sizes, x.shape[-dims:], strict=True)
        ]
        means = [x[(..., *window)].mean(tuple(range(-dims, 0))) for window in product(*windows)]
        return torch.stack(means, -1).unflatten(-1, sizes)

    return compute


# Another size


def nearest(mode: str, old: int, new: int, scale: float) -> list[Weights]:
    """The one number that each of `new` numbers is, rounded as PyTorch does, as that decides which it is."""
    scale = torch.tensor(scale, dtype=torch.float32).item()
    shift = 0.5 if mode == "nearest-exact" else 0.0
    places = torch.tensor([(i + shift) * scale for i in range(new)], dtype=torch.float32).tolist()
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


# How many dimensions a picture of several images has, 0 if as many as it likes.
MODES = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5, "nearest": 0, "nearest-exact": 0, "area": 0}


def interpolate(
    x: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: Any = None,
    recompute_scale_factor: Any = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Along one dimension after the other."""
    dims = x.dim() - 2
    if (size is None) == (scale_factor is None):
        raise ValueError("expected one of size and scale_factor")
    if mode not in MODES or MODES[mode] not in (0, x.dim()):
        raise NotImplementedError(f"interpolation of {x.dim()} dimensions by mode {mode}")
    factors = one_each(scale_factor or 0, dims)
    sizes = (
        one_each(size, dims) if size is not None else [int(n * f) for n, f in zip(x.shape[2:], factors, strict=True)]
    )
    if not x.is_floating_point() and "nearest" not in mode:
        raise NotImplementedError(f"interpolation of {x.dtype}")
    if mode == "area":
        return adaptive_avg_pool(dims)(x, sizes)
    x = x.clone()  # which may be changed in place
    for dim, new in enumerate(sizes, 2):
        old, factor = x.shape[dim], factors[dim - 2]
        if new == old and (antialias or "cubic" not in mode):  # as in PyTorch, whatever the factor
            continue
        scale = 1 / factor if factor and not recompute_scale_factor else old / new
        if align_corners:
            scale = (old - 1) / (new - 1) if new > 1 else 0.0
        if "nearest" in mode:
            weights = nearest(mode, old, new, scale)
        else:
            shift = 0.0 if align_corners and not antialias else 0.5
            places = [(i + shift) * scale - shift for i in range(new)]
            places = places if antialias or "cubic" in mode else [max(place, 0.0) for place in places]
            weights = [weights_at(at, old, "cubic" in mode, max(scale, 1.0) * antialias) for at in places]
        x = weighed(x, dim, weights)
    return x


# Another form


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """Where (n, height, width) pixels, from -1 to 1 each way, come to lie by matrices (n, 2, 3)."""
    if len(size) != 4:
        raise NotImplementedError("affine_grid in three dimensions")
    if theta.shape != (size[0], 2, 3):
        raise RuntimeError(f"expected matrices of size ({size[0]}, 2, 3), found {tuple(theta.shape)}")
    rows, columns = (
        torch.tensor([(2 * i + 1 - n) / max(n - bool(align_corners), 1) for i in range(n)], device=theta.device)
        for n in size[2:]
    )
    x, y, one = theta[:, None, None].unbind(-1)
    return x * columns.view(1, 1, -1, 1) + y * rows.view(1, -1, 1, 1) + one


def grid_sample(
    x: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """Of pictures (n, channels, height, width) what lies at the places (n, rows, columns, 2) of `grid`."""
    if x.dim() != 4 or mode not in ("bilinear", "nearest") or padding_mode not in ("zeros", "border"):
        raise NotImplementedError(f"grid_sample of {x.dim() - 2} dimensions, {mode}, with {padding_mode}")
    own, shape = x.flatten(2), (len(x), x.shape[1], *grid.shape[1:3])
    ways: list[Any] = []
    for size, at in zip(x.shape[:1:-1], grid.unbind(-1), strict=True):
        at = ((at + 1) * (size - 1) if align_corners else (at + 1) * size - 1) / 2
        at = at.where(at == at, 0).clamp(0, size - 1) if padding_mode == "border" else at
        low = at.detach().floor() if mode == "bilinear" else at.detach().round()
        part = at - low
        each = [(low, 1 - part), (low + 1, part)] if mode == "bilinear" else [(low, torch.ones_like(at))]
        ways.append([(place, weight, (place >= 0) & (place < size)) for place, weight in each])
    found: Any = 0
    for (column, by_column, has_column), (row, by_row, has_row) in product(*ways):
        inside = has_column & has_row
        place = torch.where(inside, row * x.shape[3] + column, 0).long().flatten(1)
        seen = own.gather(2, place.unsqueeze(1).expand(-1, x.shape[1], -1)).view(shape)
        found = found + seen * (by_column * by_row * inside).unsqueeze(1)
    return found


def fold(x: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Windows (n, channels * numbers, windows) added up where unfold would take them."""
    (rows, columns), (top, left) = one_each(output_size, 2), one_each(padding, 2)
    whole = rows + 2 * top, columns + 2 * left
    places = functional.unfold(
        torch.arange(float(math.prod(whole)), device=x.device).view(1, 1, *whole), kernel_size, dilation, 0, stride
    )
    if x.shape[-2] % places.shape[1] or x.shape[-1] != places.shape[2]:
        raise RuntimeError(
            f"expected windows of size [*, n * {places.shape[1]}, {places.shape[2]}], found {[*x.shape]}"
        )
    windows = x.reshape(-1, places.numel())
    found = torch.zeros(len(windows), math.prod(whole), device=x.device).index_add(1, places.flatten().long(), windows)
    found = found.view(*x.shape[:-2], -1, *whole)
    return found[..., top : top + rows, left : left + columns]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"avg_pool{dims}d": avg_pool(dims) for dims in (1, 2, 3)},
    **{f"adaptive_avg_pool{dims}d": adaptive_avg_pool(dims) for dims in (1, 2, 3)},
    "interpolate": interpolate,
    "affine_grid": affine_grid,
    "grid_sample": grid_sample,
    "fold": fold,
}
