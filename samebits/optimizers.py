"""Numbers of optimizers that are Python's floats, whose last digit systems' libraries round, each in its own way.

Adam, for one, takes 1 - beta**step; a schedule may take a cosine. The steps themselves are operations as any others.
"""

import math
from typing import Any

import torch
from samebits.errors import refusal
from samebits.functions import ERROR, nearest_power
from torch.optim import Optimizer


class Number(float):
    """A float whose powers are the nearest floats, as are those of what is made of it."""

    def __rpow__(self, base: float, modulo: None = None) -> "Number":  # type: ignore[override]
        return Number(nearest_power(base, float(self)))

    def __pow__(self, exponent: float, modulo: None = None) -> "Number":  # type: ignore[override]
        return Number(math.sqrt(self) if exponent == 0.5 else nearest_power(float(self), exponent))


def _closed(name: str) -> Any:
    def method(self: Number, other: Any) -> Any:
        result = getattr(float, name)(self, other)
        return Number(result) if isinstance(result, float) else result

    return method


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv"):
    setattr(Number, f"__{_name}__", _closed(f"__{_name}__"))


def converted(optimizer: Optimizer, kind: type[float]) -> None:
    """Make all floats of an optimizer's groups, also within tuples, of one kind: Number or float."""

    def made(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(made, value))
        return kind(value) if isinstance(value, float) else value

    for group in optimizer.param_groups:
        group.update({name: made(value) for name, value in group.items()})


def round_schedules(optimizer: Optimizer) -> None:
    """Round to float32 what a schedule has made, which may be a last digit off in float64: that must not matter."""
    for group in optimizer.param_groups:
        if isinstance(lr := group.get("lr"), float) and lr != group.get("initial_lr", lr):
            group["lr"] = rounded("lr", lr)
        if "max_momentum" in group and "momentum" in group:
            group["momentum"] = rounded("momentum", group["momentum"])
        elif "max_momentum" in group:
            first, *others = group["betas"]
            group["betas"] = rounded("betas", first), *others


def rounded(name: str, value: float) -> float:
    """The nearest float32; raises NotExactError if systems could differ in which that is."""
    low, high = torch.tensor([to_40_bits(value * (1 - ERROR)), to_40_bits(value * (1 + ERROR))]).tolist()
    if low != high:
        raise refusal(f"{name} = {value!r}", "systems may round it in two ways; round the schedule to 9 digits, say")
    return float(low)


def to_40_bits(value: float) -> float:
    """The nearest float of 40 bits. Simple fractions of a float32 are nearly halfway between two; these are quite."""
    fraction, exponent = math.frexp(value)
    return math.ldexp(round(fraction * 2**40), exponent - 40) if math.isfinite(value) else value
