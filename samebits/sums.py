"""Sums: of dimensions, and what puts numbers in places, perhaps several in one.

On its grid each term keeps 53 bits less the logarithm of their number: 26 for a hundred million, where float32 has 24.
PyTorch's own functions do the adding, on float64; what comes out is rounded to float32 once.
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from samebits.errors import refusal
from samebits.grid import AT_ONCE, SUM_BITS, check_float32, largest, on_grid, over, parts, term_bits
from torch import Tensor

aten = torch.ops.aten
FINITE = torch.finfo(torch.float32).max  # beside which a sum with an infinite number is infinite, not NaN
Call = Callable[..., Any]


def dims_of(x: Tensor, dim: Any) -> tuple[int, ...]:
    """The dimensions that `dim` names, from 0 on; all of them if it is None or empty; raises IndexError for others."""
    named = [dim] if isinstance(dim, int) else dim or range(x.dim())
    most = max(x.dim(), 1)
    if wrong := [d for d in named if not -most <= d < most]:
        raise IndexError(f"Dimension out of range (expected to be from {-most} to {most - 1}, but got {wrong[0]})")
    return tuple(d % most for d in named) if x.dim() else ()


def rounded(sums: Tensor) -> Tensor:
    """Exact float64 sums as float32; a zero is +0, as of sums of nothing but -0 libraries make one or the other."""
    return sums.to(torch.float32, memory_format=torch.contiguous_format).add_(0.0)


def sum_(x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Of float32 `x`, along dimensions, or of all."""
    x, dims = x.to(dtype or torch.float32), dims_of(x, dim)
    if not x.is_floating_point():
        return torch.sum(x, dims, keepdim)
    if not x.dim():
        return x.clone()
    return summed(parts(x) if x.numel() > AT_ONCE and 0 in dims else [x], dims, keepdim)


def summed(each: Sequence[Tensor], dims: tuple[int, ...], keepdim: bool) -> Tensor:
    """Of the parts of a tensor; if there are several, they are along the first dimension, which is one of `dims`."""
    terms = math.prod(sum(map(len, each)) if dim == 0 else each[0].shape[dim] for dim in dims)
    most = reduce(torch.maximum, (largest(part, dims) for part in each)).clamp_(max=FINITE)
    bits = term_bits(terms)
    return reduce(Tensor.add_, (on_grid(part, bits, most).sum(dims, keepdim) for part in each)).float()


