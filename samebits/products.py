"""Products: linear layers, matrices, convolutions. Both factors on grids, exact sums, one rounding to float32.

The bits of the factors suffice for the longest of the three sums: over the inputs in the forward pass, over the outputs
and over the images, of all workers together, in the backward pass. Where nothing is trained, what comes out for an
image depends on that image alone: each has a grid of its own.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import torch
from samebits import workers
from samebits.errors import check_float32, refusal
from samebits.grid import factor_bits, on_grid, on_grids
from samebits.sums import expand, stretched
from torch import Tensor
from torch.nn import functional


class Operation(NamedTuple):
    """An operation that sums products of numbers of two factors, of which the first has this worker's images."""

    sums: Callable[[Tensor, Tensor], Tensor]  # of the factors
    gradients: Callable[..., tuple[Tensor, ...]]  # of the factors, from that of the sums, them, and which are wanted
    terms: int  # of a sum in the forward pass, at most
    longest: int  # that is a sum for one image, in the backward pass, too
    positions: int  # of an image, over which the gradient of the second factor is a sum
    is_stack: bool = False  # whether the second factor is of images, too


class Product(torch.autograd.Function):
    """a and b, in an operation, plus bias or None: float32. If `shared`, of this worker's images."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, bias: Tensor | None, operation: Operation, shared: bool) -> Tensor:
        """From grids that the backward pass uses again."""
        images = workers.rows(len(a)) if shared else len(a)
        ctx.bits = factor_bits(max(operation.longest, operation.positions * images))
        ctx.operation, ctx.shared = operation, shared
        on_grids = on_grid(a, ctx.bits, shared=shared), on_grid(b, ctx.bits, shared=shared and operation.is_stack)
        for_a, for_b, *_ = ctx.needs_input_grad
        ctx.save_for_backward(*on_grids, a if for_b else None, b if for_a else None)  # in place, others may be changed
        return rounded(operation.sums(*on_grids), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        """For a by image, for b and bias over the images of all workers."""
        first, second, a, b = ctx.saved_tensors
        how = ctx.operation, ctx.shared, ctx.bits, ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # which is to have a gradient
            a, b = first.float() if a is None else a, second.float() if b is None else b
            return *Gradients.apply(gradient, a, b, *how), None, None
        return *gradients(gradient, first, second, *how), None, None


class Gradients(torch.autograd.Function):
    """What Product's backward pass makes of the gradient, a and b, with gradients of their own: products, too."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, a: Tensor, b: Tensor, *how: Any) -> Any:
        """Of those that are wanted; the others are None."""
        ctx.how, (operation, shared, bits, _) = how, how
        ctx.save_for_backward(gradient, a, b)
        a, b = on_grid(a, bits, shared=shared), on_grid(b, bits, shared=shared and operation.is_stack)
        return gradients(gradient, a, b, *how)

    @staticmethod
    def backward(ctx: Any, to_a: Any, to_b: Any, to_bias: Any) -> Any:  # type: ignore[override]
        """They are linear in each of the three, so theirs are the same products of others."""
        (gradient, a, b), (operation, shared, bits, _) = ctx.saved_tensors, ctx.how
        for_gradient, for_a, for_b = [], None, None
        if to_a is not None:
            for_gradient.append(Product.apply(to_a, b, None, operation, shared))
            for_b = Gradients.apply(gradient, to_a, b, operation, shared, bits, (False, True, False))[1]
        if to_b is not None:
            for_gradient.append(Product.apply(a, to_b, None, operation, shared))
            for_a = Gradients.apply(gradient, a, to_b, operation, shared, bits, (True, False, False))[0]
        if to_bias is not None:
            row = to_bias.view(-1, *[1] * (gradient.dim() - 2))
            for_gradient.append(stretched(row, gradient.shape, shared))
        return reduce(torch.add, for_gradient), for_a, for_b, None, None, None, None


def gradients(
    gradient: Tensor, a: Tensor, b: Tensor, operation: Operation, shared: bool, bits: int, wanted: Any
) -> tuple[Any, ...]:
    """Of a, b and bias, float32; those that are not wanted are None."""
    for_a, *sums = operation.gradients(on_grid(gradient, bits, shared=shared), a, b, wanted)
    if shared and not operation.is_stack:
        sums = [*workers.total(*sums)]
    ways = nearest_sums, nearest_sums, Tensor.float  # numbers on a grid have no -0, so their sums haven't, either
    found = [nearest(x) if want else None for nearest, x, want in zip(ways, (for_a, *sums), wanted, strict=False)]
    return *found, *[None] * (3 - len(found))


