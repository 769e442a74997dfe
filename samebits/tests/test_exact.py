"""Exact arithmetic against references of another kind: fractions and decimals, which don't round until the end."""

import math
import operator
import random
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import samebits
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samebits import functions, grid
from samebits.products import Convolver, convolution, convolution_backward
from torch.nn import functional

Tensors = tuple[torch.Tensor, ...]
# The same cases in every run, without a time limit, since the machine may be busy.
many = settings(max_examples=100, derandomize=True, deadline=None, database=None)
SIZES = st.integers(1, 6)
# Powers of two by which all of a matrix is scaled: from subnormal numbers to 1e30.
SCALES = st.sampled_from([-149, -126, -110, -60, -20, 0, 3, 40, 99])
SEEDS = st.integers(0, 10**6)
FIRST = 9  # rows and columns that are compared, as fractions take their time


def matrix(rows: int, columns: int, scale: int, seed: int, spread: int = 30) -> torch.Tensor:
    """Random float32 numbers of magnitudes 2**(scale - spread) to 2**scale, some 0 or halfway between others."""
    chance = random.Random(f"{rows} {columns} {seed}")
    values = [
        chance.choice([0.0, 1.0, 1.0, chance.uniform(0.5, 1), chance.randrange(2**9) / 2**9])
        * math.ldexp(chance.choice([-1, 1]), scale - chance.randrange(spread))
        for _ in range(rows * columns)
    ]
    return torch.tensor(values, dtype=torch.float32).view(rows, columns)


def layer(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, gradient: torch.Tensor) -> Tensors:
    """The results (n, m) of a layer and the gradients of x, weight and bias, given that of the results."""
    leaves = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
    with samebits.exact():
        y = functional.linear(*leaves)
        y.backward(gradient)
    return (y, *(leaf.grad for leaf in leaves))  # type: ignore[arg-type]


# The reference: whole numbers of units of a grid, which Python adds up without rounding


def on_grid(row: list[float], bits: int) -> list[Fraction]:
    """What is left of numbers beside one that is 2**(54 - bits) times the largest, in 53 bits, half to even."""
    numbers = [Fraction(value) for value in row]
    large = max(map(abs, numbers), default=Fraction(0)) * 2 ** (54 - bits)
    found = []
    for value in numbers:
        unit = Fraction(2) ** (math.frexp(float(large + value))[1] - 53) if large else 1
        found.append(round((large + value) / unit) * unit - large if large else Fraction(0))
    return found


def to_float32(value: Fraction) -> np.float32:
    """The nearest float32, half to even, by integers alone."""
    exponent = max(math.frexp(float(value))[1] - 24, -149)
    while value and abs(value) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    return np.float32(math.ldexp(round(value / Fraction(2) ** exponent), exponent))


def product(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """The first rows and columns of the product of a (n, k) and b (k, m): grids, exact sums, one rounding."""
    bits = grid.factor_bits(b.shape[0])
    left, right = ([on_grid(row, bits) for row in rows[:FIRST].tolist()] for rows in (a, b.t()))
    return np.array([[to_float32(sum(map(operator.mul, x, y))) for y in right] for x in left], np.float32)


def total(x: torch.Tensor) -> list[np.float32]:
    """The sum of each column."""
    return [to_float32(sum(on_grid(column, grid.term_bits(len(x))))) for column in x.t().tolist()]


def assert_exact(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, gradient: torch.Tensor) -> None:
    """A layer's results and gradients, the first rows and columns of each, are those of the reference."""
    rows, of_rows = x.flatten(0, -2), gradient.flatten(0, -2)
    with np.errstate(over="ignore"):
        expected = [product(rows, weight.t()) + bias.numpy()[:FIRST], product(of_rows, weight)]
        expected += [product(of_rows.t(), rows), np.array([total(of_rows[:, :FIRST])])]
    for found, right in zip(layer(x, weight, bias, gradient), expected, strict=True):
        np.testing.assert_array_equal(found.detach().reshape(-1, found.shape[-1])[:FIRST, :FIRST], right)


@many
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9), st.integers(9, 53))
def test_numbers_on_a_grid_are_whole_multiples_of_a_unit_and_near(row: list[float], bits: int) -> None:
    x = torch.tensor(row)
    found, largest = grid.on_grid(x, bits, (0,)).tolist(), x.abs().max().item()
    assert found == on_grid(x.tolist(), bits)
    if largest:
        unit = Fraction(2) ** (math.frexp(largest)[1] - bits)
        whole = [Fraction(value) / unit for value in found]
        assert all(value.denominator == 1 and abs(value) <= 2**bits for value in whole)
        assert all(abs(a - b) <= largest * 2.0 ** (2 - bits) for a, b in zip(found, x.tolist(), strict=True))


