"""The steps of optimizers, and learning rates: what their methods do at once, one operation at a time.

param.add_(grad, alpha=-lr) is one instruction on some processors, which rounds once, and two on others. PyTorch's
optimizers are Python code of such methods, so all of them compute the same bits everywhere once the methods do.
"""

import math
from functools import wraps
from typing import Any

import torch
from samebits import functions
from samebits.errors import refusal
from samebits.grid import divisor
from torch import Tensor
from torch.optim import lr_scheduler
from torch.optim.optimizer import Optimizer


def check(optimizer: Optimizer) -> None:
    """Raise NotExactError for what steps in another way, and for a learning rate that systems could round differently.

    A schedule may be a last digit off in float64, as are the functions it is made of. That must not matter in float32.
    """
    name = f"torch.optim.{type(optimizer).__name__}"
    for group in optimizer.param_groups:
        for option in ("foreach", "fused", "capturable", "differentiable"):
            if group.get(option):
                raise refusal(f"{name} with {option}", "it computes in another way; leave that out")
        if group.get("foreach", False) is None and group["params"][0].device.type != "cpu":
            raise refusal(f"{name} with foreach", "that is its default on this device; pass foreach=False")
        lr = group.get("lr", 0.0)
        if isinstance(lr, float) and lr != group.get("initial_lr", lr):
            low, high = torch.tensor([lr * (1 - functions.ERROR), lr * (1 + functions.ERROR)]).tolist()
            if low != high:
                raise refusal(f"lr = {lr!r}", "it is halfway between two float32; round the schedule to 9 digits, say")


class Number(float):
    """A float, as tensor.item() gives in an optimizer's step, whose powers are the nearest floats.

    Adam, for one, takes 1 - beta**step, and the square root of that.
    """

    def __rpow__(self, base: float, modulo: None = None) -> "Number":  # type: ignore[override]
        return Number(functions.power(base, float(self)))

    def __pow__(self, exponent: float, modulo: None = None) -> "Number":  # type: ignore[override]
        if exponent == 0.5:
            return Number(math.sqrt(self))
        return Number(functions.power(float(self), exponent))


def _closed(name: str) -> Any:
    def method(self: Number, other: Any) -> Any:
        result = getattr(float, name)(self, other)
        return Number(result) if isinstance(result, float) else result

    return method


for _name in ("add", "sub", "mul", "truediv"):
    for _side in (_name, f"r{_name}"):
        setattr(Number, f"__{_side}__", _closed(f"__{_side}__"))


class Mathematics:
    """Python's math module, with the cosine that is the same on every system, for PyTorch's schedules."""

    cos = staticmethod(functions.cos)

    def __getattr__(self, name: str) -> Any:
        return getattr(math, name)


class schedules:  # noqa: N801
    """A context in which PyTorch's schedules take the cosine from here."""

    def __enter__(self) -> None:
        self.before, lr_scheduler.math = lr_scheduler.math, Mathematics()  # type: ignore[attr-defined, assignment]

    def __exit__(self, *error: Any) -> None:
        lr_scheduler.math = self.before  # type: ignore[attr-defined]


# Several operations, one at a time


