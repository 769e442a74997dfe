"""Random numbers: the same bits everywhere for a seed, and for an image however images are shared out.

PyTorch's own draws round as the machine does: uniform_(-a, a) multiplies and adds in one expression, normal_ takes
logarithms and cosines of vectors. Here a generator draws whole multiples of 2**-24, and each operation is rounded once.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import torch
from samebits import workers
from samebits.errors import refusal
from samebits.functions import apply, nearest
from samebits.native import OF_ALL
from torch import Tensor, nn

Shape = torch.Size | tuple[int, ...]
AT_ONCE = 2**20  # numbers that are drawn, as more take much memory


def uniform(shape: Shape, bound: float, generator: torch.Generator) -> Tensor:
    """float32 numbers, evenly between -bound and bound."""
    return torch.rand(shape, generator=generator).mul_(2 * bound).sub_(bound)


def normal(shape: Shape, deviation: float, generator: torch.Generator) -> Tensor:
    """float32 numbers of a normal distribution around 0, by the polar method of Marsaglia and Bray (1964).

    Of a point u, v in the unit circle, at the squared distance s, u * sqrt(-2 * ln(s) / s) is normally distributed.
    """
    with torch._C.DisableTorchFunction():  # float64, which the exact mode leaves to those who know its errors
        return _normal(math.prod(shape), generator).mul_(deviation).view(shape)


def _normal(count: int, generator: torch.Generator) -> Tensor:
    parts = [torch.empty(0)]
    while (missing := count - sum(map(len, parts))) > 0:
        points = 2 * min(missing, AT_ONCE) + 8
        u, v = torch.rand(2, points, generator=generator, dtype=torch.float32).double() * 2 - 1
        s = u * u + v * v  # exact, as are u and v: they have 24 bits
        u, s = (x[(s > 0) & (s < 1)] for x in (u, s))
        values = u * torch.sqrt(-2 * s.log() / s)
        parts.append(nearest(values, lambda index, u=u, s=s: polar(u[index].item(), s[index].item())))  # type: ignore[misc]
    return torch.cat(parts)[:count]


def polar(u: float, s: float) -> Decimal:
    """u * sqrt(-2 * ln(s) / s)."""
    return Decimal(u) * (-2 * Decimal(s).ln() / Decimal(s)).sqrt()


# In place of PyTorch's own, for what is drawn in the exact mode


def filled(x: Tensor, draw: Callable[[Shape], Tensor]) -> Tensor:
    """`x` with numbers that are drawn on the CPU; for this worker's images they are drawn for all."""
    if not x.is_floating_point():
        raise refusal("a draw", "only floats are drawn so")
    if workers.is_of_images(x):
        drawn = workers.draw(x, lambda n: draw((n, *x.shape[1:])))
    elif workers.are_sizes_of_images(x.shape):
        raise refusal("a draw", OF_ALL)
    else:
        drawn = draw(x.shape)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not x.is_leaf):  # what it was made of gets no gradient
        return x.copy_(drawn)


def check(is_possible: bool, expected: str) -> None:
    """Raise RuntimeError for parameters of a draw that can't be."""
    if not is_possible:
        raise RuntimeError(expected)


def uniform_(
    x: Tensor, a: float = 0.0, b: float = 1.0, generator: torch.Generator | None = None, **method: float
) -> Tensor:
    """Fill `x` with numbers evenly between a and b, which the method of that name calls `from` and `to`."""
    a, b = method.get("from", a), method.get("to", b)
    check(a <= b, f"uniform_ expects from <= to, found {a} and {b}")
    return filled(x, lambda shape: torch.rand(shape, generator=generator) * (b - a) + a)


def normal_(x: Tensor, mean: float = 0.0, std: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Fill `x` with normally distributed numbers."""
    check(std >= 0, f"normal_ expects std >= 0, found {std}")
    return filled(x, lambda shape: normal(shape, std, generator or torch.default_generator) + mean)


def exponential_(x: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill `x` with exponentially distributed numbers above 0, whose mean is 1 / lambd."""
    check(lambd > 0, f"exponential_ expects lambd > 0, found {lambd}")
    return filled(x, lambda shape: -apply("log", torch.rand(shape, generator=generator).clamp_(min=2.0**-25)) / lambd)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: Any = "fan_in", nonlinearity: Any = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """Fill it evenly, as He et al. (2015)."""
    if not tensor.numel():
        return tensor
    deviation = nn.init.calculate_gain(nonlinearity, a) / math.sqrt(nn.init._calculate_correct_fan(tensor, mode))
    return uniform_(tensor, -math.sqrt(3) * deviation, math.sqrt(3) * deviation, generator)


def randn(*size: Any, generator: torch.Generator | None = None, **options: Any) -> Tensor:
    """Normally distributed numbers around 0, with deviation 1."""
    return normal_(torch.empty(*size, **options), generator=generator)


def like(fill: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """randn_like and its like."""

    def compute(x: Tensor, **options: Any) -> Tensor:
        made = torch.empty_like(x.detach(), **options)
        return fill(workers.of_images(made) if workers.is_of_images(x) else made)

    return compute


def normal_of(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Any = None, **options: Any) -> Tensor:
    """Normally distributed numbers, each with a mean and a deviation of its own, which are tensors or numbers."""
    numbers = [torch.as_tensor(value, dtype=torch.float32).detach() for value in (mean, std)]
    check(bool((numbers[1] >= 0).all()), "normal expects all deviations to be 0 or more")
    shape = torch.broadcast_shapes(*(value.shape for value in numbers)) if size is None else size
    return randn(shape, generator=generator, **options) * numbers[1] + numbers[0]


def bernoulli_(x: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """1 with probability p, else 0; for this worker's images they are drawn for all."""
    check(bool(((torch.as_tensor(p) >= 0) & (torch.as_tensor(p) <= 1)).all()), "bernoulli_ expects p from 0 to 1")
    if not workers.are_sizes_of_images(x.shape):
        return x.copy_(torch.rand(x.shape, generator=generator) < p)
    drawn = workers.draw(x, lambda n: torch.rand(n, *x.shape[1:], generator=generator))
    return workers.of_images(x.copy_(drawn < p))


def bernoulli(x: Tensor, p: Any = None, *, generator: Any = None) -> Tensor:
    """1 with the probability that a number is, or p, else 0; without a gradient."""
    return bernoulli_(torch.empty_like(x.detach()), x.detach() if p is None else p, generator=generator)


COMPUTED: dict[str, Callable[..., Any]] = {
    "randn": randn,
    "randn_like": like(normal_),
    "rand_like": like(uniform_),
    "normal": normal_of,
    "uniform_": uniform_,
    "normal_": normal_,
    "kaiming_uniform_": kaiming_uniform_,
    "exponential_": exponential_,
    "bernoulli_": bernoulli_,
    "bernoulli": bernoulli,
}
