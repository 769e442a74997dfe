"""Functions of one number: the library's in float64, of which the first half of the bits is kept.

A library's exp is off by a few units in the last place of a float64, on each machine in another way. Rounding to
float32 nearly always hides that. Where it does not, Python's `decimal` says how to round: the test of Ziv (1991, ACM
Transactions on Mathematical Software 17).
"""

import math
import operator
from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

# How far the library's value may be from the true one, relative to it: 128 units in the last place of a float64. For
# each function below, and what is made of two of them, libraries promise 4 or less.
ERROR = 2.0**-45
DIGITS = 80  # of decimal: 1 + x takes 45 of them if x is the smallest float32, and cos(x) 39 if it is the largest
Index = tuple[int, ...]  # of an element


def settled(
    low: Tensor, high: Tensor, round_: Callable[[Tensor], Tensor], true_value: Callable[[Index], Decimal]
) -> Tensor:
    """What `round_` makes of the true values, of which it has made `low` and `high` from bounds in float64.

    Nearly always they are the same, and so is what lies between. The few others, about one of 2**20 when rounding to
    float32, are worked out anew from true_value(index). NaN stays NaN.
    """
    if torch.equal(low, high):
        return low
    doubtful = low.ne(high) & low.eq(low)
    with localcontext(prec=DIGITS):
        values = [float(true_value(index)) for index in map(tuple, doubtful.nonzero().tolist())]
    return low.masked_scatter(doubtful, round_(torch.tensor(values, dtype=torch.float64, device=low.device)))


def nearest(values: Tensor, true_value: Callable[[Index], Decimal], error: float | Tensor = ERROR) -> Tensor:
    """The float32 nearest to the true values, which float64 `values` have to within a relative `error`.

    They are changed, as memory that is new takes as long as the arithmetic.
    """
    low = values.mul_(1 - error).float()
    high = values.mul_((1 + error) / (1 - error)).float()
    return settled(low, high, Tensor.float, true_value)


# True values


def series(first: Decimal, ratio: Callable[[int], Decimal]) -> Decimal:
    """first + first * ratio(1) + first * ratio(1) * ratio(2) + ..., until nothing is added."""
    total, term, n = first, first, 0
    while term and term.adjusted() > total.adjusted() - DIGITS:
        n += 1
        term *= ratio(n)
        total += term
    return total


def cosine(x: Decimal, quarters: int = 0) -> Decimal:
    """cos(x - quarters * pi / 2), for |x| up to 10**9, by its series in a quarter of pi at most."""
    x -= quarters * PI / 2
    turns = (x / (PI / 2)).to_integral_value()
    r = x - turns * PI / 2
    quarter = int(turns) % 4
    odd = quarter % 2
    value = series(r if odd else Decimal(1), lambda n: -r * r / ((2 * n + odd) * (2 * n + odd - 1)))
    return -value if quarter in (1, 2) else value


def error_function(x: Decimal) -> Decimal:
    """erf(x), the integral of 2 / sqrt(pi) * exp(-t * t) from 0 to x, by its series, for |x| up to 10 or so."""
    terms = series(x, lambda n: 2 * x * x / (2 * n + 1))  # Abramowitz and Stegun 7.1.6: all of one sign
    return 2 / PI.sqrt() * (-x * x).exp() * terms


def inverse_error_function(y: Decimal) -> Decimal:
    """The x of which erf(x) is y, from -1 to 1, by Newton's steps from a float's."""
    x = Decimal(torch.erfinv(torch.tensor(float(y), dtype=torch.float64)).item())
    for _ in range(3):
        x -= (error_function(x) - y) * PI.sqrt() / 2 * (x * x).exp()
    return x


def arctangent(x: Decimal) -> Decimal:
    """atan(x), by its series for an eighth of the angle."""
    for _ in range(3):
        x /= 1 + (1 + x * x).sqrt()
    return 8 * series(x, lambda n: x * x * (1 - 2 * n) / (2 * n + 1))


def arcsine(x: Decimal) -> Decimal:
    """asin(x), from -1 to 1."""
    return 2 * arctangent(x / (1 + (1 - x * x).sqrt()))


with localcontext(prec=DIGITS):
    PI = 4 * arctangent(Decimal(1))


