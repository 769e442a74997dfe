"""The grid: numbers with so few bits that sums of them, or of their products, never round.

A float64 holds every whole number up to 2**53. So if all terms of a sum are multiples of one unit, and the sum is at
most 2**53 units, no partial sum rounds either: whoever adds, in whatever order, gets the one right answer. It is the
error-free splitting of Ozaki et al. (2012, Numerical Algorithms 59) with one slice, in the spirit of Demmel and
Nguyen's reproducible sums (2013).
"""

import math
from typing import Any

import torch
from samebits import workers
from torch import Tensor

SUM_BITS = 53  # of float64
SMALLEST = -126  # the power of two below which float32 has subnormal numbers only, all on one grid


def term_bits(terms: Any) -> Any:
    """How many bits each of `terms` numbers may have so that they add up without rounding; of a tensor for each."""
    if isinstance(terms, Tensor):
        return SUM_BITS - torch.frexp((terms - 1).double()).exponent
    return SUM_BITS - (terms - 1).bit_length()


def factor_bits(terms: int) -> int:
    """How many bits each of two factors may have so that `terms` products of theirs add up without rounding.

    A factor is at most 2**bits units of its grid, a product 2**(2 * bits) of the product's, and a sum of `terms` of
    them must not exceed 2**53: 21 bits for 784 inputs, 18 for 60,000 images.
    """
    return term_bits(terms) // 2


def on_grid(x: Tensor, bits: int, *, shared: bool = False) -> Tensor:
    """float32 `x` rounded to multiples of 2**(e - bits), half to even, as float64; 2**e is above its largest magnitude.

    If `shared`, above the largest magnitude of all workers' tensors. All is NaN if that is not finite.
    """
    low, high = torch.aminmax(x) if x.numel() else (x.new_zeros(()),) * 2
    largest = max(-float(low), float(high))
    if shared:
        largest = workers.largest(largest)
    if not math.isfinite(largest):
        return torch.full_like(x, math.nan, dtype=torch.float64)
    return fixed(x.double(), bits - max(math.frexp(largest)[1], SMALLEST))


def on_grids(x: Tensor, bits: int, dims: tuple[int, ...], *, shared: bool = False) -> Tensor:
    """As `on_grid`, but what lies along `dims` has a grid of its own, so that it does not depend on anything else."""
    none = [1 if dim in dims else size for dim, size in enumerate(x.shape)]
    largest = x.abs().amax(dims, keepdim=True) if x.numel() else x.new_zeros(none)
    return below(x, bits, workers.largest_of(largest) if shared else largest)


def below(x: Tensor, bits: Any, largest: Tensor) -> Tensor:
    """As `on_grid`, where `largest` are the largest magnitudes of what shares a grid, 0 or more, in the form of `x`.

    `bits` are the same for all, or int32 in that form, too.
    """
    exponent = largest.view(torch.int32).long() >> 23  # of 2**(exponent + SMALLEST); 255 if not finite
    # The magic numbers by the bits of a float64: 52 of the mantissa, whose first is the half of 1.5, above them 11.
    magic = (exponent + (SMALLEST + SUM_BITS - 1 - bits + 1023) << 52) + (1 << 51)
    magic = magic.view(torch.float64).where(exponent < 255, math.nan)
    return x.double().add_(magic).sub_(magic)


def fixed(x: Tensor, bits: int) -> Tensor:
    """float64 `x`, of magnitudes below 2**(51 - bits), rounded to multiples of 2**-bits, half to even, in place."""
    magic = math.ldexp(1.5, SUM_BITS - 1 - bits)  # whose last bit is the unit
    x += magic
    x -= magic
    return x


def divisor(n: Any, x: Tensor) -> Any:
    """What to divide `x` by: `n`, but on a GPU a tensor, as of a plain number it takes the rounded reciprocal."""
    return n if x.device.type == "cpu" else torch.as_tensor(n, dtype=x.dtype, device=x.device)
