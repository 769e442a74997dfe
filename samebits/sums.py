"""Sums, and their counterparts: what is stretched, or taken several times, has a sum as its gradient.

Each sum has a grid of its own, on which its terms keep 53 bits less the logarithm of their number: 26 for a hundred
million, where float32 has 24. It is rounded to float32 once.
"""

import math
from typing import Any

import torch
from samebits import workers
from samebits.grid import on_grid, on_grids, term_bits

Dims = tuple[int, ...]  # from 0 on


def added(x: torch.Tensor, dims: Dims, total: bool) -> torch.Tensor:
    """The sums of float32 `x` along `dims`, which stay with size 1; if `total`, of all workers' terms."""
    terms = math.prod(x.shape[dim] for dim in dims)
    if total:
        terms = workers.rows(terms)
    sums = on_grids(x, term_bits(max(terms, 1)), dims, shared=total).sum(dims, keepdim=True)
    return (workers.total(sums)[0] if total else sums).float()


class Sum(torch.autograd.Function):
    """As `added`; the gradient is stretched."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dims: Dims, total: bool) -> torch.Tensor:
        """The sums."""
        ctx.shape = x.shape
        return added(x, dims, total) if dims else x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """The same for each term."""
        return gradient.expand(ctx.shape), None, None


class Stretch(torch.autograd.Function):
    """float32 `x` repeated to `shape`, as in broadcasting; if `total`, its gradient is the sum of all workers'."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, shape: torch.Size, total: bool) -> torch.Tensor:
        """A view."""
        ctx.shape, ctx.total = x.shape, total
        return x.expand(shape)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """The sum of what was made of each number."""
        lead = gradient.dim() - len(ctx.shape)
        stretched = [
            lead + i for i, n in enumerate(ctx.shape) if n == 1 and (ctx.total or gradient.shape[lead + i] > 1)
        ]
        dims = (*range(lead), *stretched)
        return (added(gradient, dims, ctx.total) if dims else gradient).reshape(ctx.shape), None, None


class Take(torch.autograd.Function):
    """Rows of float32 `x` (n, ...) by their numbers, `index`, int64 of any shape: (*index.shape, ...).

    The gradient of a row is the sum over all places where it was put; if `total`, of all workers'. If `shared`, the
    sums have a grid over all workers.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, index: torch.Tensor, shared: bool, total: bool) -> torch.Tensor:
        """The rows."""
        ctx.save_for_backward(index)
        ctx.shape, ctx.shared, ctx.total = x.shape, shared, total
        return x.index_select(0, index.flatten()).view(*index.shape, *x.shape[1:])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """The sums for the rows."""
        (index,) = ctx.saved_tensors
        terms = workers.rows(index.numel()) if ctx.shared else index.numel()
        terms = on_grid(gradient, term_bits(max(terms, 1)), shared=ctx.shared)
        sums = terms.new_zeros(ctx.shape).index_add_(0, index.flatten(), terms.reshape(-1, *ctx.shape[1:]))
        return (workers.total(sums)[0] if ctx.total else sums).float(), None, None, None
