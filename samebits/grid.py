"""The grid: numbers with so few bits that sums of them, or of their products, never round.

A float64 holds every whole number up to 2**53. So if all terms of a sum are multiples of one unit, and the sum is at
most 2**53 units, no partial sum rounds either: whoever adds, in whatever order, gets the one right answer. It is the
error-free splitting of Ozaki et al. (2012, Numerical Algorithms 59) with one slice, in the spirit of Demmel and
Nguyen's reproducible sums (2013).
"""

import math

import torch
from samebits.errors import refusal
from torch import Tensor

SUM_BITS = 53  # of float64


def term_bits(terms: int) -> int:
    """How many bits each of `terms` numbers may have so that they add up without rounding."""
    return SUM_BITS - (terms - 1).bit_length()


def factor_bits(terms: int) -> int:
    """How many bits each of two factors may have so that `terms` products of theirs add up without rounding.

    A factor is at most 2**bits units of its grid, a product 2**(2 * bits) of the product's, and a sum of `terms` of
    them must not exceed 2**53: 21 bits for 784 inputs, 18 for 60,000 images.
    """
    return term_bits(terms) // 2


def check_float32(x: Tensor) -> None:
    """Raise NotExactError for numbers of another type."""
    if x.dtype != torch.float32:
        raise refusal(
            "a sum or product", f"it is of {str(x.dtype).removeprefix('torch.')}; only of float32 is it exact"
        )


def on_grid(x: Tensor, bits: int, most: Tensor | tuple[int, ...]) -> Tensor:
    """float32 `x` as float64 with at most `bits` bits: whole multiples of a power of two.

    It is one for all along some dimensions: `most` is the largest magnitude along them, or says which they are. What
    becomes of a number depends on nothing else; it is NaN if the largest is not finite.
    """
    most = most if isinstance(most, Tensor) else largest(x, most)
    # Beside a number that is 2**(54 - bits) times the largest, a float64 has so many bits left, or one less.
    times = math.ldexp(1.0, SUM_BITS + 1 - bits)
    return x.double().add_(most, alpha=times).sub_(most, alpha=times)


def largest(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The largest magnitudes of float32 `x` along `dims`, which stay as 1, as float64; raises NotExactError."""
    check_float32(x)
    return (x.abs().amax(dims, keepdim=True) if x.numel() else x.new_zeros(())).double()


AT_ONCE = 2**16  # numbers that stay in a processor's caches: what is made of more is new memory, which takes longer


def parts(x: Tensor) -> tuple[Tensor, ...]:
    """`x` (n, ...) by so many numbers, or more if one of n has more; whole on a GPU, or if workers share it."""
    is_here = type(x) is Tensor and x.device.type == "cpu"
    return x.split(max(AT_ONCE * len(x) // max(x.numel(), 1), 1)) if is_here else (x,)


def joined(each: list[Tensor]) -> Tensor:
    """Parts along the first dimension as one tensor."""
    return torch.cat(each) if len(each) > 1 else each[0]


def over(x: Tensor, n: float) -> Tensor:
    """x / n, where a GPU would multiply by the rounded reciprocal of a plain number."""
    return x / (n if x.device.type == "cpu" else torch.full((), n, dtype=x.dtype, device=x.device))
