"""Products: of matrices, stacks of them, and convolutions. Both factors on grids, exact sums, one rounding to float32.

PyTorch's own functions compute them, on float64. Each row of the first factor and each column of the second has a grid
of its own, as has each image of a convolution: so what comes out for an image depends on that image alone.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from samebits.grid import factor_bits, joined, largest, on_grid
from samebits.sums import rounded, sum_
from torch import Tensor
from torch.nn import functional

aten = torch.ops.aten


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Of two matrices, of two stacks (n, rows, columns) of as many, or of a vector and one or a matrix before it."""
    bits = factor_bits(max(a.shape[-1], 1))
    first, second = on_grid(a, bits, (a.dim() - 1,)), on_grid(b, bits, (max(b.dim() - 2, 0),))
    if a.dim() == b.dim() == 2 and len(a) > 4 * b.shape[1]:  # for which libraries take twice as long
        return rounded(torch.mm(second.t(), first.t()).t())
    return rounded(torch.matmul(first, second))


def plus(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """alpha * (a @ b) + beta * x, as of a linear layer, whose bias is x; of x nothing, not even NaN, if beta is 0."""
    product = matmul(a, b)
    product = product if alpha == 1 else product.mul_(alpha)
    return product if beta == 0 else product.add_(x if beta == 1 else x * beta)


# Convolutions. cuDNN and oneDNN may use Winograd's or Fourier's way, no sums of products; float64 goes through neither.


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int,
) -> Tensor:  # fmt: skip
    """Of images (n, channels, ...), as aten.convolution."""
    bits = factor_bits((len(weight) if transposed else weight.shape[1]) * weight[0, 0].numel())
    of_one, of_all = tuple(range(1, x.dim())), tuple(range(x.dim()))
    by = Convolver(x, weight, stride, padding, dilation, transposed, output_padding, groups)
    weights = on_grid(weight, bits, of_all if transposed else of_one)
    found = joined([rounded(by.sums(on_grid(part, bits, of_one), weights)) for part in by.parts(x)])
    return found if bias is None else found.add_(bias.view(-1, *[1] * (x.dim() - 2)))


def convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, mask: list[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """Of the images, the weight and the bias; those that `mask` does not name are None."""
    by = Convolver(x, weight, stride, padding, dilation, transposed, output_padding, groups)
    of_one, of_all = tuple(range(1, x.dim())), tuple(range(x.dim()))
    for_x = for_weight = None
    if mask[0]:
        bits = factor_bits(max(len(weight), weight.shape[1]) * weight[0, 0].numel())
        weights, pairs = on_grid(weight, bits, of_all), zip(by.parts(gradient), by.parts(x), strict=True)
        for_x = joined([rounded(by.for_images(on_grid(part, bits, of_one), of, weights)) for part, of in pairs])
    if mask[1]:
        positions = len(x) * max(math.prod(gradient.shape[2:]), math.prod(x.shape[2:]) * transposed)
        bits, most = factor_bits(max(positions, 1)), [largest(factor, of_all) for factor in (gradient, x)]
        pairs = zip(by.parts(gradient), by.parts(x), strict=True)
        sums = (by.for_weight(*map(on_grid, pair, (bits, bits), most)) for pair in pairs)
        for_weight = rounded(reduce(Tensor.add_, sums))
    return for_x, for_weight, sum_(gradient, (0, *range(2, x.dim()))) if mask[2] else None


class Convolver:
    """How to convolve float64 images, some at once: what is made of few stays in the caches, and is not new memory.

    Where an image has few windows, one product, of those of all images, takes half to an eighth of the time.
    """

    IMAGES, WINDOWS = 4, 16  # of each thread; of each image

    def __init__(self, x: Tensor, weight: Tensor, *options: Any) -> None:
        dims = x.dim() - 2  # for each of which there is a number, or one for all
        options = tuple(
            [*each] * (dims if len(each) == 1 else 1) if isinstance(each, list) else each for each in options
        )
        stride, padding, dilation, transposed, _, groups = self.options = options
        each = zip(x.shape[2:], weight.shape[2:], padding, dilation, stride, strict=True)
        self.sizes = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, p, d, s in each]
        self.weight_shape = weight.shape
        self.unfolding = {"stride": stride, "padding": padding, "dilation": dilation}
        is_whole = type(x) is Tensor  # and not shared among workers
        are_few = x.dim() == 4 and not transposed and groups == 1 and 0 < math.prod(self.sizes) <= self.WINDOWS
        self.by_windows, self.by_parts = is_whole and are_few, is_whole and not are_few and x.device.type == "cpu"

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Some images at once, or all."""
        return x.split(self.IMAGES * torch.get_num_threads()) if self.by_parts else (x,)

    def windows(self, x: Tensor) -> Tensor:
        """(n * windows, channels * taps)."""
        return functional.unfold(x, self.weight_shape[2:], **self.unfolding).mT.flatten(0, 1)

    def sums(self, x: Tensor, weight: Tensor) -> Tensor:
        """The images' convolution."""
        if not self.by_windows:
            return aten.convolution(x, weight, None, *self.options)  # type: ignore[no-any-return]
        found = torch.mm(self.windows(x), weight.flatten(1).t())
        return found.view(len(x), *self.sizes, len(weight)).movedim(3, 1).contiguous()

    def for_images(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """The gradient of images `x`, of which only the size matters."""
        if not self.by_windows:
            return self.gradients(gradient, torch.empty_like(x, dtype=torch.float64), weight, 0)
        found = torch.mm(gradient.flatten(2).mT.flatten(0, 1), weight.flatten(1))
        columns = found.view(len(gradient), math.prod(self.sizes), weight[0].numel()).mT
        return functional.fold(columns, x.shape[2:], self.weight_shape[2:], **self.unfolding)

    def for_weight(self, gradient: Tensor, x: Tensor) -> Tensor:
        """The weight's gradient."""
        if not self.by_windows:
            return self.gradients(gradient, x, x.new_empty(self.weight_shape), 1)
        return torch.mm(gradient.flatten(2).mT.flatten(0, 1).t(), self.windows(x)).view(self.weight_shape)

    def gradients(self, gradient: Tensor, x: Tensor, weight: Tensor, which: int) -> Tensor:
        """PyTorch's, of the images (0) or the weight (1)."""
        mask = [which == 0, which == 1, False]
        return aten.convolution_backward(gradient, x, weight, None, *self.options, mask)[which]  # type: ignore[no-any-return]


COMPUTED: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot"), matmul),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), plus),
    "convolution": convolution,
    "convolution_backward": convolution_backward,
}
