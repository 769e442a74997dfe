"""Random numbers: the same bits everywhere for a seed.

PyTorch's own draws round as the machine does: uniform_(-a, a) multiplies and adds in one expression, normal_ takes
logarithms and cosines of vectors. Here a generator draws whole multiples of 2**-24, and each operation is rounded once.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import torch
from samebits.functions import nearest
from torch import Tensor

Shape = torch.Size | tuple[int, ...] | list[int]
AT_ONCE = 2**20  # numbers that are drawn, as more take much memory
TINY = torch.finfo().tiny  # the smallest normal number


def normal(shape: Shape, deviation: float, generator: torch.Generator | None) -> Tensor:
    """float32 numbers of a normal distribution around 0, by the polar method of Marsaglia and Bray (1964).

    Of a point u, v in the unit circle, at the squared distance s, u * sqrt(-2 * ln(s) / s) is normally distributed.
    """
    count, parts = math.prod(shape), [torch.empty(0)]
    with torch._C._DisableTorchDispatch():  # float64, which the exact mode leaves to those who know its errors
        while (missing := count - sum(map(len, parts))) > 0:
            points = 2 * min(missing, AT_ONCE) + 8
            u, v = torch.rand(2, points, generator=generator, dtype=torch.float32).double() * 2 - 1
            s = u * u + v * v  # exact, as are u and v: they have 24 bits
            u, s = (x[(s > 0) & (s < 1)] for x in (u, s))
            values = u * torch.sqrt(-2 * s.log() / s)
            parts.append(nearest(values, lambda index, u=u, s=s: polar(u[index].item(), s[index].item())))  # type: ignore[misc]
        return torch.cat(parts)[:count].mul_(deviation).view(shape)


def polar(u: float, s: float) -> Decimal:
    """u * sqrt(-2 * ln(s) / s)."""
    return Decimal(u) * (-2 * Decimal(s).ln() / Decimal(s)).sqrt()


# In place of PyTorch's own, of which the generator is on the CPU


def check(is_possible: bool, expected: str) -> None:
    """Raise RuntimeError for parameters of a draw that can't be."""
    if not is_possible:
        raise RuntimeError(expected)


def into(x: Tensor, drawn: Tensor) -> Tensor:
    """Put what is drawn into `x`."""
    check(x.is_floating_point(), f"expected floats to draw, found {x.dtype}")
    return x.copy_(drawn)


def uniform_(x: Tensor, low: float = 0.0, high: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill `x` with numbers evenly between the two."""
    check(low <= high, f"uniform_ expects from <= to, found {low} and {high}")
    return into(x, torch.rand(x.shape, generator=generator) * (high - low) + low)


def normal_(x: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill `x` with normally distributed numbers."""
    check(std >= 0, f"normal_ expects std >= 0, found {std}")
    return into(x, normal(x.shape, std, generator) + mean)


def exponential_(x: Tensor, rate: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill `x` with exponentially distributed numbers above 0, whose mean is 1 / rate."""
    check(rate > 0, f"exponential_ expects lambd > 0, found {rate}")
    return into(x, -torch.rand(x.shape, generator=generator).clamp_(min=2.0**-25).log() / rate)


def bernoulli_(x: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fill `x` with 1, each with probability p, and else with 0."""
    is_possible = (torch.as_tensor(p) >= 0) & (torch.as_tensor(p) <= 1)
    check(bool(is_possible.all()), "bernoulli_ expects p to be from 0 to 1")
    return x.copy_(torch.rand(x.shape, generator=generator) < p)


def normals(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Any = None, **options: Any) -> Tensor:
    """Normally distributed numbers, each with a mean and a deviation of its own, which are tensors or numbers."""
    check(bool((torch.as_tensor(std) >= 0).all()), "normal expects all elements of std >= 0")
    shape = torch.broadcast_shapes(*(torch.as_tensor(x).shape for x in (mean, std))) if size is None else size
    return normal(shape, 1.0, generator).to(options.get("device"), options.get("dtype")) * std + mean


@torch.no_grad()
def multinomial(p: Tensor, count: int, replacement: bool = False, *, generator: Any = None) -> Tensor:
    """Indices along the last dimension, with probabilities in proportion to float `p`, of one or two dimensions."""
    p = p.float()  # a sampler's are float64
    most = p.amax(-1, keepdim=True)
    check(bool(((p >= 0) & (p < math.inf) & (most > 0)).all()), "multinomial expects finite p >= 0, some of them > 0")
    if not replacement:  # the first that happen, if each happens in exponential time
        return (p / torch.empty_like(p).exponential_(generator=generator)).topk(count).indices
    edges = (p / most).cumsum(-1)  # which neither overflows nor has subnormal sums
    drawn = torch.rand(*p.shape[:-1], count, generator=generator).to(p.device)
    return torch.searchsorted(edges, drawn * edges[..., -1:], right=True)


def gamma(shape: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of gamma distributions with these shapes and scale 1, by Marsaglia and Tsang (2000).

    They are the first tensor times exp of the second, which is 0 but for shapes below 1; NaN for others than above 0.
    """
    d = shape + (shape < 1) - 1 / 3
    found = torch.where(shape > 0, d * 0, math.nan)
    while (waiting := found == 0).any():
        x = torch.randn_like(d)
        v = (x / (d * 9).sqrt() + 1) ** 3
        limit = x * x * 0.5 + d - d * v + d * v.where(v > 0, 1).log()
        accepted = waiting & (v > 0) & (-torch.empty_like(d).exponential_() < limit)
        found = torch.where(accepted, (d * v).clamp(min=TINY), found)
    return found, torch.where(shape < 1, -torch.empty_like(d).exponential_() / shape, 0)


def standard_gamma(shape: Tensor) -> Tensor:
    """None is 0, of which others take the logarithm."""
    found, less = gamma(shape)
    return (found * less.exp()).clamp(min=TINY)


def dirichlet(shape: Tensor) -> Tensor:
    """By logarithms, as gamma draws of small shapes would all be TINY."""
    found, less = gamma(shape)
    return (found.log() + less).softmax(-1).clamp(TINY, 1 - 2**-24)


def rrelu(
    x: Tensor, noise: Tensor, low: float = 1 / 8, high: float = 1 / 3, training: bool = False, generator: Any = None
) -> Tensor:
    """What is negative by a slope of its own, evenly between the two in training, else by the one in the middle."""
    slopes = torch.rand(x.shape, generator=generator) * (high - low) + low if training else (low + high) / 2
    noise.copy_(torch.where(x <= 0, slopes, 1.0))
    return x * noise


DRAWS: dict[str, Callable[..., Tensor]] = {
    "uniform_": uniform_,
    "normal_": normal_,
    "exponential_": exponential_,
    "bernoulli_": bernoulli_,
    "bernoulli": lambda p, *, generator=None: bernoulli_(torch.empty_like(p), p, generator=generator),
    "normal": normals,
    "randn": lambda size, generator=None, *, dtype=None, device=None, **_: normal_(
        torch.empty(size, dtype=dtype, device=device), generator=generator
    ),
    "rand_like": lambda x, **options: uniform_(torch.empty_like(x, **options)),
    "randn_like": lambda x, **options: normal_(torch.empty_like(x, **options)),
    "multinomial": multinomial,
    "_standard_gamma": standard_gamma,
    "_sample_dirichlet": dirichlet,
    "rrelu_with_noise": rrelu,
}