@many
@given(SIZES, SIZES, SIZES, SCALES, SCALES, SEEDS)
def test_products_are_exact_sums_of_rounded_factors(n: int, k: int, m: int, scale: int, other: int, seed: int) -> None:
    x, weight, bias = matrix(n, k, scale, seed), matrix(m, k, other, seed + 1), matrix(1, m, scale, seed + 2)[0]
    assert_exact(x, weight, bias, matrix(n, m, other, seed + 3))


@pytest.mark.parametrize("terms", [100, 784, 1_024, 10_000, 60_000, 2**20 + 1])
def test_the_largest_possible_sum_is_exact_and_needs_nearly_all_bits(terms: int) -> None:
    # All factors as large as can be, but for one that is a unit off: a sum that rounds would lose it.
    bits = grid.factor_bits(terms)
    assert terms * 2 ** (2 * bits) <= 2**53 < terms * 2 ** (2 * bits + 2)  # with a bit more it could be too large
    x, weight = (torch.full((1, terms), 1 - 2.0**-24) for _ in range(2))
    x[0, 0] = weight[0, -1] = 1 - math.ldexp(1.0, 1 - bits)
    a, b = (grid.on_grid(each, bits, (1,)) * 2.0**bits for each in (x, weight))
    assert a.max() == b.max() == 2**bits and a.min() == b.min() == 2**bits - 2
    expected = sum(int(p) * int(q) for p, q in zip(a[0].tolist(), b[0].tolist(), strict=True))
    for order in (slice(None), torch.randperm(terms, generator=torch.Generator().manual_seed(1))):
        assert int(torch.mm(a[:, order], b[:, order].t())) == expected


@pytest.mark.parametrize(("n", "k", "m"), [(3, 10_000, 2), (4, 2, 10_000), (30_000, 3, 2), (64, 9, 9)])
def test_wide_layers_large_batches_and_stacks_are_exact(n: int, k: int, m: int) -> None:
    # Numbers of both signs: what is left of their sum shows how each was rounded.
    draw = torch.Generator().manual_seed(n)
    x, weight, gradient = (torch.rand(shape, generator=draw).sub_(0.5) for shape in ((n, k), (m, k), (n, m)))
    stack = (n,) if n % 3 else (3, n // 3)
    assert_exact(x.view(*stack, k), weight, torch.zeros(m), gradient.view(*stack, m))


# What must not matter


@pytest.mark.parametrize("n", [0, 3, 9])
@pytest.mark.parametrize(
    ("size", "taps", "stride", "padding", "dilation"),
    [
        ([1, 1], [3, 3], [1, 1], [1, 1], [1, 1]),
        ([4, 9], [3, 2], [2, 3], [1, 0], [1, 2]),
        ([2, 2], [1, 1], *[[1, 1]] * 3),
        ([9, 7], [3, 3], [1, 1], [0, 0], [1, 1]),
    ],
)
def test_a_convolution_by_windows_or_by_some_images_gives_the_same_sums(n, size, taps, stride, padding, dilation):
    draw = torch.Generator().manual_seed(2)
    x, weight = (torch.randint(-9, 9, shape, generator=draw).double() for shape in ([n, 3, *size], [4, 3, *taps]))
    options = stride, padding, dilation, False, [0, 0], 1
    expected = torch.ops.aten.convolution(x, weight, None, *options)
    gradient = torch.randint(-9, 9, expected.shape, generator=draw).double()
    of_expected = torch.ops.aten.convolution_backward(gradient, x, weight, None, *options, [True, True, False])
    assert Convolver(x, weight, *options).by_windows == (math.prod(expected.shape[2:]) <= 16)
    found = convolution(x.float(), weight.float(), None, *options)
    assert torch.equal(found, expected.float()) and found.is_contiguous()
    factors = gradient.float(), x.float(), weight.float()
    for_x, for_weight, for_bias = convolution_backward(*factors, [4], *options, [True, True, True])
    assert torch.equal(for_x, of_expected[0].float()) and torch.equal(for_weight, of_expected[1].float())
    assert torch.equal(for_bias, gradient.sum((0, 2, 3)).float())


def test_what_is_computed_by_parts_has_the_bits_of_the_whole() -> None:
    x = torch.randn(5, 7, 2_000, generator=torch.Generator().manual_seed(3))
    on_the_grid = (x * 2**20).round() / 2**20  # so the sums of float64 are the right ones
    with samebits.exact():
        for dims in ((0,), (0, 2), (0, 1, 2)):
            expected = on_the_grid.numpy().astype(np.float64).sum(dims).astype(np.float32)
            np.testing.assert_array_equal(on_the_grid.sum(dims).numpy(), expected)
        assert torch.equal(x.exp(), torch.stack([part.exp() for part in x]))
        assert torch.equal(x.mT.sigmoid(), x.sigmoid().mT)
        x[:3], x[3], x[4], x[4, 0, :2] = 2.0**-30, 0, 0, torch.tensor([2.0**30, -(2.0**30)])
        assert x.sum() == x.flip(0).sum() == 0  # as the small ones are not on the grid of the large


# NaN, infinities, and what is too large


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["x", "weight", "gradient"])
def test_what_has_no_grid_makes_no_finite_number(bad: float, where: str) -> None:
    parts = {"x": matrix(3, 4, 0, 1), "weight": matrix(2, 4, 0, 2), "gradient": matrix(3, 2, 0, 3)}
    parts[where][1, 1] = bad
    y, for_x, for_weight, _ = layer(parts["x"], parts["weight"], torch.zeros(2), parts["gradient"])
    row, column = torch.tensor([[False], [True], [False]]), torch.tensor([False, True])
    assert torch.equal(~y.isfinite(), {"x": row, "weight": column}.get(where, torch.tensor(False)).expand(3, 2))
    of_all = torch.arange(4) == 1  # of the inputs
    assert torch.equal(
        ~for_x.isfinite(), {"weight": of_all, "gradient": row}.get(where, torch.tensor(False)).expand(3, 4)
    )
    by_output = {"x": of_all, "gradient": column[:, None]}.get(where, torch.tensor(False))
    assert torch.equal(~for_weight.isfinite(), by_output.expand(2, 4))


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        *(([0, bad, 0], math.nan) for bad in (math.nan, math.inf)),
        ([-math.inf, 0, 0], math.inf),
        *(([-loss, 0], np.float32(loss)) for loss in (699.5, 699.99, 700.01, 708.5, 720.3, 744.2, 745.5, 2e3, 1e30)),
    ],
)
def test_a_loss_may_be_large_or_infinite_or_no_number(logits: list[float], expected: float) -> None:
    # Below exp(-708) float64 has fewer bits than the logarithm needs.
    with samebits.exact():
        found = functional.cross_entropy(torch.tensor([logits]), torch.tensor([0]))
    np.testing.assert_equal(found.item(), expected)


