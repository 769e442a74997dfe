"""What computes PyTorch's functions in the exact mode: the other modules, by the names that each has in PyTorch."""

from typing import Any

import torch
from samebits import composed, draws, functions, optimizers, products, sums, tables
from samebits.composed import losses, reductions
from samebits.errors import refusal
from samebits.sums import needs_gradient
from samebits.tables import Call, named
from torch import Tensor
from torch.nn import functional


def arange(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None, **options: Any) -> Tensor:
    """Of whole numbers, also as floats; of others a library may multiply or add."""
    numbers = (0, start, step) if end is None else (start, end, step)
    if any(number % 1 for number in numbers):
        raise refusal("arange", "only of whole numbers has it one right answer")
    is_float = any(isinstance(number, float) for number in numbers)
    first, last, each = map(int, numbers)
    return torch.arange(first, last, each, **options).to(dtype or (torch.float32 if is_float else torch.int64))


def stable(function: Call) -> Call:
    """A sort that leaves equal numbers in their order, whose gradients would else be exchanged."""
    return lambda x, dim=-1, descending=False, **_: function(x, dim=dim, descending=descending, stable=True)


def with_places(pool: Call) -> Call:
    """Max pooling that returns the places whatever is said, as PyTorch's functions of that name do."""
    return lambda *args, return_indices=True, **kwargs: pool(*args, return_indices=True, **kwargs)


def by_name(functions: dict[str, Call]) -> dict[Call, Call]:
    """What computes each of PyTorch's functions of these names, of which several may stand in one."""
    return {function: compute for names, compute in functions.items() for function in named(names)}


def in_place(name: str) -> Call:
    """The method that puts the results of another in the place of the numbers."""
    method = getattr(Tensor, name)
    return lambda x, *args, **kwargs: x.copy_(method(x.clone() if needs_gradient(x) else x, *args, **kwargs))


MAX_POOLS = "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d"
PRIMITIVES: dict[str, Call] = {
    "sum": sums.sum_,
    "cumsum": sums.cumsum,
    **{
        f"{name}{end}": sums.scattered(getattr(Tensor, f"{name}{end}"), pick, getattr(Tensor, f"add{end}"))
        for name, pick in (("scatter_add", torch.gather), ("index_add", torch.index_select))
        for end in ("", "_")
    },
    "expand broadcast_to": sums.expand,
    "expand_as": lambda x, other: sums.expand(x, *other.shape),
    "embedding": sums.embedding,
    **{name: sums.max_pool(getattr(functional, f"{name}_with_indices"), int(name[-2])) for name in MAX_POOLS},
    "linear": products.linear,
    "matmul mm bmm mv dot vdot __matmul__": products.matmul,
    "__rmatmul__": lambda b, a: products.matmul(a, b),
    "addmm": products.addmm,
    **{f"conv{n}d": products.convolution(n, transposed=False) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": products.convolution(n, transposed=True) for n in (1, 2, 3)},
    **{name: functions.of_one_number(name) for name in functions.FORMULAS},
    "softplus": functions.softplus,
    "pow __pow__": functions.power,
    "__rpow__": lambda exponent, x: functions.power(x, exponent),
    "square": lambda x: x * x,
    "reciprocal": lambda x: torch.ones_like(x) / x,
    "__rtruediv__ __rdiv__": lambda x, other: x.new_tensor(other) / x,
    "sort": stable(torch.sort),
    "argsort": stable(torch.argsort),
    "arange": arange,
    **draws.COMPUTED,
    **{f"arc{name[1:]}": functions.of_one_number(name) for name in functions.FORMULAS if name[0] == "a"},
}
COMPUTED = by_name(PRIMITIVES) | {function: sums.picked(function) for function in tables.PICKED}
COMPUTED[functional.unfold] = sums.unfold
COMPUTED |= dict.fromkeys((torch._C._nn.max_unpool2d, torch._C._nn.max_unpool3d), sums.max_unpool)
for name in MAX_POOLS:
    others = named(name) - {getattr(functional, name)} if "adaptive" in name else set()  # they return places, too
    for other in (getattr(functional, f"{name}_with_indices"), *others):
        COMPUTED[other] = with_places(COMPUTED[getattr(functional, name)])
del COMPUTED[torch.embedding]  # its arguments are in another order than those of torch.nn.functional
COMPOSED = by_name(optimizers.ADDING | composed.FUNCTIONS)
COMPOSED[torch.linalg.norm] = reductions.linalg_norm
for name in ("batch_norm", "embedding_bag", "instance_norm", *losses.FUNCTIONS):
    for other in named(name) - {getattr(functional, name)}:
        del COMPOSED[other]  # their arguments, too
KNOWN = tables.PLAIN | tables.ELEMENTWISE | tables.DIVIDE | COMPUTED.keys() | COMPOSED.keys()
for name in [method[:-1] for method in dir(Tensor) if hasattr(Tensor, method[:-1])]:
    if getattr(Tensor, name) in KNOWN - tables.TURN:
        COMPOSED |= dict.fromkeys(named(f"{name}_") - KNOWN, in_place(name))
COMPOSED[Tensor.__ipow__] = in_place("pow")
PLAIN = tables.PLAIN - COMPUTED.keys() - COMPOSED.keys() - tables.OF_ZEROS
DECIDES = named("sum") | COMPOSED.keys()  # they say themselves what is of images
