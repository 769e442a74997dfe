"""Functions of one number: the library's in float64, of which the first half of the bits is kept.

A library's exp is off by a few units in the last place of a float64, on each machine in another way. Rounding to
float32 nearly always hides that. Where it does not, Python's `decimal` says how to round: the test of Ziv (1991, ACM
Transactions on Mathematical Software 17).
"""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from samebits import workers
from samebits.errors import check_float32, refusal
from samebits.sums import broadcast, needs_gradient
from torch import Tensor
from torch.nn import functional

# How far the library's value may be from the true one, relative to it: 128 units in the last place of a float64. For
# each function below, and what is made of two of them, libraries promise 4 or less.
ERROR = 2.0**-45
DIGITS = 40  # of decimal
Index = tuple[int, ...]  # of an element


def settled(
    low: Tensor, high: Tensor, round_: Callable[[Tensor], Tensor], true_value: Callable[[Index], Decimal]
) -> Tensor:
    """What `round_` makes of the true values, of which it has made `low` and `high` from bounds in float64.

    Nearly always they are the same, and so is what lies between. The few others, about one of 2**20 when rounding to
    float32, are worked out anew from true_value(index). NaN stays NaN.
    """
    if not torch.equal(low, high):
        for index in map(tuple, (low.ne(high) & low.eq(low)).nonzero().tolist()):
            with localcontext(prec=DIGITS):
                value = float(true_value(index))
            low[index] = round_(low.new_tensor(value, dtype=torch.float64))
    return low


def nearest(values: Tensor, true_value: Callable[[Index], Decimal], error: float = ERROR) -> Tensor:
    """The float32 nearest to the true values, which float64 `values` have to within a relative `error`.

    They are changed, as memory that is new takes as long as the arithmetic.
    """
    low = values.mul_(1 - error).float()
    high = values.mul_((1 + error) / (1 - error)).float()
    return settled(low, high, Tensor.float, true_value)


# True values, to nearly 40 digits


def series(first: Decimal, ratio: Callable[[int], Decimal]) -> Decimal:
    """first + first * ratio(1) + first * ratio(1) * ratio(2) + ..., until nothing is added."""
    total, term, n = first, first, 0
    while term and term.adjusted() > total.adjusted() - 2 * DIGITS:
        n += 1
        term *= ratio(n)
        total += term
    return total


def cosine(x: Decimal, quarters: int = 0) -> Decimal:
    """cos(x - quarters * pi / 2), for |x| up to 10**9, by its series in a quarter of pi at most."""
    with localcontext(prec=DIGITS + 40):
        x -= quarters * PI / 2
        turns = (x / (PI / 2)).to_integral_value()
        r = x - turns * PI / 2
        quarter = int(turns) % 4
        odd = quarter % 2
        value = series(r if odd else Decimal(1), lambda n: -r * r / ((2 * n + odd) * (2 * n + odd - 1)))
        return -value if quarter in (1, 2) else value


def error_function(x: Decimal) -> Decimal:
    """erf(x), the integral of 2 / sqrt(pi) * exp(-t * t) from 0 to x, by its series, for |x| up to 8 or so."""
    with localcontext(prec=2 * DIGITS):
        terms = series(x, lambda n: 2 * x * x / (2 * n + 1))  # Abramowitz and Stegun 7.1.6: all of one sign
        return 2 / PI.sqrt() * (-x * x).exp() * terms


def log_1_plus(x: Decimal) -> Decimal:
    """ln(1 + x), also where x is far below the last digit of 1."""
    return x - x * x / 2 if x.adjusted() < -DIGITS // 2 else (1 + x).ln()


def exp_minus_1(x: Decimal) -> Decimal:
    """exp(x) - 1, also where exp(x) is nearly 1."""
    return series(x, lambda n: x / (n + 1)) if abs(x) < 1 else x.exp() - 1


def arctangent(x: Decimal) -> Decimal:
    """atan(x), by its series for an eighth of the angle."""
    for _ in range(3):
        x /= 1 + (1 + x * x).sqrt()
    return 8 * series(x, lambda n: x * x * (1 - 2 * n) / (2 * n + 1))


def arcsine(x: Decimal) -> Decimal:
    """asin(x), from -1 to 1."""
    return 2 * arctangent(x / (1 + (1 - x * x).sqrt()))


def arccosine(x: Decimal) -> Decimal:
    """acos(x), from -1 to 1."""
    return 4 * arctangent((1 - x).sqrt() / (Decimal(2).sqrt() + (1 + x).sqrt()))


with localcontext(prec=DIGITS + 60):
    PI = 4 * arctangent(Decimal(1))
    LN_2, LN_10 = float(Decimal(2).ln()), float(Decimal(10).ln())


