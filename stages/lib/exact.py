"""Arithmetic that can't round differently: the same bits on every processor, with any number of threads or workers.

A computer rounds every sum, so a + (b + c) differs from (a + b) + c in its last bit. Libraries add in whatever order is
fastest on the machine they find, and training doubles such a difference over and over. Fixing the order would mean
fixing the machine. Here the order does not matter, as the sums are exact: before two matrices are multiplied, each
number is rounded to a multiple of one power of two, to so few bits that no sum of their products needs more than the
53 bits of a float64. Whoever adds, in whatever order, gets the one right sum. It is the error-free splitting of Ozaki
et al. (2012, Numerical Algorithms 59) with one slice, in the spirit of Demmel and Nguyen's reproducible sums (2013).

Functions such as exp come from the machine's library, in float64, where it is off by a few of the last bits. Only the
first half of the bits is kept, and where the others can't say how to round, Python's `decimal` does. All else is one
addition, subtraction, multiplication, division, square root, comparison or conversion at a time, never two in one
instruction: each has one right answer by IEEE 754. numerics.py puts these functions in the place of PyTorch's.
"""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

from stages.lib import workers

import torch

SUM_BITS = 53  # of float64
SMALLEST = -126  # the power of two below which float32 has subnormal numbers only, all on one grid


# The grid: numbers with few bits


def factor_bits(terms: int) -> int:
    """How many bits each of two factors may have so that `terms` products of theirs add up without rounding.

    A factor is at most 2**bits units of its grid, a product 2**(2 * bits) of the product's, and a sum of `terms` of
    them must not exceed 2**53, up to which every integer is a float64: 21 bits for 784 inputs, 18 for 60,000 images.
    """
    return (SUM_BITS - bits_of(terms)) // 2


def bits_of(terms: int) -> int:
    """The logarithm of `terms` to base 2, rounded up."""
    return (terms - 1).bit_length()


def on_grid(x: torch.Tensor, bits: int, *, shared: bool = False) -> torch.Tensor:
    """float32 `x` rounded to multiples of 2**(e - bits), half to even, as float64; 2**e is above its largest magnitude.

    If `shared`, above the largest magnitude of all workers' tensors. All is NaN if that is not finite.
    """
    low, high = torch.aminmax(x) if x.numel() else (x.new_zeros(()),) * 2
    largest = max(-float(low), float(high))
    if shared:
        largest = workers.largest(largest)
    if not math.isfinite(largest):
        return torch.full_like(x, math.nan, dtype=torch.float64)
    exponent = max(math.frexp(largest)[1], SMALLEST)
    return fixed(x.double(), bits - exponent)


def on_grid_by_row(x: torch.Tensor, bits: int) -> torch.Tensor:
    """As `on_grid`, but each row of `x` (n, k) has a grid of its own, so that it does not depend on the others."""
    exponent = x.abs().amax(1, keepdim=True).view(torch.int32) >> 23  # from SMALLEST on; 255 if not finite
    magic = [*(magic_number(bits - SMALLEST - e) for e in range(255)), math.nan]
    return rounded(x.double(), torch.tensor(magic, dtype=torch.float64, device=x.device).take(exponent.long()))


def fixed(x: torch.Tensor, bits: int) -> torch.Tensor:
    """float64 `x`, of magnitudes below 2**(51 - bits), rounded to multiples of 2**-bits, half to even, in place."""
    return rounded(x, magic_number(bits))


def magic_number(bits: int) -> float:
    """The float64 that leaves `bits` bits after the point to what is added to it."""
    return math.ldexp(1.5, SUM_BITS - 1 - bits)


def rounded(x: torch.Tensor, magic: float | torch.Tensor) -> torch.Tensor:
    """float64 `x` rounded to units of the last bit of magic numbers, half to even, in place."""
    x += magic
    x -= magic
    return x


def divisor(n: Any, x: torch.Tensor) -> Any:
    """What to divide `x` by: `n`, but on a GPU a tensor, as of a plain number it takes the rounded reciprocal."""
    return n if x.device.type == "cpu" else torch.as_tensor(n, dtype=x.dtype, device=x.device)


# The product of matrices


class Linear(torch.autograd.Function):
    """x (n, k) times weight (m, k) transposed, plus bias (m,) or None: (n, m) float32.

    `images` is the largest number of rows, of all workers together, over which the gradient of the weight is summed.
    Each exact sum is rounded to float32 once.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, images: int
    ) -> torch.Tensor:
        """The products, from grids that the backward pass uses again."""
        ctx.bits = factor_bits(max(images, *weight.shape))
        x, weight = on_grid(x, ctx.bits, shared=True), on_grid(weight, ctx.bits)
        ctx.save_for_backward(x, weight)
        return affine(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        """Sums over the outputs for x, and over the images of all workers for weight and bias."""
        x, weight = ctx.saved_tensors
        gradient = on_grid(gradient, ctx.bits, shared=True)
        for_weight, for_bias = workers.total(torch.mm(gradient.t(), x), gradient.sum(0))
        for_x = torch.mm(gradient, weight).float() if ctx.needs_input_grad[0] else None
        return for_x, for_weight.float(), for_bias.float() if ctx.needs_input_grad[2] else None, None


def infer(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """What Linear computes where nothing is trained: here the result of a row depends on that row alone."""
    bits = factor_bits(x.shape[1])
    return affine(on_grid_by_row(x, bits), on_grid(weight, bits), bias)


def affine(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The exact sums of products of two matrices on their grids, rounded to float32, plus the bias, rounded again."""
    sums = torch.mm(x, weight.t()).float()
    if bias is not None:
        sums += bias
    return sums


