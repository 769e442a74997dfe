"""The steps of PyTorch's optimizers, exactly: in their methods that do several operations at once, one at a time.

param.add_(grad, alpha=-lr) is one instruction on some processors, which rounds once, and two on others.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stages.lib import exact
from stages.lib.errors import PipelineError

import torch
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

# They use nothing but METHODS and functions that do one operation for each element.
OPTIMIZERS = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW


@contextmanager
def exactly() -> Iterator[None]:
    """Within it, optimizers compute the same bits everywhere; others than OPTIMIZERS raise PipelineError."""
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: refuse_unknown(optimizer))
    try:
        for name, method in METHODS.items():
            setattr(torch.Tensor, name, method)
        yield
    finally:
        for name, method in ORIGINALS.items():
            setattr(torch.Tensor, name, method)
        hook.remove()


def refuse_unknown(optimizer: Optimizer) -> None:
    """Raise PipelineError unless the optimizer is one of OPTIMIZERS, in its plain form."""
    name = f"torch.optim.{type(optimizer).__name__}"
    if type(optimizer) not in OPTIMIZERS:
        raise refusal(name, f"only {', '.join(known.__name__ for known in OPTIMIZERS)} are known to be exact")
    for group in optimizer.param_groups:
        for option in ("foreach", "fused", "capturable", "differentiable"):
            if group.get(option):
                raise refusal(f"{name} with {option}", "it computes in another way; leave that out")
        if group["foreach"] is None and group["params"][0].device.type != "cpu":
            raise refusal(f"{name} with foreach", "that is its default on this device; pass foreach=False")


def refusal(name: str, reason: str) -> PipelineError:
    """The error for what might round differently elsewhere."""
    return PipelineError(
        f"numerics: exact can't promise the same bits with {name}: {reason}; "
        "teach it to stages/lib/numerics.py, or set numerics: native"
    )


class Number(float):
    """A float whose powers are made of multiplications and square roots, as those of libraries differ between systems.

    torch.optim.Adam takes 1 - beta**step, and the square root of that, from the number of its steps, step.item().
    """

    def __rpow__(self, base: float) -> "Number":  # type: ignore[override]
        power = 1.0
        for bit in f"{int(self):b}":
            power = power * power * (base if bit == "1" else 1.0)
        return Number(power)

    def __rsub__(self, other: float) -> "Number":
        return Number(other - float(self))

    def __pow__(self, exponent: float) -> "Number":  # type: ignore[override]
        if exponent != 0.5:
            raise refusal(f"a power of {exponent}", "only whole powers and the square root have one right answer")
        return Number(math.sqrt(self))


def add(x: torch.Tensor, other: Any, *, alpha: float = 1) -> torch.Tensor:
    """x + alpha * other."""
    return ORIGINALS["add"](x, other if alpha == 1 else other * alpha)


def add_(x: torch.Tensor, other: Any, *, alpha: float = 1) -> torch.Tensor:
    """x + alpha * other, in place."""
    return ORIGINALS["add_"](x, other if alpha == 1 else other * alpha)


def addcmul_(x: torch.Tensor, first: torch.Tensor, second: torch.Tensor, *, value: float = 1) -> torch.Tensor:
    """x + value * (first * second), in place."""
    return ORIGINALS["add_"](x, first.mul(second).mul_(value))


def addcdiv_(x: torch.Tensor, first: torch.Tensor, second: torch.Tensor, *, value: float = 1) -> torch.Tensor:
    """x + value * (first / second), in place."""
    return ORIGINALS["add_"](x, first.div(second).mul_(value))


def lerp_(x: torch.Tensor, end: torch.Tensor, weight: float) -> torch.Tensor:
    """x + weight * (end - x), in place."""
    return ORIGINALS["add_"](x, end.sub(x).mul_(weight))


def truediv(x: torch.Tensor, other: Any) -> torch.Tensor:
    """x / other."""
    return x.div(exact.divisor(other, x))


def sqrt(x: torch.Tensor) -> torch.Tensor:
    """The float32 nearest to the square root of float32 `x`, which MKL misses by a unit in the last place in float32.

    In float64 it may be off by 3 of them: the root of 24 bits is at least 4 away from halfway between two float32.
    """
    return ORIGINALS["sqrt"](x.double()).float()


def item(x: torch.Tensor) -> Any:
    """The one element of `x`, a float as Number."""
    value = ORIGINALS["item"](x)
    return Number(value) if isinstance(value, float) else value


METHODS: dict[str, Callable[..., Any]] = {
    **{method.__name__: method for method in (add, add_, addcmul_, addcdiv_, lerp_, sqrt, item)},
    "__truediv__": truediv,
}
ORIGINALS = {name: getattr(torch.Tensor, name) for name in METHODS}
REPLACED = {method: ORIGINALS[name] for name, method in METHODS.items()}