def product(a: Tensor, b: Tensor, bias: Tensor | None, operation: Operation, shared: bool) -> Tensor:
    """As Product; where nothing is trained, each image has a grid of its own, in stacks each row and each column."""
    if torch.is_grad_enabled():
        return Product.apply(a, b, bias, operation, shared)
    bits = factor_bits(operation.terms)
    if operation.is_stack:
        return rounded(operation.sums(on_grids(a, bits, (2,)), on_grids(b, bits, (1,))), bias)
    return rounded(operation.sums(on_grids(a, bits, tuple(range(1, a.dim()))), on_grid(b, bits)), bias)


def nearest_sums(sums: Tensor) -> Tensor:
    """Exact sums of products, rounded to float32. A zero is +0: of products that are all -0, libraries differ."""
    found = sums.float()
    found += 0.0
    return found


def rounded(sums: Tensor, bias: Tensor | None) -> Tensor:
    """Exact sums (n, channels, ...), rounded to float32, plus the bias (channels,), rounded again."""
    found = nearest_sums(sums)  # before a bias that is -0
    if bias is not None:
        found += bias if sums.dim() == 2 else bias.view(-1, *[1] * (sums.dim() - 2))
    return found


# With PyTorch's signatures


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Of a matrix, or of a vector or a stack of matrices."""
    check_float32("linear", x, weight, bias)
    workers.check_same("linear", weight, bias)
    if weight.dim() == 1 and bias is None:
        return matmul(x, weight)
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    outputs, inputs = weight.shape
    operation = Operation(_mm, _of_mm, inputs, max(inputs, outputs), 1)
    result = product(rows, weight, bias, operation, workers.is_of_images(x))
    return result if x.dim() == 2 else result.view(*x.shape[:-1], outputs)


def _mm(x: Tensor, weight: Tensor) -> Tensor:
    return torch.mm(x, weight.t())


def _of_mm(gradient: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Any, ...]:
    return torch.mm(gradient, weight) if wanted[0] else None, torch.mm(gradient.t(), x), gradient.sum(0)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Of vectors, matrices and stacks of them, stretched to the same shape."""
    check_float32("matmul", a, b)
    if a.dim() == 1:
        return matmul(a.unsqueeze(0), b).squeeze(-2 if b.dim() > 1 else 0)
    if b.dim() == 1:
        return matmul(a, b.unsqueeze(1)).squeeze(-1)
    if b.dim() == 2 and (torch.is_grad_enabled() or workers.size() > 1):
        workers.check_same("matmul", b)
        return linear(a, b.t())
    if b.dim() == 2:  # either may be of images
        return matmul(a.reshape(1, -1, a.shape[-1]), b.unsqueeze(0)).view(*a.shape[:-1], b.shape[1])
    shared = workers.is_of_images(a), workers.is_of_images(b)
    if any(shared) and not all(shared):
        raise refusal("matmul", "with several workers, of images and of weights that are no matrix")
    if a.shape[:-2] != b.shape[:-2]:
        shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = (expand(x, *shape, *x.shape[-2:]) for x in (a, b))
    longest = max(*a.shape[-2:], b.shape[-1])
    operation = Operation(torch.bmm, _of_bmm, a.shape[-1], longest, 0, is_stack=True)
    first, second = (x.reshape(-1, *x.shape[-2:]) for x in (a, b))
    return product(first, second, None, operation, any(shared)).view(*a.shape[:-1], b.shape[-1])


def _of_bmm(gradient: Tensor, a: Tensor, b: Tensor, wanted: list[bool]) -> tuple[Tensor, Tensor]:
    return torch.bmm(gradient, b.mT), torch.bmm(a.mT, gradient)


def addmm(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """a @ b + x, where x is one row."""
    if alpha == 1 and beta == 1 and x.dim() == 1 and b.dim() == 2:
        return linear(a, b.t(), x)
    raise refusal("addmm", "write it as a product and a sum")


# What a convolution's options are if not given, in the order in which the transposed ones take them.
DEFAULTS = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}


