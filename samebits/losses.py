"""Softmax, and the loss of a classifier: what PyTorch computes in one operation, made of sums and functions."""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import torch
from samebits.functions import ERROR, FUNCTIONS, Index, nearest, settled
from samebits.sums import dims_of, sum_
from torch import Tensor

aten = torch.ops.aten
exp = FUNCTIONS["exp"]


def of_sum(x: Tensor, dim: int) -> float:
    """By how much, relative to it, a library may miss the sum of exponentials: half a last place for each."""
    return (x.shape[dim] if x.dim() else 1) * 2.0**-53


def of_log(near: float) -> float:
    """By how much a logarithm of a share may be off that Python's floats have."""
    return ERROR + abs(near) * 2.0**-50


def log_share(x: Tensor, dim: int, index: Index, settles: Callable[[float], bool]) -> Decimal:
    """The logarithm of a softmax, at an index; by a sum of floats that rounds only once, if that settles it."""
    row = x.movedim(dim, -1)[(*index[:dim], *index[dim + 1 :])].tolist() if x.dim() else [x.item()]
    number, most = row[index[dim] if x.dim() else 0], max(row)
    near = number - most - math.log(math.fsum(math.exp(z - most) for z in row))
    if settles(near):
        return Decimal(near)
    total = sum(((Decimal(z) - Decimal(most)).exp() for z in row), Decimal(0))
    return Decimal(number) - Decimal(most) - total.ln()


def softmax(x: Tensor, dim: int, half_to_float: bool = False) -> Tensor:
    """The float32 nearest to each of the probabilities."""
    x, dim = x.contiguous(), (*dims_of(x, dim), 0)[0]
    error = ERROR + of_sum(x, dim)

    def settles(near: float) -> bool:
        low, high = torch.tensor([math.exp(near) * (1 - of_log(near)), math.exp(near) * (1 + of_log(near))]).tolist()
        return bool(low == high)

    return nearest(x.double().softmax(dim), lambda index: log_share(x, dim, index, settles).exp(), error)


def log_softmax(x: Tensor, dim: int, half_to_float: bool = False) -> Tensor:
    """Their logarithms, rounded to multiples of 2**-26, and then to float32."""
    x, dim = x.contiguous(), (*dims_of(x, dim), 0)[0]
    values = x.double().log_softmax(dim)
    error = values.abs().mul_(2.0**-50).add_(ERROR + of_sum(x, dim))
    low, high = fixed(values - error), fixed(values + error)

    def settles(near: float) -> bool:
        ends = fixed(torch.tensor([near - of_log(near), near + of_log(near)], dtype=torch.float64)).tolist()
        return bool(ends[0] == ends[1])

    return settled(low, high, fixed, lambda index: log_share(x, dim, index, settles)).float()


def fixed(x: Tensor) -> Tensor:
    """float64 `x` rounded to multiples of 2**-26, half to even; as it is if it is large."""
    large = 1.5 * 2.0**26  # whose last bit in float64 is that
    return (x + large).sub_(large)


def log_softmax_gradient(gradient: Tensor, y: Tensor, dim: int, dtype: Any) -> Tensor:
    """From the logarithms y of the probabilities."""
    return gradient - exp(y) * sum_(gradient, dim, True)


def nll_loss(
    logs: Tensor, labels: Tensor, weight: Tensor | None, reduction: int, ignored: int
) -> tuple[Tensor, Tensor]:
    """Minus the logarithms (n, classes) of the labels' probabilities: each, their mean (1), or sum (2); and weights."""
    losses = aten.nll_loss_forward(logs, labels, weight, 0, ignored)[0]
    if reduction == 0 and logs.dim() > 1:
        return losses, losses.new_zeros(())
    if weight is None:
        of_all = (labels != ignored).sum().float()
    else:
        of_all = sum_(aten.nll_loss_forward(torch.full_like(logs, -1), labels, weight, 0, ignored)[0])
    return sum_(losses) / of_all if reduction == 1 else sum_(losses), of_all


def nll_loss_gradient(
    gradient: Tensor, logs: Tensor, labels: Tensor, weight: Tensor | None, reduction: int, ignored: int, of_all: Tensor
) -> Tensor:
    """Of the logarithms."""
    each = torch.where(labels == ignored, 0, gradient / of_all if reduction == 1 else gradient)
    return aten.nll_loss_backward(each, logs, labels, weight, 0, ignored, of_all)  # type: ignore[no-any-return]


def probabilities(logits: Tensor) -> Tensor:
    """The float32 nearest to each of the probabilities, (n, classes), of float32 logits of that shape."""
    with torch._C._DisableTorchDispatch():  # which is no business of the exact mode
        return softmax(logits, 1)


COMPUTED: dict[str, Callable[..., Any]] = {
    "_softmax": softmax,
    "_log_softmax": log_softmax,
    "_log_softmax_backward_data": log_softmax_gradient,
    "nll_loss_forward": nll_loss,
    "nll_loss_backward": nll_loss_gradient,
}