# Functions


def probabilities(row: list[float]) -> list[Decimal]:
    exponentials = [(Decimal(z) - Decimal(max(row))).exp() for z in row]
    return [e / sum(exponentials) for e in exponentials]


LOGITS = st.lists(st.lists(st.floats(-90, 90, width=32), min_size=3, max_size=3), min_size=1, max_size=4)


@many
@given(LOGITS)
def test_probabilities_are_the_nearest(rows: list[list[float]]) -> None:
    logits = torch.tensor(rows)
    with localcontext(prec=60):
        expected = np.array([[to_float32(Fraction(value)) for value in probabilities(row)] for row in logits.tolist()])
    np.testing.assert_array_equal(samebits.probabilities(logits), expected)


@many
@given(LOGITS)
def test_the_loss_of_a_classifier_is_rounded_as_documented(rows: list[list[float]]) -> None:
    logits, labels = torch.tensor(rows), torch.arange(len(rows)) % 3
    with samebits.exact():
        loss = functional.cross_entropy(logits, labels)
    with localcontext(prec=60):
        logs = [probabilities(row)[label].ln() for row, label in zip(logits.tolist(), labels.tolist(), strict=True)]
    losses = [float(to_float32(Fraction(round(Fraction(-log) * 2**26), 2**26))) for log in logs]
    assert loss.item() == to_float32(sum(on_grid(losses, grid.term_bits(len(rows))))) / np.float32(len(rows))


RANGES = {"sqrt": (0, 90), "rsqrt": (2**-20, 90), "log1p": (-0.875, 90), "acosh": (1.0625, 90)}
RANGES |= {"atanh": (-63 / 64, 63 / 64), "erf": (-6, 6), "erfc": (-6, 6), "erfinv": (2**-24 - 1, 1 - 2**-24)}
RANGES |= dict.fromkeys(["log", "log2", "log10"], (2**-100, 90)) | dict.fromkeys(["asin", "acos"], (-1, 1))
REFERENCES = {"sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "rsqrt": lambda x: 1 / mpmath.sqrt(x),
              "exp2": lambda x: mpmath.power(2, x),
              "log2": lambda x: mpmath.log(x, 2)}  # fmt: skip


