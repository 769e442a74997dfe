"""Mean and variance, and what they standardize.

They are sums of numbers, and of their products with themselves, on one grid, so neither rounds. It is a grid for what
is left of them when the middle between the smallest and the largest is taken off: the variance of numbers far from 0
would lose its digits. What follows is one operation at a time, each with one right answer.
"""

import math
from typing import Any

import torch
from samebits import workers
from samebits.errors import check_float32
from samebits.functions import apply
from samebits.grid import below, divisor, factor_bits
from samebits.sums import stretched, summed
from torch import Tensor

Moments = tuple[Tensor, Tensor, Tensor]


class Standardized(torch.autograd.Function):
    """`x` less its mean along `dims`, over its deviation, times weight plus bias; as Ioffe and Szegedy (2015)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: tuple[int, ...], eps: float, total: bool
    ) -> Moments:
        """With mean and variance, float32, which have no gradient."""
        own = math.prod(x.shape[dim] for dim in dims)
        ctx.n, ctx.dims, ctx.total, ctx.has_bias = workers.rows(own) if total else own, dims, total, bias is not None
        low, high = bounds(x, dims, total)
        middle = (low + high).add_(0.0).div_(2)  # of zeros +0
        given, ctx.eps = x, eps
        x = x - middle
        on_grid = below(x, factor_bits(ctx.n), torch.maximum(high - middle, middle - low).abs_())
        mean, squares = (sums / divisor(ctx.n, sums) for sums in sums_of(on_grid, on_grid, dims, total))
        variance = squares.sub_(mean * mean).clamp_(min=0).float()
        deviation = apply("sqrt", variance + eps)
        y = x.sub_(mean.float()).div_(deviation)
        ctx.save_for_backward(on_grid, mean, deviation, y, weight, given)
        found = y.clone() if weight is None else y * weight  # which may be changed in place
        if bias is not None:
            found += bias
        return found, middle.add_(mean.float()), variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> Any:  # type: ignore[override]
        """From two sums, which are the gradients of bias and weight."""
        on_grid, mean, deviation, y, weight, x = ctx.saved_tensors
        if torch.is_grad_enabled():  # which is to have a gradient
            return *in_steps(gradient, x, weight, ctx), None, None, None
        low, high = bounds(gradient, ctx.dims, ctx.total)
        other = below(gradient, factor_bits(ctx.n), torch.maximum(high.abs_(), low.abs_()))
        for_bias, products = sums_of(other, on_grid, ctx.dims, ctx.total)
        for_weight = products.sub_(mean * for_bias).div_(deviation).float()
        for_bias = for_bias.float()
        rest = gradient - for_bias / divisor(ctx.n, for_bias)
        rest -= y * (for_weight / divisor(ctx.n, for_weight))
        for_x = rest.mul_((1 if weight is None else weight) / deviation)
        return for_x, None if weight is None else for_weight, for_bias if ctx.has_bias else None, None, None, None


def in_steps(gradient: Tensor, given: Tensor, by: Tensor | None, how: Any) -> tuple[Any, Any, Any]:
    """The gradients of Standardized, which has saved `how`, by steps that have gradients of their own."""
    x, weight = given.view_as(given), None if by is None else by.view_as(by)  # which have no hooks

    def mean(x: Tensor) -> Tensor:
        return stretched(summed(x, how.dims, how.total) / divisor(how.n, x), x.shape, how.total)

    centered = x - mean(x)
    y = centered / apply("sqrt", mean(centered * centered) + how.eps)
    y = y if weight is None else y * stretched(weight, x.shape, how.total)
    wanted = how.needs_input_grad
    own = [value for value, is_wanted in zip((x, weight), wanted, strict=False) if is_wanted and value is not None]
    found = iter(torch.autograd.grad(y, own, gradient, create_graph=True) if own else ())
    for_x, for_weight = (next(found) if is_wanted else None for is_wanted in wanted[:2])
    return for_x, for_weight, summed(gradient, how.dims, how.total) if how.has_bias else None


def bounds(x: Tensor, dims: tuple[int, ...], total: bool) -> tuple[Tensor, Tensor]:
    """The smallest and the largest along `dims`, which stay with size 1; if `total`, of all workers' numbers."""
    if x.numel():
        found = x.amin(dims, keepdim=True).neg_(), x.amax(dims, keepdim=True)
    else:
        found = (x.new_full([1 if dim in dims else size for dim, size in enumerate(x.shape)], -math.inf),) * 2
    low, high = workers.largest_of(torch.stack(found)) if total else found
    return low.neg(), high


def sums_of(x: Tensor, other: Tensor, dims: tuple[int, ...], total: bool) -> tuple[Tensor, ...]:
    """Of numbers on grids, and of their products, along `dims`, which stay with size 1; if `total`, of all workers."""
    found = x.sum(dims, keepdim=True), (x * other).sum(dims, keepdim=True)
    return workers.total(*found) if total else found


def standardized(
    x: Tensor, dims: tuple[int, ...], eps: float, weight: Tensor | None = None, bias: Tensor | None = None
) -> Moments:
    """`x` less its mean along `dims`, over its deviation, times weight plus bias, which are constant along `dims`.

    And mean and variance, without a gradient, with `dims` of size 1.
    """
    check_float32("normalization", x, weight, bias)
    shared = workers.is_of_images(x)
    x = x.contiguous()
    with torch._C.DisableTorchFunction():  # float64, which the exact mode leaves to those who know its errors
        y, mean, variance = Standardized.apply(x, weight, bias, dims, eps, shared and 0 in dims)
        return workers.of_images(y) if shared else y, mean.detach(), variance.detach()
