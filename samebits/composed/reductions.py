"""One number of many: means, norms, products, ranks."""

import math
from collections.abc import Callable
from typing import Any

import torch
from samebits import workers
from samebits.sums import dims_of
from torch import Tensor

Dim = Any  # None, an int or several


def count(x: Tensor, dim: Dim) -> int:
    """How many numbers of `x`, of all workers' if it is of their images, are in a sum along `dim`."""
    dims = dims_of(x, dim)
    own = math.prod(x.shape[d] for d in dims)
    return workers.rows(own) if workers.is_of_images(x) and 0 in dims else own


def var(x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None) -> Tensor:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    centered = x - x.mean(dims_of(x, dim), True)
    freedom = count(x, dim) - (unbiased if correction is None else correction)
    return (centered * centered).sum(dim, keepdim) / max(freedom, 0)


def var_mean(x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, **kwargs: Any) -> Any:
    return var(x, dim, unbiased, keepdim, **kwargs), x.mean(None if isinstance(dim, bool) else dim, keepdim)


def root(x: Tensor) -> Tensor:
    """Square roots, without a gradient where they are 0."""
    return x.where(x != 0, 1).sqrt() * (x != 0)


def std_mean(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    variance, mean = var_mean(*args, **kwargs)
    return root(variance), mean


def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The first of all, sorted, so that it is the same ones of equal numbers everywhere."""
    return torch.return_types.topk(part.narrow(dim, 0, k) for part in x.sort(dim, descending=largest))  # type: ignore[arg-type]


def norm(x: Tensor, p: Any = 2, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Of `p` from 1 to infinity."""
    if p == math.inf:
        return x.abs().amax(dims_of(x, dim), keepdim)
    if p == 1:
        return x.abs().sum(dim, keepdim)
    if p in (2, "fro", None):
        return root((x * x).sum(dim, keepdim))
    if isinstance(p, str) or p < 1:
        raise NotImplementedError(f"a norm of order {p}; 1 to infinity are covered")
    total = (x.abs() ** p).sum(dim, keepdim)
    return total.where(total != 0, 1) ** (1 / p) * (total != 0)


def linalg_norm(x: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Of vectors; of matrices the Frobenius norm."""
    is_of_matrices = x.dim() == 2 if dim is None else not isinstance(dim, int) and len(dim) == 2
    if is_of_matrices and ord not in (None, "fro"):
        raise NotImplementedError(f"a matrix norm of order {ord}")
    return norm(x, ord, dim, keepdim)


def cumprod(x: Tensor, dim: int) -> Tensor:
    """Of each number and those before it: with the nearest one, then with those of two, of four, ..."""
    x, reach = x if x.is_floating_point() else x.long(), 1
    while x.dim() and reach < x.shape[dim]:
        rest = x.narrow(dim, reach, x.shape[dim] - reach)
        x = torch.cat([x.narrow(dim, 0, reach), rest * x.narrow(dim, 0, x.shape[dim] - reach)], dim)
        reach *= 2
    return x


def along(x: Tensor, dim: int | None) -> tuple[Tensor, int]:
    """All numbers in a row, unless `dim` names those that are."""
    return (x.flatten(), 0) if dim is None or x.dim() == 0 else (x, dim)


def prod(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    x, dim = along(x, dim)
    ones = x.new_ones([n if d != dim % x.dim() else 1 for d, n in enumerate(x.shape)])
    found = cumprod(torch.cat([ones, x], dim), dim).narrow(dim, x.shape[dim], 1)
    return found if keepdim else found.squeeze(dim)


def ranked(x: Tensor, k: int, dim: int = -1, keepdim: bool = False, nan: bool = False) -> tuple[Tensor, Tensor]:
    """The k-th smallest number along `dim`, and its place; if `nan`, NaN where there is one."""
    x, dim = along(x, dim)
    if not 1 <= k <= x.shape[dim]:
        raise RuntimeError(f"expected a k from 1 to {x.shape[dim]}, found {k}")
    values, places = x.sort(dim)
    found, last = ([part.narrow(dim, i, 1) for part in (values, places)] for i in (k - 1, x.shape[dim] - 1))
    if nan:
        found = [torch.where(last[0] == last[0], *each) for each in zip(found, last, strict=True)]
    return (found[0], found[1]) if keepdim else (found[0].squeeze(dim), found[1].squeeze(dim))


def median(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    row, which = along(x, dim)
    found = ranked(row, (row.shape[which] + 1) // 2, which, keepdim, nan=True)
    return found[0] if dim is None else torch.return_types.median(found)  # type: ignore[arg-type]


def quantile(x: Tensor, q: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """By lines between the numbers in order, for one `q` from 0 to 1."""
    if not isinstance(q, float | int):
        raise NotImplementedError("several quantiles at once")
    if not 0 <= q <= 1:
        raise RuntimeError(f"expected a q from 0 to 1, found {q}")
    x, dim = along(x, dim)
    place = q * (x.shape[dim] - 1)
    low, high = (ranked(x, 1 + each, dim, keepdim, nan=True)[0] for each in (math.floor(place), math.ceil(place)))
    return low + (high - low) * (place % 1)


def diff(x: Tensor, n: int = 1, dim: int = -1) -> Tensor:
    for _ in range(n):
        x = x.narrow(dim, 1, x.shape[dim] - 1) - x.narrow(dim, 0, x.shape[dim] - 1)
    return x


def logaddexp(x: Tensor, other: Tensor) -> Tensor:
    distance = torch.where(x == other, 0, x - other)  # of infinities, too
    return torch.maximum(x, other) + (-distance.abs()).exp().log1p()


def logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    most = x.detach().amax(dim, True)
    most = most.where(most.abs() != math.inf, 0)
    total = (x - most).exp().sum(dim, True)
    found = torch.where(total == 0, -math.inf, total.where(total != 0, 1).log() + most)
    return found if keepdim else found.squeeze(dim)


NAMES = "var var_mean std_mean topk norm cumprod prod median quantile diff logaddexp logsumexp"
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: globals()[name] for name in NAMES.split()},
    "mean": lambda x, dim=None, keepdim=False: x.sum(dim, keepdim) / count(x, dim),
    "std": lambda x, *args, **kwargs: root(x.var(*args, **kwargs)),
    "any _is_any_true": lambda x, dim=None, keepdim=False: (x != 0).sum(dim, keepdim) > 0,  # over all workers' images
    "all _is_all_true": lambda x, dim=None, keepdim=False: (x == 0).sum(dim, keepdim) == 0,
    "nansum": lambda x, dim=None, keepdim=False: x.where(x == x, 0).sum(dim, keepdim),
    "nanmean": lambda x, dim=None, keepdim=False: x.where(x == x, 0).sum(dim, keepdim) / (x == x).sum(dim, keepdim),
    "kthvalue": lambda *args, **kwargs: torch.return_types.kthvalue(ranked(*args, **kwargs)),
    "dist": lambda x, other, p=2: norm(x - other, p),
    "vector_norm": lambda x, ord=2, dim=None, keepdim=False: norm(x, ord, dim, keepdim),
    "matrix_norm": lambda x, ord="fro", dim=(-2, -1), keepdim=False: linalg_norm(x, ord, dim, keepdim),
    "cdist": lambda x, y, p=2.0, *_, **__: norm(x.unsqueeze(-2) - y.unsqueeze(-3), p, -1),
}
