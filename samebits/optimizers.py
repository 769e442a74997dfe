"""The steps of optimizers, and learning rates: what their methods do at once, one operation at a time.

param.add_(grad, alpha=-lr) is one instruction on some processors, which rounds once, and two on others. PyTorch's
optimizers are Python code of such methods, so all of them compute the same bits everywhere once the methods do.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from functools import wraps
from inspect import unwrap
from types import SimpleNamespace
from typing import Any

import torch
from samebits import functions
from samebits.errors import check_float32, refusal
from samebits.grid import divisor
from torch import Tensor
from torch.autograd import profiler
from torch.optim import lr_scheduler
from torch.optim.optimizer import Optimizer

Call = Callable[..., Any]


def check(optimizer: Optimizer) -> None:
    """Raise NotExactError for what steps in another way."""
    name = f"torch.optim.{type(optimizer).__name__}"
    for group in optimizer.param_groups:
        for option in ("foreach", "fused", "capturable", "differentiable"):
            if group.get(option):
                raise refusal(f"{name} with {option}", "it computes in another way; leave that out")
        if group.get("foreach", False) is None and group["params"][0].device.type != "cpu":
            raise refusal(f"{name} with foreach", "that is its default on this device; pass foreach=False")


def rounded(optimizer: Optimizer) -> list[tuple[dict[str, Any], float]]:
    """Set learning rates that a schedule has made to the nearest float32; returns the groups with what they had.

    A schedule may be a last digit off in float64, as are the functions it is made of. That must not matter.
    Raises NotExactError for one that systems could round differently.
    """
    before = []
    for group in optimizer.param_groups:
        lr = group.get("lr", 0.0)
        if isinstance(lr, float) and lr != group.get("initial_lr", lr):
            low, high = torch.tensor([lr * (1 - functions.ERROR), lr * (1 + functions.ERROR)]).tolist()
            if low != high:
                raise refusal(f"lr = {lr!r}", "it is halfway between two float32; round the schedule to 9 digits, say")
            before.append((group, lr))
            group["lr"] = low
    return before


class Number(float):
    """A float, as tensor.item() gives in an optimizer's step, whose powers are the nearest floats.

    Adam, for one, takes 1 - beta**step, and the square root of that.
    """

    def __rpow__(self, base: float, modulo: None = None) -> "Number":  # type: ignore[override]
        return Number(functions.nearest_power(base, float(self)))

    def __pow__(self, exponent: float, modulo: None = None) -> "Number":  # type: ignore[override]
        if exponent == 0.5:
            return Number(math.sqrt(self))
        return Number(functions.nearest_power(float(self), exponent))


def _closed(name: str) -> Call:
    def method(self: Number, other: Any) -> Any:
        result = getattr(float, name)(self, other)
        return Number(result) if isinstance(result, float) else result

    return method


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv"):
    setattr(Number, f"__{_name}__", _closed(f"__{_name}__"))


class Mathematics:
    """Python's math module, with the cosine that is the same on every system, for PyTorch's schedules."""

    cos = staticmethod(functions.cos)

    def __getattr__(self, name: str) -> Any:
        return getattr(math, name)


# What PyTorch's methods add to x, one operation at a time.
TERMS: dict[str, Call] = {
    "add": lambda x, other, alpha=1: other if alpha == 1 else other * alpha,
    "addcmul": lambda x, tensor1, tensor2, value=1: tensor1.mul(tensor2).mul_(value),
    "addcdiv": lambda x, tensor1, tensor2, value=1: tensor1.div(tensor2).mul_(value),
    "lerp": lambda x, end, weight: end.sub(x).mul(weight),
}


def adding(name: str) -> Call:
    """The method of that name, in place if it ends with _."""
    add, term = getattr(Tensor, "add_" if name.endswith("_") else "add"), TERMS[name.removesuffix("_")]
    return lambda x, *args, **kwargs: add(x, term(x, *args, **kwargs))


def sqrt(x: Tensor) -> Tensor:
    """The float32 nearest to the square root, which MKL misses by a unit in the last place."""
    check_float32("sqrt", x)
    with torch._C.DisableTorchFunction():  # a schedule may have wrapped a step before it was shielded
        return functions.apply("sqrt", x)


def item(x: Tensor) -> Any:
    """The one element of `x`, a float as Number."""
    value = ORIGINALS["item"](x)
    return Number(value) if isinstance(value, float) else value


def truediv(x: Tensor, other: Any) -> Tensor:
    """x / other."""
    return ORIGINALS["div"](x, divisor(other, x))


ADDING = {name: adding(name) for term in TERMS for name in (term, f"{term}_") if term != "add"}
METHODS: dict[str, Call] = {
    **{name: adding(name) for name in ("add", "add_")},
    **ADDING,
    "sqrt": sqrt,
    "sqrt_": lambda x: x.copy_(sqrt(x)),
    "item": item,
    "div": truediv,
    "__truediv__": truediv,
    "__rtruediv__": lambda x, other: truediv(x.new_tensor(other), x),
}
ORIGINALS: dict[str, Call] = {name: getattr(Tensor, name) for name in METHODS}
now = SimpleNamespace(steps=False)  # whether an optimizer does


def in_step(name: str) -> Call:
    """One of METHODS in an optimizer's step, which the exact mode does not look into, and else PyTorch's own."""
    method, original = METHODS[name], ORIGINALS[name]

    @wraps(original)
    def compute(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (method if now.steps else original)(x, *args, **kwargs)

    return compute


SWITCHED = {name: in_step(name) for name in METHODS}


def shielded(step: Call) -> Call:
    """A method of an optimizer that the exact mode does not look into; unless it gets a closure."""

    @wraps(step)
    def compute(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        try:
            if callable(kwargs.get("closure", args[0] if args else None)):
                return step(self, *args, **kwargs)
            now.steps = True
            with torch._C.DisableTorchFunction():
                return step(self, *args, **kwargs)
        finally:
            now.steps = False

    return compute


def outside(closure: Call) -> Call:
    """A closure that a step calls, in which Tensor's methods are PyTorch's own again."""

    @wraps(closure)
    def compute() -> Any:
        before, now.steps = now.steps, False
        try:
            return closure()
        finally:
            now.steps = before

    return compute


def hooked(step: Call) -> Call:
    """A step that calls its hooks, as PyTorch makes it when the first optimizer of a kind is made."""
    if getattr(step, "hooked", False):
        return step
    found = Optimizer.profile_hook_step(step)
    found.hooked = True  # type: ignore[attr-defined]
    return found


class Unrecorded(ContextDecorator):
    """Nothing, in the place of a step's name for a profiler."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: Any) -> None: ...