def convolution(dims: int, transposed: bool) -> Callable[..., Tensor]:
    """conv1d and its like, with as many dimensions."""
    order = list(DEFAULTS) if transposed else ["stride", "padding", "dilation", "groups"]

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        check_float32("convolution", x, weight, bias)
        workers.check_same("convolution", weight, bias)
        shared, chosen = workers.is_of_images(x), DEFAULTS | dict(zip(order, args, strict=False)) | kwargs
        stride, dilation, more = (one_each(chosen[name], dims) for name in ("stride", "dilation", "output_padding"))
        padding = chosen["padding"]
        if isinstance(padding, str):
            extra = [d * (k - 1) * (padding == "same") for d, k in zip(dilation, weight.shape[2:], strict=True)]
            x, padding = functional.pad(x, [n for e in reversed(extra) for n in (e // 2, e - e // 2)]), 0
        images = x if x.dim() == dims + 2 else x.unsqueeze(0)
        options = [stride, one_each(padding, dims), dilation, transposed, more, chosen["groups"]]
        y = product(images, weight, bias, _convolving(images, weight, options), shared)
        return y if images is x else y.squeeze(0)

    return compute


def one_each(value: Any, dims: int) -> list[Any]:
    """A number, or a list of one or more, as one for each of so many dimensions."""
    values = [value] if isinstance(value, int | float) else list(value)
    return values * dims if len(values) == 1 else values


def _convolving(x: Tensor, weight: Tensor, options: list[Any]) -> Operation:
    """With stride, padding, dilation, transposed, output_padding and groups, as aten.convolution takes them."""
    sizes = list(x.shape[2:])
    if not options[3]:
        each = zip(sizes, weight.shape[2:], *options[:3], strict=True)
        sizes = [(size + 2 * pad - dilation * (taps - 1) - 1) // step + 1 for size, taps, step, pad, dilation in each]
    taps, (outer, inner) = weight[0, 0].numel(), weight.shape[:2]
    longest, positions = max(outer // options[-1], inner) * taps, math.prod(sizes)
    is_plain = len(sizes) == 2 and not options[3] and options[-1] == 1
    ways = _by_windows(sizes, *options[:3]) if is_plain and 0 < positions <= FEW else _by_images(options)
    return Operation(*ways, max(outer, inner) * taps, longest, positions)


def _by_images(options: list[Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """As PyTorch does it: a product for each image, of the weight and its windows."""

    # cuDNN and oneDNN may use Winograd's or Fourier's way, no sums of products; float64 goes through neither.
    def sums(x: Tensor, weight: Tensor) -> Tensor:
        return torch.ops.aten.convolution(x, weight, None, *options)

    def gradients(gradient: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Any, ...]:
        mask = [wanted[0], True, False]
        for_both = torch.ops.aten.convolution_backward(gradient, x, weight, None, *options, mask)[:2]
        return (*for_both, gradient.sum((0, *range(2, gradient.dim())))) if wanted[2] else for_both

    return sums, gradients


FEW = 16  # windows of an image: with so few, a product for all images takes half to an eighth of the time


def _by_windows(
    sizes: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """One product, of the windows of all images and the weight; `sizes` are those of the results."""
    options = {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation)}

    def windows(x: Tensor, weight: Tensor) -> Tensor:
        return functional.unfold(x, weight.shape[2:], **options).mT.flatten(0, 1)

    def sums(x: Tensor, weight: Tensor) -> Tensor:
        found = torch.mm(windows(x, weight), weight.flatten(1).t())
        return found.view(len(x), *sizes, len(weight)).movedim(3, 1).contiguous()

    def gradients(gradient: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> tuple[Any, ...]:
        rows = gradient.flatten(2).mT.flatten(0, 1)
        for_weight, for_bias = torch.mm(rows.t(), windows(x, weight)).view_as(weight), rows.sum(0)
        if not wanted[0]:
            return None, for_weight, for_bias
        for_windows = torch.mm(rows, weight.flatten(1)).view(len(x), math.prod(sizes), weight[0].numel()).mT
        return functional.fold(for_windows, x.shape[2:], weight.shape[2:], **options), for_weight, for_bias

    return sums, gradients
