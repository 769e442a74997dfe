"""Batch, layer and group normalization: Ioffe and Szegedy (2015), Ba et al. (2016), Wu and He (2018).

Each takes off the mean along some dimensions, and divides by the deviation: sums, and one operation after the other.
"""

import math
from typing import Any

from samebits.functions import FUNCTIONS
from samebits.grid import over
from samebits.sums import sum_, sum_of_products
from torch import Tensor

rsqrt = FUNCTIONS["rsqrt"]
Dims = tuple[int, ...]
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def terms(x: Tensor, dims: Dims) -> int:
    """How many numbers are along `dims`."""
    return math.prod(x.shape[dim] for dim in dims)


def standardized(x: Tensor, dims: Dims, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`x` less its mean along `dims`, over its deviation; mean, variance, and 1 over the deviation."""
    n = terms(x, dims)
    mean = over(sum_(x, dims, True), n)
    y = x - mean
    variance = over(sum_of_products(y, y, dims), n)
    scale = rsqrt(variance + eps)
    return y.mul_(scale), mean, variance, scale


def for_input(gradient: Tensor, y: Tensor, by_one: Tensor, by_y: Tensor, scale: Tensor, n: int) -> Tensor:
    """The gradient of x, from that of standardized y, which is changed, and its sums, also by y."""
    return (gradient - over(by_one, n)).sub_(y.mul_(over(by_y, n))).mul_(scale)


def weighted(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """y, which is changed, times weight, plus bias."""
    y = y if weight is None else y.mul_(weight)
    return y if bias is None else y.add_(bias)


# Over images, by channel, which is the second dimension


def channels(value: Any, x: Tensor) -> Any:
    """A number for each channel, in the form of `x`; None is None."""
    return None if value is None else value.view(-1, *[1] * (x.dim() - 2))


def batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    training: bool, momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """In training by the moments of the batch, which move the running ones; else by those."""
    dims = (0, *range(2, x.dim()))
    if training:
        y, mean, variance, scale = standardized(x, dims, eps)
        found = mean.flatten(), scale.flatten()
        n = terms(x, dims)
        for running, new in ((running_mean, mean), (running_var, variance * (n / max(n - 1, 1)))):
            if running is not None:
                running.copy_(running * (1 - momentum) + new.flatten() * momentum)
    else:
        y, found = in_evaluation(x, running_mean, running_var, eps)[0], (x.new_zeros(0), x.new_zeros(0))
    return weighted(y, channels(weight, x), channels(bias, x)), *found


def in_evaluation(x: Tensor, mean: Any, variance: Any, eps: float) -> tuple[Tensor, Tensor]:
    """`x` by the running moments, and 1 over the deviation."""
    scale = channels(rsqrt(variance + eps), x)
    return (x - channels(mean, x)).mul_(scale), scale  # type: ignore[operator, arg-type, return-value]


def batch_norm_backward(
    gradient: Tensor, x: Tensor, weight: Tensor | None, running_mean: Any, running_var: Any, mean: Any, scale: Any,
    training: bool, eps: float, mask: list[bool],
) -> Gradients:  # fmt: skip
    """The gradients of x, weight and bias; those that `mask` does not name are None."""
    dims = (0, *range(2, x.dim()))
    if training:
        scale = channels(scale, x)
        y = (x - channels(mean, x)).mul_(scale)
    else:
        y, scale = in_evaluation(x, running_mean, running_var, eps)
    by_one, by_y = sum_(gradient, dims, True), sum_of_products(gradient, y, dims)
    whole = scale if weight is None else scale * channels(weight, x)
    for_x = for_input(gradient, y, by_one, by_y, whole, terms(x, dims)) if training else gradient * whole
    return for_x if mask[0] else None, by_y.flatten() if mask[1] else None, by_one.flatten() if mask[2] else None


# Over the numbers of an image


def layer_norm(
    x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Over the last dimensions, of that shape."""
    if list(x.shape[x.dim() - len(shape) :]) != list(shape):
        raise RuntimeError(
            f"layer_norm expected an input of shape [*, {', '.join(map(str, shape))}], found {[*x.shape]}"
        )
    y, mean, _, scale = standardized(x.contiguous(), tuple(range(x.dim() - len(shape), x.dim())), eps)
    return weighted(y, weight, bias), mean, scale


def layer_norm_backward(
    gradient: Tensor, x: Tensor, shape: list[int], mean: Tensor, scale: Tensor, weight: Tensor | None, bias: Any,
    mask: list[bool],
) -> Gradients:  # fmt: skip
    """As of batch_norm."""
    y, dims = (x - mean).mul_(scale), tuple(range(x.dim() - len(shape), x.dim()))
    by_number = tuple(range(x.dim() - len(shape)))
    for_y = gradient if weight is None else gradient * weight
    sums, by_y = (sum_(for_y, dims, True), sum_of_products(for_y, y, dims)), gradient * y
    return (
        for_input(for_y, y, *sums, scale, terms(x, dims)) if mask[0] else None,
        (sum_(by_y, by_number) if by_number else by_y) if mask[1] else None,
        (sum_(gradient, by_number) if by_number else gradient.clone()) if mask[2] else None,
    )


def group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, c: int, size: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Over groups of channels."""
    y, mean, _, scale = standardized(x.reshape(len(x), groups, c // groups * size), (2,), eps)
    return weighted(y.view(x.shape), channels(weight, x), channels(bias, x)), mean.squeeze(2), scale.squeeze(2)


def group_norm_backward(
    gradient: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor | None, n: int, c: int, size: int,
    groups: int, mask: list[bool],
) -> Gradients:  # fmt: skip
    """As of batch_norm."""
    scale = scale.unsqueeze(2)
    y = (x.reshape(len(x), groups, c // groups * size) - mean.unsqueeze(2)).mul_(scale)
    for_y = (gradient if weight is None else gradient * channels(weight, x)).reshape(y.shape)
    sums, by_channel = (sum_(for_y, (2,), True), sum_of_products(for_y, y, (2,))), (0, *range(2, x.dim()))
    by_y = gradient * y.view(x.shape)
    return (
        for_input(for_y, y, *sums, scale, y.shape[2]).view(x.shape) if mask[0] else None,
        sum_(by_y, by_channel) if mask[1] else None,
        sum_(gradient, by_channel) if mask[2] else None,
    )


COMPUTED = {
    "native_batch_norm": batch_norm,
    "native_batch_norm_backward": batch_norm_backward,
    "native_layer_norm": layer_norm,
    "native_layer_norm_backward": layer_norm_backward,
    "native_group_norm": group_norm,
    "native_group_norm_backward": group_norm_backward,
}