def mean(x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """A sum, divided by its number of terms."""
    return over(sum_(x, dim, keepdim), math.prod(x.shape[d] for d in dims_of(x, dim)))


def variance_and_mean(
    x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """The sum of squared distances from the mean, divided by its number of terms less the correction; and the mean."""
    dims = dims_of(x, dim)
    correction = float(unbiased) if correction is None else correction
    middle = mean(x, dims, True)
    distances = x - middle
    n = math.prod(x.shape[d] for d in dims) - correction
    found = over(sum_(distances.mul_(distances), dims, True), max(n, 0))
    return (found, middle) if keepdim else (found.squeeze(dims), middle.squeeze(dims))


def cumsum(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Of each number and those before it."""
    x = x.to(dtype or torch.float32)
    if not x.dim() or not x.is_floating_point():
        return torch.cumsum(x, dim)
    return rounded(on_grid(x, term_bits(x.shape[dim]), (dim % x.dim(),)).cumsum(dim))


def put(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """`x` plus values, each at its place, counted in `x` from 0 on; each sum has a grid of its own."""
    check_float32(x)
    values, places = values.expand(places.shape).flatten(), places.flatten()
    none = values.new_zeros(x.numel())
    most = none.scatter_reduce(0, places, values.abs(), "amax").double().clamp_(max=FINITE)
    terms = none.long().index_add(0, places, torch.ones_like(places))
    bits = SUM_BITS - torch.frexp((terms - 1).double()).exponent
    large = most.mul_(torch.ldexp(torch.ones_like(most), SUM_BITS + 1 - bits)).index_select(0, places)
    sums = none.double().index_add(0, places, values.double() + large - large)
    return x + rounded(sums).view(x.shape)


def numbered(x: Tensor) -> Tensor:
    """The places of `x`."""
    return torch.arange(x.numel(), device=x.device).view(x.shape)


def check_last(found: Tensor, given: Tensor) -> None:
    """Raise NotExactError if others are found in places than were put there: of several, any may be the last."""
    bits = [
        x.contiguous().view(torch.int32) if x.dtype == torch.float32 else x for x in (found, given.expand_as(found))
    ]
    if not torch.equal(*bits):
        raise refusal("numbers that are put in places", "several are put in one, and any of them may be the last")


def index_put(x: Tensor, index: Any, values: Tensor, accumulate: bool = False, unsafe: bool = False) -> Tensor:
    """Numbers put in places, which are stretched to them; one of them only in each, unless they accumulate."""
    if accumulate and x.is_floating_point():
        return put(x, aten.index(numbered(x), index), values)
    found = aten.index_put(x, index, values, accumulate)
    if not accumulate and values.numel() > 1:
        check_last(aten.index(found, index), values)
    return found


def scatter(x: Tensor, dim: int, index: Tensor, source: Any, **reduce: str) -> Tensor:
    """A number, or numbers of which one only is put in each place."""
    if reduce and x.is_floating_point():
        raise refusal("scatter", "with reduce it is not covered; scatter_reduce is")
    found = aten.scatter(x, dim, index, source, **reduce)
    if isinstance(source, Tensor) and not reduce:
        check_last(found.gather(dim, index), source[tuple(map(slice, index.shape))])
    return found


def index_copy(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Rows, one only in each place."""
    found = aten.index_copy(x, dim, index, source)
    check_last(found.index_select(dim, index), source)
    return found


def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """Rows added to those of `x` that have these numbers."""
    places = numbered(x).index_select(dim, index)
    if source.shape != places.shape:
        raise RuntimeError(f"index_add: expected a source of shape {[*places.shape]}, found {[*source.shape]}")
    return put(x, places, source if alpha == 1 else source * alpha)


def scatter_add(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Numbers added to those of `x` that have these numbers along a dimension."""
    source = source[tuple(map(slice, index.shape))]
    if x.dim() == 0 or dim % x.dim() == 0:
        return put(x, numbered(x).gather(dim, index), source)
    values = on_grid(source, term_bits(max(math.prod(source.shape[1:]), 1)), tuple(range(1, x.dim())))
    return x + rounded(torch.zeros_like(x, dtype=torch.float64).scatter_add(dim, index, values))


def scatter_reduce(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """The sum, mean, largest or smallest of what is put in each place."""
    if reduce in ("amax", "amin"):
        return aten.scatter_reduce(x, dim, index, source, reduce, include_self=include_self).add_(0.0)
    if reduce not in ("sum", "mean"):
        raise refusal("scatter_reduce", f"{reduce} of floats is not covered")
    ones = torch.ones_like(x)
    if not include_self:
        x, ones = (value.scatter(dim, index, 0.0) for value in (x, ones))
    total = scatter_add(x, dim, index, source)
    return total if reduce == "sum" else total / ones.scatter_add(dim, index, torch.ones_like(source))


def folded(x: Tensor, *how: Any) -> Tensor:
    """Windows (n, numbers, windows), or of one image, added up to images."""
    dims = (x.dim() - 2, x.dim() - 1)
    return rounded(aten.col2im(on_grid(x, term_bits(max(math.prod(x.shape[1:]), 1)), dims), *how))


COMPUTED: dict[str, Call] = {
    "sum": sum_,
    "mean": mean,
    "var": lambda *args, **options: variance_and_mean(*args, **options)[0],
    "var_mean": variance_and_mean,
    "cumsum": cumsum,
    "index_add": index_add,
    "scatter_add": scatter_add,
    "scatter_reduce": scatter_reduce,
    "_unsafe_index_put": index_put,
    "_index_put_impl": index_put,
    "col2im": folded,
}
