"""The watch: all that PyTorch really executes, in the backward pass, in C++ and in compiled code, too.

To look at every operation takes 10 microseconds for each, so the watch looks at the first steps of a training, and then
ever more seldom; without steps, as in an evaluation, at the first operations.
"""

import sys
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from samebits.errors import COMPOSED, HERE, INSTEAD, TORCH, NotExactError
from samebits.tables import RIGHT
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

MOST = 20_000  # operations that are looked at in a step
# They only call the user's code.
PASSED = {str(Path(HERE) / f"{name}.py") for name in ("computed", "mode", "exact", "watch", "optimizers")}


class Watch(TorchDispatchMode):
    """Raises NotExactError for an operation that is neither in RIGHT nor this package's own work."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare the import of PyTorch's compiler, 0.7 s: exact.py sees to it that nothing is compiled."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.seen, self.active = WeakKeyDictionary[Any, int](), 0, False

    def __enter__(self) -> "Watch":
        self.active, self.seen = True, 0
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.active:
            self.active = False
            super().__exit__(*error)

    def next(self, optimizer: Any) -> None:
        """After a step of an optimizer: look at what follows if 1, 4, 16, 64, ... steps of any have been done."""
        self.steps[optimizer] = own = self.steps.get(optimizer, 0) + 1
        if not self.active and not is_power_of_4(own):
            return
        if any(map(is_power_of_4, self.steps.values())):
            if not self.active:
                self.__enter__()
            self.seen = 0
        elif self.active and _get_current_dispatch_mode() is self:
            self.__exit__(None, None, None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at one operation, and execute it."""
        self.seen += 1
        if self.seen <= MOST and not is_right(func, args, kwargs or {}):
            check_caller(func)
        with torch._C.DisableTorchFunction():
            return func(*args, **(kwargs or {}))


def is_power_of_4(count: int) -> bool:
    return count & (count - 1) == 0 and count.bit_length() % 2 == 1


def is_right(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether an operation has one right answer: by its name, or because it is of whole numbers."""
    name = func.overloadpacket.__name__.removesuffix("_")
    if func.namespace == "profiler":  # an optimizer names its steps for it
        return True
    values = [*args, *kwargs.values()]
    tensors = [v for value in values for v in (value if isinstance(value, list) else [value]) if hasattr(v, "dtype")]
    if any(isinstance(value, complex) for value in values) or any(x.dtype.is_complex for x in tensors):
        return False
    adds = "reduce" in func._overloadname or (name == "index_put" and (kwargs.get("accumulate") or True in args[3:]))
    if name in RIGHT and not adds:
        return kwargs.get("alpha", 1) == 1 and not kwargs.get("rounding_mode")
    if name == "sum" and len(args) > 1 and args[1] and all(args[0].shape[dim] == 1 for dim in args[1]):
        return True  # each is of one number
    if name == "uniform":
        return (*args[1:], *kwargs.values())[:2] in ((), (0, 1))
    return bool(tensors) and not any(x.dtype.is_floating_point for x in tensors) and not kwargs.get("dtype")


def check_caller(func: Any) -> None:
    """Raise NotExactError unless the innermost frame that is not PyTorch's is of this package's own computing."""
    frame: Any = sys._getframe(1)
    while frame := frame.f_back:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib"):
            return  # it is a module of PyTorch's that tries what it defines
        if file in PASSED or file.startswith((TORCH, COMPOSED, "<")):
            continue
        if str(Path(file).parent) == HERE:
            return
        place = f"line {frame.f_lineno} of {Path(file).name}"
        node = torch._C._current_autograd_node()
        when = f" as the gradient of {node.name()}" if node is not None else ""
        raise NotExactError(
            f"can't promise the same bits with {func.overloadpacket}{when} in {place}: "
            f"PyTorch executes it unseen, and it is not known to have one right answer; {INSTEAD}"
        )