def add_(x: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """x + alpha * other, in place."""
    return ORIGINALS["add_"](x, other if alpha == 1 else other * alpha)


def add(x: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """x + alpha * other."""
    return ORIGINALS["add"](x, other if alpha == 1 else other * alpha)


def addcmul_(x: Tensor, first: Tensor, second: Tensor, *, value: float = 1) -> Tensor:
    """x + value * (first * second), in place."""
    return ORIGINALS["add_"](x, first.mul(second).mul_(value))


def addcmul(x: Tensor, first: Tensor, second: Tensor, *, value: float = 1) -> Tensor:
    """x + value * (first * second)."""
    return ORIGINALS["add"](x, first * second * value)


def addcdiv_(x: Tensor, first: Tensor, second: Tensor, *, value: float = 1) -> Tensor:
    """x + value * (first / second), in place."""
    return ORIGINALS["add_"](x, first.div(second).mul_(value))


def addcdiv(x: Tensor, first: Tensor, second: Tensor, *, value: float = 1) -> Tensor:
    """x + value * (first / second)."""
    return ORIGINALS["add"](x, first / second * value)


def lerp_(x: Tensor, end: Tensor, weight: Any) -> Tensor:
    """x + weight * (end - x), in place."""
    return ORIGINALS["add_"](x, end.sub(x).mul_(weight))


def lerp(x: Tensor, end: Tensor, weight: Any) -> Tensor:
    """x + weight * (end - x)."""
    return ORIGINALS["add"](x, end.sub(x).mul_(weight))


def truediv(x: Tensor, other: Any) -> Tensor:
    """x / other."""
    return ORIGINALS["div"](x, divisor(other, x))


def sqrt(x: Tensor) -> Tensor:
    """The float32 nearest to the square root, which MKL misses by a unit in the last place."""
    if x.dtype != torch.float32:
        raise refusal("sqrt", "only of float32 is it exact")
    with torch._C.DisableTorchFunction():  # a schedule may have wrapped a step before it was shielded
        return functions.apply("sqrt", x)


def sqrt_(x: Tensor) -> Tensor:
    """The float32 nearest to the square root, in place."""
    return x.copy_(x.detach().sqrt())


def item(x: Tensor) -> Any:
    """The one element of `x`, a float as Number."""
    value = ORIGINALS["item"](x)
    return Number(value) if isinstance(value, float) else value


MANY = {f.__name__: f for f in (addcmul, addcmul_, addcdiv, addcdiv_, lerp, lerp_, sqrt_)}
METHODS: dict[str, Any] = MANY | {
    "add": add,
    "add_": add_,
    "sqrt": sqrt,
    "item": item,
    "div": truediv,
    "__truediv__": truediv,
}
ORIGINALS = {name: getattr(Tensor, name) for name in METHODS}


def in_step(name: str) -> Any:
    """One of METHODS in an optimizer's step, which the exact mode does not look into, and else PyTorch's own."""
    method, original = METHODS[name], ORIGINALS[name]

    @wraps(original)
    def compute(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (method if steps.is_one else original)(x, *args, **kwargs)

    return compute


SWITCHED = {name: in_step(name) for name in METHODS}


class steps:  # noqa: N801
    """A context in which PyTorch's optimizers step with METHODS, and so need not be seen by the exact mode.

    They access each gradient a dozen times in a step: for a small network, the mode would take longer than the step.
    """

    is_one = False  # whether an optimizer steps now

    def __enter__(self) -> None:
        """Put METHODS in place, and shield the optimizers' own."""
        kinds = [kind for kind in vars(torch.optim).values() if isinstance(kind, type) and issubclass(kind, Optimizer)]
        own = [(kind, name) for kind in kinds for name in ("step", "zero_grad") if name in vars(kind)]
        self.before: list[tuple[Any, str, Any]] = [(kind, name, vars(kind)[name]) for kind, name in own]
        self.before += [(Tensor, name, method) for name, method in ORIGINALS.items()]
        for kind, name in own:
            setattr(kind, name, shielded(vars(kind)[name]))
        for name, method in SWITCHED.items():
            setattr(Tensor, name, method)

    def __exit__(self, *error: Any) -> None:
        """Leave them as they were."""
        for kind, name, method in self.before:
            setattr(kind, name, method)


def shielded(method: Any) -> Any:
    """A method of an optimizer that the exact mode does not look into; unless it gets a closure."""

    @wraps(method)
    def compute(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if callable(kwargs.get("closure", args[0] if args else None)):
            return method(self, *args, **kwargs)
        steps.is_one = True
        try:
            with torch._C.DisableTorchFunction():
                return method(self, *args, **kwargs)
        finally:
            steps.is_one = False

    return compute
