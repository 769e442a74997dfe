"""Sums, and their counterparts: what is stretched, or put in several places, has a sum as its gradient.

On its grid each term keeps 53 bits less the logarithm of their number: 26 for a hundred million, where float32 has 24.
A sum is rounded to float32 once.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from samebits import workers
from samebits.errors import check_float32, refusal
from samebits.grid import below, on_grid, on_grids, term_bits
from torch import Tensor
from torch.nn import functional

Call = Callable[..., Any]


class Linear(torch.autograd.Function):
    """A linear operation on a tensor; its adjoint makes of the result's gradient that of the tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operation: Call, adjoint: Call, *index: Tensor) -> Tensor:
        """operation(x, *index)."""
        ctx.operation, ctx.adjoint = operation, adjoint
        ctx.save_for_backward(*index)
        return operation(x, *index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        """adjoint(gradient, *index), whose own adjoint is the operation."""
        found = linear(gradient, ctx.adjoint, ctx.operation, *ctx.saved_tensors)
        return found, None, None, *[None] * len(ctx.saved_tensors)


def linear(x: Tensor, operation: Call, adjoint: Call, *index: Tensor) -> Tensor:
    """operation(x, *index), with a gradient if `x` needs one."""
    return Linear.apply(x, operation, adjoint, *index) if needs_gradient(x) else operation(x, *index)


def needs_gradient(*values: Any) -> bool:
    """Whether autograd would record what is computed from these."""
    return torch.is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in values)


def dims_of(x: Tensor, dim: Any) -> tuple[int, ...]:
    """The dimensions that `dim` names, from 0 on, in order; all of them if it is None or empty."""
    named = [dim] if isinstance(dim, int) else dim or range(x.dim())
    if any(not -max(x.dim(), 1) <= d < max(x.dim(), 1) for d in named):
        raise IndexError(f"Dimension out of range: {dim} of {x.dim()}")
    return tuple(sorted(d % x.dim() for d in named)) if x.dim() else ()


# Sums


def added(x: Tensor, dims: tuple[int, ...], total: bool) -> Tensor:
    """The sums of float32 `x` along `dims`, which stay with size 1; if `total`, of all workers' terms."""
    if not dims:
        return x.clone()
    terms = math.prod(x.shape[dim] for dim in dims)
    bits = term_bits(workers.rows(terms) if total else terms)
    sums = on_grids(x, bits, dims, shared=total).sum(dims, keepdim=True)
    return (workers.total(sums)[0] if total else sums).float()


def rounds(x: Tensor) -> bool:
    """Whether sums of `x` may, elsewhere; those of whole numbers don't."""
    return x.is_floating_point() or x.is_complex()


def summed(x: Tensor, dims: tuple[int, ...], total: bool) -> Tensor:
    """As `added`, with a gradient."""
    shape = x.shape
    return Linear.apply(x, lambda x: added(x, dims, total), lambda gradient: gradient.expand(shape))


def sum_(x: Tensor, dim: Any = None, keepdim: bool = False, *more: Any, dtype: Any = None) -> Tensor:
    """Exact, of float32; whole numbers are anyway. Over images it is the sum over those of all workers."""
    shared, dims = workers.is_of_images(x), dims_of(x, dim)
    total = shared and 0 in dims
    x = x if dtype is None else x.to(dtype)
    if rounds(x):
        check_float32("sum", x)
        sums = summed(x, dims, total)
        sums = sums if keepdim or not dims else sums.squeeze(dims)
    else:
        sums = torch.sum(x, dims, keepdim, dtype=dtype)
        sums = workers.total(sums)[0].to(sums.dtype) if total else sums
    if total and workers.rows(x.numel()) != x.numel():  # the others have some, too
        own = {len(x), math.prod(x.shape[dim] for dim in dims)}
        sums.own_terms = own  # type: ignore[attr-defined]  # by which no one should divide it
    return workers.of_images(sums) if shared and not total else sums


