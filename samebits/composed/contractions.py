"""Products along any dimensions, by their letters or numbers."""

import math
import string
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from samebits.composed.layers import scaled
from torch import Tensor


def einsum(equation: str, *operands: Any) -> Tensor:
    """Two after two, from the left: letters that both have are summed as soon as nothing else has them."""
    operands = operands[0] if len(operands) == 1 and not isinstance(operands[0], Tensor) else operands
    letters, result = spelled(equation.replace(" ", ""), [x.dim() for x in operands])
    size: dict[str, int] = {}
    for own, x in zip(letters, operands, strict=True):
        size |= {letter: n for letter, n in zip(own, x.shape, strict=True) if n != 1 or letter not in size}
    parts = [along_diagonals(x, own, size) for own, x in zip(letters, operands, strict=True)]
    x, own = parts[0]
    for i in range(1, len(parts)):
        x, own = contracted(x, own, *parts[i], {*result, *(letter for _, later in parts[i + 1 :] for letter in later)})
    x, own = without(x, own, result)
    return x.permute([own.index(letter) for letter in result])


def spelled(equation: str, dims: list[int]) -> tuple[list[str], str]:
    """The letters of each operand, with so many dimensions, and of the result; capital ones in place of dots."""
    given, arrow, result = equation.partition("->")
    parts, free = given.split(","), [letter for letter in string.ascii_uppercase if letter not in equation]
    hidden = [n - len(part.replace("...", "")) if "." in part else 0 for part, n in zip(parts, dims, strict=True)]
    dots = free[: max(hidden)]
    letters = [part.replace("...", "".join(dots[len(dots) - n :])) for part, n in zip(parts, hidden, strict=True)]
    once = sorted(letter for letter in set(given) - set(",.") if given.count(letter) == 1)
    return letters, result.replace("...", "".join(dots)) if arrow else "".join([*dots, *once])


def along_diagonals(x: Tensor, own: str, size: dict[str, int]) -> tuple[Tensor, str]:
    """With each letter once, and stretched to its size."""
    for letter in set(own):
        while own.count(letter) > 1:
            first, second = own.index(letter), own.rindex(letter)
            x = x.diagonal(0, first, second)
            own = own[:first] + own[first + 1 : second] + own[second + 1 :] + letter
    shape = [size[letter] for letter in own]
    return x if list(x.shape) == shape else x.expand(shape), own


def without(x: Tensor, own: str, kept: Any) -> tuple[Tensor, str]:
    """The sum of `x` along the letters that are not kept."""
    dims = [i for i, letter in enumerate(own) if letter not in kept]
    return x.sum(dims) if dims else x, "".join(letter for letter in own if letter in kept)


def contracted(a: Tensor, of_a: str, b: Tensor, of_b: str, kept: set[str]) -> tuple[Tensor, str]:
    """The product of two, summed along the letters that are not kept, as a stack of matrices."""
    a, of_a = without(a, of_a, kept | set(of_b))
    b, of_b = without(b, of_b, kept | set(of_a))
    both = [letter for letter in of_a if letter in of_b]
    stack, inner = ([letter for letter in both if (letter in kept) == stays] for stays in (True, False))
    rows, columns = ([letter for letter in own if letter not in both] for own in (of_a, of_b))
    size = dict(zip(of_a + of_b, (*a.shape, *b.shape), strict=True))

    def matrices(x: Tensor, own: str, *parts: list[str]) -> Tensor:
        shape = [math.prod(size[letter] for letter in part) for part in parts]
        return x.permute([own.index(letter) for letter in sum(parts, stack)]).reshape(*(size[n] for n in stack), *shape)

    product = matrices(a, of_a, rows, inner) @ matrices(b, of_b, inner, columns)
    return product.reshape([size[letter] for letter in (*stack, *rows, *columns)]), "".join((*stack, *rows, *columns))


def tensordot(a: Tensor, b: Tensor, dims: Any = 2, **_: Any) -> Tensor:
    """Summed along the last `dims` of `a` and the first of `b`, or along those that two lists name."""
    of_a, of_b = (range(-dims, 0), range(dims)) if isinstance(dims, int) else dims
    letters = string.ascii_letters[: a.dim()], [*string.ascii_letters[a.dim() : a.dim() + b.dim()]]
    for i, j in zip(of_a, of_b, strict=True):
        letters[1][j] = letters[0][i]
    both = {*letters[0]} & {*letters[1]}
    result = "".join(letter for letter in (*letters[0], *letters[1]) if letter not in both)
    return einsum(f"{letters[0]},{''.join(letters[1])}->{result}", a, b)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "einsum": einsum,
    "tensordot": tensordot,
    "inner": lambda x, other: tensordot(x, other, ([-1], [-1])) if x.dim() and other.dim() else x * other,
    "outer ger": lambda x, vec2: x.unsqueeze(1) * vec2,
    "addr": lambda x, vec1, vec2, beta=1, alpha=1: (x * beta if beta else 0) + vec1.unsqueeze(1) * vec2 * alpha,
    "trace": lambda x: x.diagonal().sum(),
    "addmv": lambda x, mat, vec, beta=1, alpha=1: (x * beta if beta else 0) + mat @ vec * alpha,
    "baddbmm": lambda x, batch1, batch2, beta=1, alpha=1: (x * beta if beta else 0) + batch1 @ batch2 * alpha,
    "bilinear": lambda x, y, weight, bias=None: scaled(einsum("...i,kij,...j->...k", x, weight, y), None, bias),
    "multi_dot": lambda matrices: reduce(torch.matmul, matrices),
}