class Function(NamedTuple):
    """A function of one number: the library's in float64, its true value, and how far they may be apart."""

    library: Callable[[Tensor], Tensor]
    true_value: Callable[[Decimal], Decimal]
    error: Callable[[Tensor], Any] = lambda _: ERROR  # of each of the library's values

    def __call__(self, x: Tensor) -> Tensor:
        """The float32 nearest to the function of each number of float32 `x`, of any shape."""
        found = self.library(x.double())
        return nearest(found, lambda index: self.true_value(Decimal(x[index].item())), self.error(found))


FUNCTIONS = {
    "exp": Function(torch.exp, Decimal.exp),
    "expm1": Function(torch.expm1, lambda x: x.exp() - 1),
    "log": Function(torch.log, Decimal.ln),
    "log1p": Function(torch.log1p, lambda x: (1 + x).ln()),
    "sqrt": Function(torch.sqrt, Decimal.sqrt),
    "rsqrt": Function(lambda x: 1 / torch.sqrt(x), lambda x: 1 / x.sqrt()),
    "sigmoid": Function(torch.sigmoid, lambda x: 1 / (1 + (-x).exp())),
    "tanh": Function(torch.tanh, lambda x: 1 - 2 / ((2 * x).exp() + 1)),
    "erf": Function(torch.erf, error_function),
    "erfc": Function(torch.erfc, lambda x: 1 - error_function(x)),
    # Near 1 erf is so flat that a library which looks for where it has a value finds fewer digits.
    "erfinv": Function(torch.erfinv, inverse_error_function, lambda y: (y * y).clamp(max=20).exp().mul_(2.0**-48)),
    "exp2": Function(torch.exp2, lambda x: Decimal(2) ** x),
    "log2": Function(torch.log2, lambda x: x.ln() / Decimal(2).ln()),
    "log10": Function(torch.log10, Decimal.log10),
    "sinh": Function(torch.sinh, lambda x: (x.exp() - (-x).exp()) / 2),
    "cosh": Function(torch.cosh, lambda x: (x.exp() + (-x).exp()) / 2),
    "tan": Function(torch.tan, lambda x: cosine(x, 1) / cosine(x)),
    "atan": Function(torch.atan, arctangent),
    "asin": Function(torch.asin, arcsine),
    "acos": Function(torch.acos, lambda x: PI / 2 - arcsine(x)),
    "asinh": Function(torch.asinh, lambda x: (abs(x) + (x * x + 1).sqrt()).ln().copy_sign(x)),
    "acosh": Function(torch.acosh, lambda x: (x + (x * x - 1).sqrt()).ln()),
    "atanh": Function(torch.atanh, lambda x: ((1 + x) / (1 - x)).ln() / 2),
    "sin": Function(torch.sin, lambda x: cosine(x, 1)),
    "cos": Function(torch.cos, cosine),
}


def power(x: Any, y: Any) -> Tensor:
    """The float32 nearest to x**y, of float32 tensors or numbers; whole powers by multiplications."""
    if isinstance(x, Tensor) and isinstance(y, int | float) and y % 1 == 0 and abs(y) <= 64:
        result = reduce(torch.mul, [x] * int(abs(y)), torch.ones_like(x))
        return torch.ones_like(x) / result if y < 0 else result
    x, y = (z.double() if isinstance(z, Tensor) else z for z in (x, y))
    found = torch.pow(x, y)
    each = [torch.as_tensor(z, dtype=torch.float64).expand(found.shape) for z in (x, y)]
    return nearest(found, lambda index: operator.pow(*(Decimal(z[index].item()) for z in each)))


COMPUTED: dict[str, Any] = {
    **FUNCTIONS,
    "pow": power,
    "sigmoid_backward": lambda g, y: (1 - y).mul_(y) * g,
    "tanh_backward": lambda g, y: (1 - y * y) * g,
}


# Python's own floats


@lru_cache(maxsize=1_000)
def nearest_power(base: float, exponent: float) -> float:
    """The float nearest to base**exponent, which systems' libraries miss in the last digit, each in its own way."""
    if not base or not math.isfinite(base) or not math.isfinite(exponent):
        return base**exponent
    with localcontext(prec=40):
        return float(Decimal(base) ** Decimal(exponent))
