"""Products: linear layers, matrices, convolutions. Both factors on grids, exact sums, one rounding to float32.

The bits of the factors suffice for the longest of the three sums: over the inputs in the forward pass, over the outputs
and over the images, of all workers together, in the backward pass. Where nothing is trained, what comes out for an
image depends on that image alone: each has a grid of its own.
"""

import math
from typing import Any

import torch
from samebits import workers
from samebits.grid import factor_bits, on_grid, on_grids

# cuDNN and oneDNN may use Winograd's or Fourier's way, which are no sums of products; float64 goes through neither.
convolution, gradients_of_convolution = torch.ops.aten.convolution, torch.ops.aten.convolution_backward


class Linear(torch.autograd.Function):
    """x (n, k) times weight (m, k) transposed, plus bias (m,) or None: (n, m) float32.

    If `shared`, x has rows of this worker's images, and weight and bias are the same for all workers.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, shared: bool
    ) -> torch.Tensor:
        """The products, from grids that the backward pass uses again."""
        n, k, m = x.shape[0], *weight.shape
        ctx.bits, ctx.shared = factor_bits(max(workers.rows(n) if shared else n, k, m, 1)), shared
        x, weight = on_grid(x, ctx.bits, shared=shared), on_grid(weight, ctx.bits)
        ctx.save_for_backward(x, weight)
        return affine(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """Sums over the outputs for x, and over the rows of all workers for weight and bias."""
        x, weight = ctx.saved_tensors
        gradient = on_grid(gradient, ctx.bits, shared=ctx.shared)
        sums = torch.mm(gradient.t(), x), gradient.sum(0)
        for_weight, for_bias = workers.total(*sums) if ctx.shared else sums
        for_x = torch.mm(gradient, weight).float() if ctx.needs_input_grad[0] else None
        return for_x, for_weight.float(), for_bias.float() if ctx.needs_input_grad[2] else None, None


def infer(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """What Linear computes where nothing is trained: here the result of a row depends on that row alone."""
    bits = factor_bits(x.shape[1])
    return affine(on_grids(x, bits, (1,)), on_grid(weight, bits), bias)


def affine(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The exact sums of products of two matrices on their grids, rounded to float32, plus the bias, rounded again."""
    sums = torch.mm(x, weight.t()).float()
    if bias is not None:
        sums += bias
    return sums


class Product(torch.autograd.Function):
    """a (b, n, k) times b (b, k, m), matrix by matrix: (b, n, m) float32. If `shared`, they are of workers' images."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor, shared: bool) -> torch.Tensor:
        """The products, from grids that the backward pass uses again."""
        ctx.bits, ctx.shared = factor_bits(max(*a.shape[1:], b.shape[2], 1)), shared
        a, b = on_grid(a, ctx.bits, shared=shared), on_grid(b, ctx.bits, shared=shared)
        ctx.save_for_backward(a, b)
        return torch.bmm(a, b).float()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """Sums over m for a, over n for b."""
        a, b = ctx.saved_tensors
        gradient = on_grid(gradient, ctx.bits, shared=ctx.shared)
        return torch.bmm(gradient, b.mT).float(), torch.bmm(a.mT, gradient).float(), None


def infer_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """What Product computes where nothing is trained: each matrix has a grid of its own."""
    bits = factor_bits(max(a.shape[2], 1))
    return torch.bmm(on_grids(a, bits, (1, 2)), on_grids(b, bits, (1, 2))).float()


class Convolution(torch.autograd.Function):
    """x (n, c, ...) convolved with weight, without bias: float32.

    options: stride, padding, dilation, transposed, output_padding and groups, as aten.convolution takes them. If
    `shared`, x has this worker's images, and weight is the same for all workers.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, options: list[Any], shared: bool) -> torch.Tensor:
        """The products, from grids that the backward pass uses again."""
        n = workers.rows(len(x)) if shared else len(x)
        taps = weight[0, 0].numel()  # numbers of a filter for each pair of channels
        channels = max(weight.shape[0] // options[-1], weight.shape[1])
        positions = n * math.prod(x.shape[2:] if options[3] else sizes(x, weight, options))
        ctx.bits, ctx.options, ctx.shared = factor_bits(max(channels * taps, positions, 1)), options, shared
        x, weight = on_grid(x, ctx.bits, shared=shared), on_grid(weight, ctx.bits)
        ctx.save_for_backward(x, weight)
        return convolution(x, weight, None, *options).float()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """Sums over the outputs for x, and over positions and the images of all workers for the weight."""
        x, weight = ctx.saved_tensors
        gradient = on_grid(gradient, ctx.bits, shared=ctx.shared)
        wanted = [ctx.needs_input_grad[0], True, False]
        for_x, for_weight, _ = gradients_of_convolution(gradient, x, weight, None, *ctx.options, wanted)
        if ctx.shared:
            (for_weight,) = workers.total(for_weight)
        return for_x.float() if ctx.needs_input_grad[0] else None, for_weight.float(), None, None


def sizes(x: torch.Tensor, weight: torch.Tensor, options: list[Any]) -> list[int]:
    """Height and width, or what there is of dimensions, of the result of a convolution that is not transposed."""
    each = zip(x.shape[2:], weight.shape[2:], *options[:3], strict=True)
    return [(size + 2 * pad - dilation * (taps - 1) - 1) // step + 1 for size, taps, step, pad, dilation in each]


def infer_convolution(x: torch.Tensor, weight: torch.Tensor, options: list[Any]) -> torch.Tensor:
    """What Convolution computes where nothing is trained: each image has a grid of its own."""
    bits = factor_bits(max(weight.shape[:2]) * weight[0, 0].numel())
    return convolution(on_grids(x, bits, tuple(range(1, x.dim()))), on_grid(weight, bits), None, *options).float()