class Formula(NamedTuple):
    """A function: the library's in float64, its true value, and the gradient from (gradient, x, y), all float32."""

    library: Callable[[Tensor], Tensor]
    true_value: Callable[[Decimal], Decimal]
    gradient: Callable[[Tensor, Tensor, Tensor], Tensor]
    of_result: bool = False  # whether the gradient needs no x, which may then be changed in place


FORMULAS = {
    "exp": Formula(torch.exp, Decimal.exp, lambda g, x, y: g * y, True),
    "expm1": Formula(torch.expm1, exp_minus_1, lambda g, x, y: (y + 1) * g, True),
    "log": Formula(torch.log, Decimal.ln, lambda g, x, y: g / x),
    "log1p": Formula(torch.log1p, log_1_plus, lambda g, x, y: g / (x + 1)),
    "sqrt": Formula(torch.sqrt, Decimal.sqrt, lambda g, x, y: g / (y * 2), True),
    "rsqrt": Formula(lambda x: 1 / torch.sqrt(x), lambda x: 1 / x.sqrt(), lambda g, x, y: g / (x * -2) * y),
    "sigmoid": Formula(torch.sigmoid, lambda x: 1 / (1 + (-x).exp()), lambda g, x, s: (1 - s) * s * g, True),
    "tanh": Formula(torch.tanh, lambda x: (e := exp_minus_1(2 * x)) / (e + 2), lambda g, x, t: (1 - t * t) * g, True),
    "erf": Formula(torch.erf, error_function, lambda g, x, y: apply("exp", -x * x) * (2 / math.sqrt(math.pi)) * g),
    "softplus": Formula(
        lambda x: functional.softplus(x, threshold=50),
        lambda x: log_1_plus(x.exp()),
        lambda g, x, y: apply("sigmoid", x) * g,
    ),
    "exp2": Formula(torch.exp2, lambda x: Decimal(2) ** x, lambda g, x, y: y * LN_2 * g, True),
    "log2": Formula(torch.log2, lambda x: x.ln() / Decimal(2).ln(), lambda g, x, y: g / (x * LN_2)),
    "log10": Formula(torch.log10, Decimal.log10, lambda g, x, y: g / (x * LN_10)),
    "sinh": Formula(
        torch.sinh,
        lambda x: series(x, lambda n: x * x / (2 * n * (2 * n + 1))),
        lambda g, x, y: apply("cosh", x) * g,
    ),
    "cosh": Formula(torch.cosh, lambda x: (x.exp() + (-x).exp()) / 2, lambda g, x, y: apply("sinh", x) * g),
    "tan": Formula(torch.tan, lambda x: cosine(x, 1) / cosine(x), lambda g, x, y: (y * y + 1) * g, True),
    "atan": Formula(torch.atan, arctangent, lambda g, x, y: g / (x * x + 1)),
    "asin": Formula(torch.asin, arcsine, lambda g, x, y: g / apply("sqrt", (1 - x) * (1 + x))),
    "acos": Formula(torch.acos, arccosine, lambda g, x, y: -g / apply("sqrt", (1 - x) * (1 + x))),
    "asinh": Formula(
        torch.asinh,
        lambda x: log_1_plus(abs(x) + x * x / (1 + (1 + x * x).sqrt())).copy_sign(x),
        lambda g, x, y: g / apply("sqrt", x * x + 1),
    ),
    "acosh": Formula(
        torch.acosh,
        lambda x: log_1_plus(x - 1 + ((x - 1) * (x + 1)).sqrt()),
        lambda g, x, y: g / apply("sqrt", (x - 1) * (x + 1)),
    ),
    "atanh": Formula(torch.atanh, lambda x: log_1_plus(2 * x / (1 - x)) / 2, lambda g, x, y: g / ((1 - x) * (1 + x))),
    "sin": Formula(torch.sin, lambda x: cosine(x, 1), lambda g, x, y: apply("cos", x) * g),
    "cos": Formula(torch.cos, cosine, lambda g, x, y: -apply("sin", x) * g),
}


def raised(base: float) -> Formula:
    """base**x."""
    return Formula(
        lambda x: torch.pow(base, x),
        lambda x: Decimal(base) ** x,
        lambda g, x, y: (y * nearest_log(base) if base else -y.where(x < 0, 0)) * g,  # of 0 as PyTorch has it
    )


def power_of(exponent: float) -> Formula:
    """x**exponent."""
    return Formula(
        lambda x: torch.pow(x, exponent),
        lambda x: x ** Decimal(exponent),
        lambda g, x, y: apply(power_of(exponent - 1), x) * exponent * g,
    )


