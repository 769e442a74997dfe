"""The context `with samebits.exact():`, around ordinary PyTorch code.

A mode sees every call of a torch function (mode.py); a watch on what PyTorch executes sees the rest (watch.py). Here is
what else must be so for the same bits: no tiny numbers that become 0, steps of optimizers as they are to be, nothing
compiled.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Lock, local
from types import SimpleNamespace
from typing import Any

import torch
from samebits import optimizers, workers
from samebits.errors import refusal
from samebits.mode import Exact, each_value
from samebits.watch import Watch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils import checkpoint

AT_ONCE = 2**15  # numbers that PyTorch gives to a thread


def flushed(count: int) -> bool:
    """Whether of so many tiny numbers some become 0."""
    return bool((torch.full((count,), 1e-39) * 1 == 0).any())


def as_written(model: Any = None, **_: Any) -> Any:
    """In the place of torch.compile, which may also be given no more than options."""
    return as_written if model is None else model


def kept(*_: Any, **__: Any) -> Iterator[None]:
    """In the place of what would compute a checkpoint again in the backward pass, which the mode does not see."""
    yield


AGAIN = "_checkpoint_without_reentrant_generator"  # and in later versions with another name behind it
# What would compute in another way, or later, by its place in PyTorch; it computes as it was written.
REPLACED: list[tuple[Any, str, Any]] = [
    (torch, "compile", as_written),
    *((checkpoint, name, kept) for name in vars(checkpoint) if name.startswith(AGAIN)),
    (checkpoint, "CheckpointFunction", SimpleNamespace(apply=lambda function, preserve, *args: function(*args))),
]


@contextmanager
def replaced() -> Iterator[None]:
    """Within it, what is REPLACED is, and optimizers step in another way."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in REPLACED]
    try:
        for owner, name, replacement in REPLACED:
            setattr(owner, name, replacement)
        with optimizers.shielded_steps():
            yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


class OfAllThreads:
    """A context of the whole process: the first thread that enters makes it, the last that leaves ends it."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self.make, self.lock, self.count, self.stack = make, Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.count == 0:
                self.stack.enter_context(self.make())
            self.count += 1

    def __exit__(self, *error: Any) -> None:
        with self.lock:
            self.count -= 1
            if self.count == 0:
                self.stack.close()


class exact:  # noqa: N801
    """Within it, networks, losses, gradients and steps of optimizers have the same bits on every machine.

    Used like torch.autocast, around a whole training or evaluation, once or several times; another one within it
    changes nothing. Raises NotExactError, which names the line, for what might not have the same bits.
    """

    within = local()  # `active` if this thread has entered one
    process = OfAllThreads(replaced)

    def __init__(self) -> None:
        self.mode, self.watch, self.entered = Exact(), Watch(), list[ExitStack]()

    def __enter__(self) -> None:
        if getattr(exact.within, "active", False):
            self.entered.append(ExitStack())
            return
        flushes = flushed(1)  # a library may have changed that for the whole process
        torch.set_flush_denormal(False)
        with ExitStack() as stack:
            stack.callback(torch.set_flush_denormal, flushes)
            if torch.get_num_threads() > 1 and flushed(AT_ONCE * torch.get_num_threads()):
                raise refusal("PyTorch's threads", "set_flush_denormal(True) has made them flush tiny numbers to 0")
            stack.callback(register_optimizer_step_pre_hook(self._before_step).remove)
            stack.callback(register_optimizer_step_post_hook(self._after_step).remove)
            if "torch._dynamo" in sys.modules:  # something may be compiled, which is to run as it was written
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            self.mode.others = workers.size() > 1
            for context in (exact.process, self.watch, self.mode):
                stack.enter_context(context)
            stack.callback(setattr, exact.within, "active", False)
            stack.callback(setattr, optimizers.now, "steps", False)
            exact.within.active = True
            self.entered.append(stack.pop_all())

    def __exit__(self, *error: Any) -> None:
        self.entered.pop().__exit__(*error)

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        optimizers.check(optimizer)
        self.scheduled = optimizers.rounded(optimizer)
        optimizers.now.steps = True
        return each_value(lambda value: optimizers.outside(value) if callable(value) else value, args, kwargs)

    def _after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        optimizers.now.steps = False
        for group, lr in self.scheduled:
            group["lr"] = lr
        self.watch.next(optimizer)