RECORDED = profiler.record_function


def recorded(name: str, args: str | None = None) -> Any:
    """PyTorch's record_function, which takes longer than the step of a small network, if there is a profiler."""
    return RECORDED(name, args) if profiler._is_profiler_enabled else Unrecorded()


@contextmanager
def shielded_steps() -> Iterator[None]:
    """Within it, PyTorch's optimizers step with METHODS, unseen by the exact mode, and schedules have our cosine.

    They access each gradient a dozen times in a step: for a small network, the mode would take longer than the step.
    What keeps PyTorch's compiler out of them is left out: it takes a second to import, and here nothing is compiled.
    """
    kinds = [kind for kind in vars(torch.optim).values() if isinstance(kind, type) and issubclass(kind, Optimizer)]
    steps = {kind: hooked(vars(kind)["step"]) for kind in kinds if kind is not Optimizer and "step" in vars(kind)}
    before: list[Any] = [(kind, "step", step) for kind, step in steps.items()]
    before += [(Optimizer, "zero_grad", Optimizer.zero_grad), (lr_scheduler, "math", vars(lr_scheduler)["math"])]
    before += [(profiler, "record_function", profiler.record_function)]
    before += [(Tensor, name, getattr(Tensor, name)) for name in SWITCHED]
    try:
        Optimizer.zero_grad = shielded(unwrap(Optimizer.zero_grad))  # type: ignore[method-assign]
        for kind, step in steps.items():
            kind.step = hooked(shielded(torch.no_grad()(unwrap(step))))  # type: ignore[method-assign]
        for name, method in SWITCHED.items():
            setattr(Tensor, name, method)
        profiler.record_function = recorded  # type: ignore[assignment, misc]
        lr_scheduler.math = Mathematics()  # type: ignore[attr-defined, assignment]
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