@pytest.mark.parametrize("name", functions.FUNCTIONS)
@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_functions_and_their_true_values_are_the_nearest(name: str, data: st.DataObject) -> None:
    low, high = RANGES.get(name, (-80, 80))
    near = st.floats(low, high, width=32) | st.floats(max(low, -(2**-10)), max(low, 0) + 2**-10, width=32).filter(
        lambda v: v >= low
    )
    value = data.draw(near)
    with mpmath.workdps(120):
        true = REFERENCES.get(name, getattr(mpmath, name, None))(mpmath.mpf(value))
        with localcontext(prec=functions.DIGITS):
            settled = functions.FUNCTIONS[name].true_value(Decimal(value))
        assert abs(mpmath.mpf(str(settled)) - true) <= abs(true) * mpmath.mpf(2) ** -60
        expected = to_float32(Fraction(Decimal(mpmath.nstr(true, 100))))
    x = torch.tensor([value], requires_grad=True)
    with samebits.exact():
        found = getattr(torch, name, getattr(functional, name, None))(x)
        found.sum().backward()
    np.testing.assert_array_equal(found.detach(), [expected])
    plain = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    getattr(torch, name, getattr(functional, name, None))(plain).backward(torch.ones(1).double())
    torch.testing.assert_close(x.grad.double(), plain.grad, rtol=1e-5, atol=1e-7)


def test_sigmoid_and_tanh_at_the_ends() -> None:
    x = torch.tensor([0, 1e-45, -1e-30, 1e-20, 104, -104, 1e30, -1e30, math.inf, -math.inf, math.nan])
    with samebits.exact():
        found = torch.stack([x.sigmoid(), x.tanh()])
    np.testing.assert_array_equal(found, torch.stack([x.double().sigmoid(), x.double().tanh()]).float())


def everything() -> list[bytes]:
    """The bits of functions, loss and gradients of 3,000 numbers, and of what is nearly halfway between two results."""
    draw = torch.Generator().manual_seed(7)
    x = torch.randn(300, 10, generator=draw).mul_(4).requires_grad_()
    small = torch.arange(1, 300, 2) * 2.0**-23
    with samebits.exact():
        found = [torch.sigmoid(x), torch.tanh(x), functional.cross_entropy(x, torch.arange(300) % 10)]
        found.append(torch.sigmoid(small))  # 1 / 2 + small / 4, less under 2**-25 of its last bit
    pairs = samebits.probabilities(torch.stack([small, 0 * small], 1))
    found += [pairs, samebits.probabilities(x.detach()), torch.autograd.grad(found[2], x)[0]]
    return [tensor.detach().numpy().tobytes() for tensor in found]


def off(function: Callable[..., torch.Tensor], units: int) -> Callable[..., torch.Tensor]:
    """A library's function of float64 whose results are up to so many units in the last place away."""

    def perturbed(x: torch.Tensor, *arguments: int) -> torch.Tensor:
        found = function(x, *arguments)
        if found.dtype != torch.float64:
            return found
        moved = torch.arange(found.numel()).remainder(2 * units + 1).sub(units).view(found.shape)
        found.view(torch.int64).add_(moved.where(found != 0, 0))
        return found

    return perturbed


def test_another_library_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, plain = everything(), functions.Function.__call__
    monkeypatch.setattr(torch.Tensor, "softmax", off(torch.Tensor.softmax, 8))
    monkeypatch.setattr(functions.Function, "__call__", lambda f, x: plain(f._replace(library=off(f.library, 8)), x))
    assert everything() == expected


def test_what_decimal_settles_is_what_the_library_has(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, settled = everything(), []
    plain = functions.settled
    monkeypatch.setattr(functions, "ERROR", 2.0**-28)

    def counted(low: torch.Tensor, high: torch.Tensor, round_: Callable, value: Callable) -> torch.Tensor:
        settled.append(int(low.ne(high).sum()))
        return plain(low, high, round_, value)

    monkeypatch.setattr(functions, "settled", counted)
    monkeypatch.setattr(functions.nearest, "__defaults__", (2.0**-28,))
    assert everything() == expected
    assert sum(settled) > 300, "too few went through decimal"


@pytest.mark.parametrize("p", [0, 0.25, 0.7, 1])
def test_dropout_drops_that_fraction_and_scales_the_rest(p: float) -> None:
    torch.manual_seed(3)
    x = matrix(50, 40, 0, 1).requires_grad_()
    with samebits.exact():
        found = functional.dropout(x, p)
        assert torch.equal(functional.dropout(x, p, training=False), x)
        (gradient,) = torch.autograd.grad(found.sum(), x)
    assert set(gradient.flatten().tolist()) <= {0.0, float(np.float32(1) / np.float32(1 - p if p < 1 else 1))}
    assert (gradient != 0).double().mean() == pytest.approx(1 - p, abs=0.05)
    assert torch.equal(found, x * gradient)