def cumsum(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Of each number and those before it; its gradient is the sum of its own and those after it."""
    x = x if dtype is None else x.to(dtype)
    if not rounds(x):
        return torch.cumsum(x, dim)
    check_float32("cumsum", x)
    dims = dims_of(x, dim)
    bits = term_bits(math.prod(x.shape[dim] for dim in dims))

    def sums(x: Tensor) -> Tensor:
        return on_grids(x, bits, dims).cumsum(dim).float()

    return Linear.apply(x, sums, lambda gradient: sums(gradient.flip(dims)).flip(dims))


# Stretching


def stretched(x: Tensor, shape: Any, total: bool) -> Tensor:
    """float32 `x` repeated to `shape`, as in broadcasting; if `total`, its gradient is the sum of all workers'."""
    own, lead = x.shape, len(shape) - x.dim()
    dims = (*range(lead), *(lead + i for i, n in enumerate(own) if n == 1 and (total or shape[lead + i] != 1)))
    return Linear.apply(x, lambda x: x.expand(shape), lambda gradient: added(gradient, dims, total).reshape(own))


def expand(x: Tensor, *shape: Any, implicit: bool = False) -> Tensor:
    """Of what is the same for all workers to this worker's images, too."""
    shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    lead = len(shape) - x.dim()
    sizes = torch.Size(x.shape[i - lead] if n == -1 else n for i, n in enumerate(shape))
    if not needs_gradient(x):
        return x.expand(sizes)
    check_float32("expand", x)
    total = not workers.is_of_images(x) and workers.are_sizes_of_images(sizes, alone=True)
    found = stretched(x, sizes, total)
    return workers.of_images(found) if total else found


def broadcast(x: Tensor, shape: torch.Size, with_images: bool) -> Tensor:
    """`x` in that shape, among others of which some may be of this worker's images."""
    total = with_images and not workers.is_of_images(x)
    if not x.requires_grad or (x.shape == shape and not total):
        return x
    if total and x.dim() == len(shape) and x.shape[0] > 1:
        raise refusal("a tensor", "with several workers it can't be told whether its first dimension are images")
    check_float32("expand", x)
    return stretched(x, shape, total)


# Putting in places


def added_at(index: Tensor, values: Tensor, count: int) -> Tensor:
    """Float64 `values` (n, ...) on a grid added up where `index` (n,), from 0 to `count` - 1, says: (count, ...)."""
    return values.new_zeros(count, *values.shape[1:]).index_add_(0, index, values)


def taken(x: Tensor, index: Tensor, shared: bool, total: bool = False) -> Tensor:
    """Rows of float32 `x` (n, ...) by their numbers, int64 of any shape: (*index.shape, ...).

    The gradient of a row is the sum over all places where it was put, on a grid that is `shared` by all workers; if
    `total`, of all workers'.
    """
    shape = x.shape

    def put(gradient: Tensor, index: Tensor) -> Tensor:
        bits = term_bits(workers.rows(index.numel()) if shared else index.numel())
        sums = added_at(index, on_grid(gradient, bits, shared=shared), len(x))
        return (workers.total(sums)[0] if total else sums).float()

    rows = Linear.apply(x, lambda x, index: x.index_select(0, index), put, index.flatten())
    return rows.view(*index.shape, *shape[1:])


def picked(function: Call) -> Call:
    """What a function that puts elements of its first argument in places makes of it."""

    def compute(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not needs_gradient(x) or takes_none_twice(function, args, kwargs):
            return function(x, *args, **kwargs)
        check_float32(function.__name__, x)
        numbers = torch.arange(x.numel(), dtype=torch.float64, device=x.device).view(x.shape)  # as `pad` wants floats
        own = workers.is_of_images(x)
        places = [*(args[0] if args and isinstance(args[0], tuple | list) else args), *kwargs.values()]
        total = not own and any(isinstance(place, Tensor) and workers.is_of_images(place) for place in places)
        found = taken(x.reshape(-1), function(numbers, *args, **kwargs).long(), own or total, total)
        return workers.of_images(found) if total else found

    return compute


def scattered(function: Call, pick: Call, add: Call) -> Call:
    """What a function makes of it that adds to `x` numbers, each where `pick` would take one by the same index."""

    def compute(x: Tensor, dim: int, index: Tensor, *args: Any, alpha: float = 1, **named: Tensor) -> Any:
        source: Tensor = (*args, *named.values())[0]
        if not rounds(x):
            return function(x, dim, index, source, **({} if alpha == 1 else {"alpha": alpha}))
        check_float32(function.__name__, x, source)
        workers.check_same(function.__name__, x, index, source)
        places = pick(torch.arange(x.numel(), device=x.device).view(x.shape), dim, index)
        if pick is torch.gather:
            source = source[tuple(map(slice, places.shape))]
        elif source.shape != places.shape:
            raise RuntimeError(f"index_add: expected a source of shape {places.shape}, found {source.shape}")

        def put(source: Tensor, places: Tensor) -> Tensor:
            values, index = source.flatten(), places.flatten()
            # Each sum has a grid of its own, so that it does not depend on others.
            largest = values.new_zeros(x.numel()).scatter_reduce_(0, index, values.abs(), "amax")
            terms = index.new_zeros(x.numel()).index_add_(0, index, torch.ones_like(index))
            values = below(values, term_bits(terms)[index], largest[index])
            return added_at(index, values, x.numel()).float().view(x.shape)

        return add(x, Linear.apply(source * alpha, put, lambda gradient, places: gradient.flatten()[places], places))

    return compute


def reduced_at(x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, include_self: bool) -> Tensor:
    """The largest or smallest of what is put in each place of `x`; of whole numbers also sum, mean and product."""
    if rounds(x) and reduce not in ("amax", "amin"):
        raise refusal("scatter_reduce", f"{reduce} of floats is not covered")
    with torch._C.DisableTorchFunction():
        found = x.detach().scatter_reduce(dim, index, source.detach(), reduce, include_self=include_self)
        return found + 0.0 if rounds(x) else found  # of zeros +0


def unfold(x: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of images, as columns; what is padded is 0."""
    rows, columns = [padding] * 2 if isinstance(padding, int) else padding
    padded = functional.pad(x, [columns, columns, rows, rows])
    return picked(functional.unfold)(padded, kernel_size, dilation, 0, stride)


def puts_twice(x: Tensor, index: Any, value: Any) -> bool:
    """Whether x[index] = value puts several numbers in one place, of which one thread or another is the last."""
    parts = index if isinstance(index, tuple) else (index,)
    if not isinstance(value, Tensor) or value.numel() < 2 or takes_none_twice(Tensor.__getitem__, (parts,), {}):
        return False
    places = torch.arange(x.numel(), device=x.device).view(x.shape)[index]
    return len(places.unique()) < places.numel()


def takes_none_twice(function: Call, args: Any, kwargs: Any) -> bool:
    """Whether it is an index of numbers and slices only, or padding by a number."""
    if function is Tensor.__getitem__:
        parts = args[0] if isinstance(args[0], tuple) else args
        return all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in parts)
    return function is functional.pad and kwargs.get("mode", "constant") == "constant"


def max_pool(function: Call, dims: int) -> Call:
    """Max pooling, also of windows that overlap, where a gradient is a sum; with the places of the largest."""

    def compute(x: Tensor, *args: Any, return_indices: bool = False, **kwargs: Any) -> Any:
        y, places = function(x, *args, **kwargs)
        if needs_gradient(x):
            check_float32("max_pool", x)
            y = picked(torch.gather)(x.flatten(-dims), -1, places.flatten(-dims)).view(places.shape)
        return (y, places) if return_indices else y

    return compute


def max_unpool(x: Tensor, places: Tensor, size: Any, *_: Any) -> Tensor:
    """What max pooling has picked, where it was before, in pictures of `size`; 0 around it."""
    check_float32("max_unpool", x)
    flat, index = (part.flatten(-len(size)) for part in (x, places))

    def put(x: Tensor, index: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:-1], math.prod(size)).scatter_(-1, index, x)

    found = linear(flat, put, lambda gradient, index: gradient.gather(-1, index), index)
    there = found.detach().gather(-1, index)
    if ((there != flat) & (there == there)).any():
        raise refusal("max_unpool", "it puts several numbers in one place")
    return found.view(*x.shape[: -len(size)], *size)


def embedding(
    index: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: Any = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """Rows of weight; the one at padding_idx is not trained."""
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise refusal("embedding", "max_norm, scale_grad_by_freq and sparse are not covered")
    workers.check_same("embedding", weight)
    shared = workers.is_of_images(index)
    rows = taken(weight, index, shared, total=shared)
    if padding_idx is None:
        return rows
    return torch.where((index == padding_idx % len(weight)).unsqueeze(-1), rows.detach(), rows)