def apply(function: str | Formula, x: Tensor) -> Tensor:
    """The float32 nearest to a function, one of FORMULAS or another, of each number of float32 `x`, of any shape."""
    formula = FORMULAS[function] if isinstance(function, str) else function
    if needs_gradient(x):
        return OfOneNumber.apply(x, formula)
    return nearest(formula.library(x.double()), lambda index: formula.true_value(Decimal(x[index].item())))


class OfOneNumber(torch.autograd.Function):
    """As `apply`, with the gradient that the formula names."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, formula: Formula) -> Tensor:
        """The values."""
        y = apply(formula, x)  # here nothing needs a gradient
        ctx.formula = formula
        ctx.save_for_backward(None if formula.of_result else x, y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        """By the formula."""
        return ctx.formula.gradient(gradient, *ctx.saved_tensors), None


# With PyTorch's signatures


def of_one_number(name: str) -> Callable[..., Tensor]:
    """A function of FORMULAS."""

    def compute(x: Tensor, *inplace: Any, **_: Any) -> Tensor:
        check_float32(name, x)
        return apply(name, x)

    return compute


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """ln(1 + exp(beta * x)) / beta, and x itself where beta * x is above the threshold."""
    y = of_one_number("softplus")(x if beta == 1 else x * beta)
    return torch.where(x * beta > threshold, x, y if beta == 1 else y / beta)


def power(x: Any, exponent: Any) -> Any:
    """Whole powers by multiplications, others as functions of one number."""
    if any(isinstance(v, complex) or (isinstance(v, Tensor) and v.is_complex()) for v in (x, exponent)):
        raise refusal("pow", "complex numbers are not covered")
    if not is_float(x) and not is_float(exponent):
        return torch.pow(x, exponent)
    if isinstance(exponent, Tensor):
        if isinstance(x, Tensor):
            return power_of_two(*(value if is_float(value) else value.float() for value in (x, exponent)))
        exponent = exponent if is_float(exponent) else exponent.to(torch.float32)
        check_float32("pow", exponent)
        return apply(raised(float(x)), exponent)
    if not is_float(x):
        x = x.to(torch.float32)
    if exponent % 1 or abs(exponent) > 64:
        check_float32("pow", x)
        return apply(power_of(float(exponent)), x)
    result = None
    for _ in range(int(abs(exponent))):
        result = x if result is None else result * x
    result = torch.where(torch.ones_like(x, dtype=torch.bool), 1.0, x) if result is None else result  # with a gradient
    return torch.ones_like(result) / result if exponent < 0 else result


def power_of_two(x: Tensor, exponent: Tensor) -> Tensor:
    """Each number to its own power."""
    check_float32("pow", x, exponent)
    shape, shared = torch.broadcast_shapes(x.shape, exponent.shape), any(map(workers.is_of_images, (x, exponent)))
    each = [broadcast(value, shape, shared) for value in (x, exponent)]
    return Power.apply(*(value if value.shape == shape else value.expand(shape) for value in each))


class Power(torch.autograd.Function):
    """The float32 nearest to x**y, of tensors of one shape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        """The values."""
        found = torch.pow(x.double(), y.double())
        found = nearest(found, lambda index: Decimal(x[index].item()) ** Decimal(y[index].item()))
        ctx.save_for_backward(x, y, found)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        """0 by x where y is 0, and by y where x is 0 and y is not below."""
        x, y, found = ctx.saved_tensors
        for_x = torch.where(y == 0, 0, Power.apply(x, y - 1) * y * gradient)
        for_y = torch.where((x == 0) & (y >= 0), 0, apply("log", x) * found * gradient)
        return for_x, for_y


def is_float(value: Any) -> bool:
    """Whether a number, a tensor or a type of tensors is one of floats."""
    dtype = value.dtype if isinstance(value, Tensor) else value
    return isinstance(value, float) or (isinstance(dtype, torch.dtype) and dtype.is_floating_point)


# Python's own floats


@lru_cache(maxsize=1_000)
def nearest_power(base: float, exponent: float) -> float:
    """The float nearest to base**exponent, which systems' libraries miss in the last digit, each in its own way."""
    if not base or not math.isfinite(base) or not math.isfinite(exponent):
        return base**exponent
    with localcontext(prec=DIGITS):
        return float(Decimal(base) ** Decimal(exponent))


@lru_cache(maxsize=1_000)
def nearest_log(x: float) -> float:
    """The float nearest to ln(x)."""
    with localcontext(prec=DIGITS):
        return float(Decimal(x).ln()) if x > 0 else math.nan


@lru_cache(maxsize=1_000)
def cos(x: float) -> float:
    """The float nearest to cos(x)."""
    return float(cosine(Decimal(x)))