# Functions: the library's in float64, of which the first half of the bits is kept

# How far the library's value may be from the true one, relative to it: 128 units in the last place of a float64. For
# exp, log, tanh and what is made of one of them, libraries promise 4 or less.
ERROR = 2.0**-45


Index = tuple[int, ...]  # of an element


def settled(
    low: torch.Tensor,
    high: torch.Tensor,
    round_: Callable[[torch.Tensor], torch.Tensor],
    true_value: Callable[[Index], Decimal],
) -> torch.Tensor:
    """What `round_` makes, perhaps in place, of the true values, which lie from `low` to `high`, both float64.

    Nearly always it makes the same of both, and so of what lies between. The few others, about one of 2**20 when
    rounding to float32, are worked out anew from true_value(index). This is the test of Ziv (1991, ACM Transactions on
    Mathematical Software 17). NaN stays NaN.
    """
    first, last = round_(low), round_(high)
    if not torch.equal(first, last):
        for index in map(tuple, (first.ne(last) & low.eq(low)).nonzero().tolist()):
            with localcontext(prec=40):
                value = float(true_value(index))
            first[index] = round_(low.new_tensor(value))
    return first


def nearest(values: torch.Tensor, true_value: Callable[[Index], Decimal], error: float = ERROR) -> torch.Tensor:
    """The float32 nearest to the true values, which float64 `values` have to within a relative `error`."""
    return settled(values.mul(1 - error), values.mul(1 + error), torch.Tensor.float, true_value)


class Sigmoid(torch.autograd.Function):
    """The float32 nearest to 1 / (1 + exp(-x)), of float32 x of any shape."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """The values, which the derivatives are made of."""
        s = nearest(x.double().sigmoid(), lambda index: 1 / (1 + (-Decimal(x[index].item())).exp()))
        ctx.save_for_backward(s)
        return s

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """s * (1 - s) times the gradient, in float32."""
        (s,) = ctx.saved_tensors
        return (1 - s).mul_(s).mul_(gradient)


class Tanh(torch.autograd.Function):
    """The float32 nearest to tanh(x) = 1 - 2 / (exp(2x) + 1), of float32 x of any shape."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """The values, which the derivatives are made of."""
        t = nearest(x.double().tanh(), lambda index: 1 - 2 / ((2 * Decimal(x[index].item())).exp() + 1))
        ctx.save_for_backward(t)
        return t

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """1 - t**2 times the gradient, in float32."""
        (t,) = ctx.saved_tensors
        return (1 - t * t).mul_(gradient)


def dropout(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """float32 `x`, images first, in training each number 0 with probability `p` and else divided by 1 - p.

    Every worker draws for the images of all, so that what is dropped does not depend on how they are shared out.
    """
    if not training:
        return x
    (images,) = workers.total(torch.tensor(len(x)))
    kept = workers.share(torch.rand(int(images), *x.shape[1:]) >= p).to(x.device)
    return (x * kept).div(divisor(1 - p if p < 1 else 1, x))


# The loss


class Softmax:
    """The probabilities of float32 logits (n, classes), as the library has them in float64."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits
        self.values = logits.double().softmax(1)
        # The library adds up the exponentials in its own order, at half a unit in the last place for each.
        self.error = ERROR + logits.shape[1] * 2.0**-53

    def nearest(self) -> torch.Tensor:
        """The float32 nearest to each probability, (n, classes)."""
        return nearest(self.values, self._true_value, self.error)

    def losses(self, labels: torch.Tensor, images: int) -> torch.Tensor:
        """-ln(probability of the label) of each image in nats, (n, 1), on a grid so that up to `images` add up exactly.

        It is infinite from LOSS_MOST on: float64 has fewer bits for probabilities below exp(-708).
        """
        bits = min(LOSS_BITS, SUM_BITS - LOSS_LIMIT - bits_of(images))
        logs = self.values.gather(1, labels.unsqueeze(1)).log_()
        error = self.error + LOSS_MOST * 2.0**-50  # of the probability, and 4 last places of its logarithm
        logs = settled(
            logs.sub(error),
            logs + error,
            lambda x: fixed(x, bits),
            lambda index: self._true_value((index[0], int(labels[index[0]]))).ln(),
        )
        return torch.threshold_(logs, -LOSS_MOST, -math.inf).neg_()

    def _true_value(self, index: Index) -> Decimal:
        row = [Decimal(z) for z in self.logits[index[0]].tolist()]
        exponentials = [(z - max(row)).exp() for z in row]
        return exponentials[index[1]] / sum(exponentials)


def softmax(logits: torch.Tensor) -> torch.Tensor:
    """The float32 nearest to each of the probabilities, (n, classes), of float32 logits of that shape."""
    return Softmax(logits).nearest()


LOSS_BITS = 26  # after the point, of an image's loss; fewer if more than 2**17 images are summed
LOSS_LIMIT = 10  # bits before the point
LOSS_MOST = 700  # nats


class CrossEntropy(torch.autograd.Function):
    """The mean of -ln(softmax(logits)[label]) over the images of all workers, `images` at most: float32 in nats."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor, images: int) -> torch.Tensor:
        """The loss, and its gradient (softmax - one_hot(label)) / n."""
        probabilities = Softmax(logits)
        loss, n = workers.total(probabilities.losses(labels, images).sum(), len(labels))
        differences = probabilities.nearest().scatter_(1, labels.unsqueeze(1), -1, reduce="add")
        ctx.save_for_backward(differences.div_(divisor(n, differences)))
        return loss.div_(divisor(n, loss)).float()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        """The gradient of the logits; none of the labels."""
        (for_logits,) = ctx.saved_tensors
        return for_logits * gradient, None, None
