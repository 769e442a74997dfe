"""Products: of matrices, stacks of them, and convolutions. Both factors on grids, exact sums, one rounding to float32.

PyTorch's own functions compute them, on float64. Each row of the first factor and each column of the second has a grid
of its own, as has each image of a convolution: so what comes out for an image depends on that image alone.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from samebits.grid import factor_bits, on_grid
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
    factors = on_grid(x, bits, of_one), on_grid(weight, bits, of_all if transposed else of_one)
    options = stride, padding, dilation, transposed, output_padding, groups
    windows = Windows(x, weight, *options)
    sums = windows.sums(*factors) if windows.are_few else aten.convolution(*factors, None, *options)
    found = rounded(sums)
    return found if bias is None else found.add_(bias.view(-1, *[1] * (x.dim() - 2)))


def convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, mask: list[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    """Of the images, the weight and the bias; those that `mask` does not name are None."""
    options = stride, padding, dilation, transposed, output_padding, groups
    windows, of_one, of_all = Windows(x, weight, *options), tuple(range(1, x.dim())), tuple(range(x.dim()))
    for_x = for_weight = None
    if mask[0]:
        bits = factor_bits(max(len(weight), weight.shape[1]) * weight[0, 0].numel())
        factors = on_grid(gradient, bits, of_one), x.double(), on_grid(weight, bits, of_all)
        for_x = rounded(
            windows.for_images(*factors)
            if windows.are_few
            else aten.convolution_backward(*factors, None, *options, [True, False, False])[0]
        )
    if mask[1]:
        positions = len(x) * max(math.prod(gradient.shape[2:]), math.prod(x.shape[2:]) * transposed)
        bits = factor_bits(max(positions, 1))
        factors = on_grid(gradient, bits, of_all), on_grid(x, bits, of_all), weight.double()
        for_weight = rounded(
            windows.for_weight(*factors)
            if windows.are_few
            else aten.convolution_backward(*factors, None, *options, [False, True, False])[1]
        )
    return for_x, for_weight, sum_(gradient, (0, *range(2, x.dim()))) if mask[2] else None


class Windows:
    """A convolution as one product, of the windows of all images and the weight.

    Where an image has but few, that takes half to an eighth of the time of a product for each image.
    """

    FEW = 16

    def __init__(
        self, x: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, transposed: bool, _: Any, groups: int
    ) -> None:
        each = zip(x.shape[2:], weight.shape[2:], padding, dilation, stride, strict=True)
        sizes = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, p, d, s in each]
        self.sizes, self.shape, self.weight_shape = sizes, x.shape, weight.shape
        self.options = {"stride": stride, "padding": padding, "dilation": dilation}
        is_plain = x.dim() == 4 and type(x) is Tensor and not transposed and groups == 1
        self.are_few = is_plain and 0 < math.prod(sizes) <= self.FEW

    def of(self, x: Tensor) -> Tensor:
        """(n * windows, channels * taps)."""
        return functional.unfold(x, self.weight_shape[2:], **self.options).mT.flatten(0, 1)

    def sums(self, x: Tensor, weight: Tensor) -> Tensor:
        """As aten.convolution."""
        found = torch.mm(self.of(x), weight.flatten(1).t())
        return found.view(len(x), *self.sizes, len(weight)).movedim(3, 1).contiguous()

    def for_images(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """As aten.convolution_backward."""
        found = torch.mm(gradient.flatten(2).mT.flatten(0, 1), weight.flatten(1))
        columns = found.view(len(x), math.prod(self.sizes), weight[0].numel()).mT
        return functional.fold(columns, self.shape[2:], self.weight_shape[2:], **self.options)

    def for_weight(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """The same."""
        return torch.mm(gradient.flatten(2).mT.flatten(0, 1).t(), self.of(x)).view(self.weight_shape)


COMPUTED: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot"), matmul),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), plus),
    "convolution": convolution,
    "convolution_backward": convolution_backward,
}
