"""The context `with samebits.exact():`, around ordinary PyTorch code.

Whatever a network, a loss, a gradient or an optimizer is written in, PyTorch makes of it operations on tensors, and
executes one after the other. Here each is looked up (operations.py), and computed as it is found there.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from threading import Lock, local
from typing import Any, ClassVar

import torch
from samebits import operations, optimizers
from samebits.errors import refusal
from samebits.operations import Way
from samebits.shared import Shared, computed
from torch import Tensor
from torch.autograd import profiler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

AT_ONCE = 2**15  # numbers that PyTorch gives to a thread


class Mode(TorchDispatchMode):
    """Sees all that PyTorch executes, in backward passes, in optimizers and in C++, too."""

    ways: ClassVar[dict[Any, Way]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.running = list[Any]()  # the operations whose ordinary code this is

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare the import of PyTorch's compiler, 0.7 s: here nothing is compiled."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation. What is called in here is not looked at, but for `ordinary` code."""
        kwargs, way = kwargs or {}, self.ways.get(func) or self.ways.setdefault(func, operations.way(func))
        if way.is_right:
            if way.is_each and operations.are_complex(args):
                raise refusal(func, "it is of complex numbers; only of float32 is it exact")
            return way.compute(*args, **kwargs)
        if not way.is_drawn and not operations.are_floats(func, args, kwargs):
            found = func(*args, **kwargs)
            if not isinstance(found, Tensor) or not found.is_floating_point():
                return found  # whole numbers don't round
            args = [x.float() if isinstance(x, Tensor) else x for x in args]
        if way.is_ordinary:
            if func in self.running:  # PyTorch's formula for it ends with itself
                return operations.unknown(func)(*args, **kwargs)
            self.running.append(func)
            try:
                with self:
                    return way.compute(*args, **kwargs)
            finally:
                self.running.pop()
        if Shared in types:
            return computed(func, way.compute, args, kwargs)
        return way.compute(*args, **kwargs)


class exact:  # noqa: N801
    """Within it, networks, losses, gradients and steps of optimizers have the same bits on every machine.

    Used like torch.autocast, around a whole training or evaluation, once or several times; another one within it
    changes nothing. Raises NotExactError, which names the line, for what might not have the same bits.
    """

    within = local()  # `context` is the one that this thread has entered

    def __init__(self) -> None:
        self.entered, self.stepping = list[ExitStack](), list[torch.optim.Optimizer]()

    def __enter__(self) -> None:
        if getattr(exact.within, "context", None) is not None:
            self.entered.append(ExitStack())
            return
        flushes = flushed(1)  # a library may have changed that for the whole process
        torch.set_flush_denormal(False)
        with ExitStack() as stack:
            stack.callback(torch.set_flush_denormal, flushes)
            if torch.get_num_threads() > 1 and flushed(AT_ONCE * torch.get_num_threads()):
                raise refusal("PyTorch's threads", "set_flush_denormal(True) has made them flush tiny numbers to 0")
            if "torch._dynamo" in sys.modules:  # something may be compiled, which is to run as it was written
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.callback(register_optimizer_step_pre_hook(self._before_step).remove)
            stack.callback(register_optimizer_step_post_hook(self._after_step).remove)
            stack.enter_context(plainly)
            stack.enter_context(Mode())
            stack.callback(setattr, exact.within, "context", None)
            stack.callback(self._leave_steps)
            exact.within.context = self
            self.entered.append(stack.pop_all())

    def __exit__(self, *error: Any) -> None:
        self.entered.pop().__exit__(*error)

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if getattr(exact.within, "context", None) is self:  # this thread's
            optimizers.round_schedules(optimizer)
            optimizers.converted(optimizer, optimizers.Number)
            self.stepping.append(optimizer)

    def _after_step(self, *_: Any) -> None:
        if getattr(exact.within, "context", None) is self:
            optimizers.converted(self.stepping.pop(), float)

    def _leave_steps(self) -> None:
        """Make floats of Numbers that an error within a step has left."""
        while self.stepping:
            optimizers.converted(self.stepping.pop(), float)


def flushed(count: int) -> bool:
    """Whether of so many tiny numbers some become 0."""
    return bool((torch.full((count,), 1e-39) * 1 == 0).any())


def as_written(model: Any = None, **_: Any) -> Any:
    """In the place of torch.compile, which may also be given no more than options."""
    return as_written if model is None else model


RECORD = profiler.record_function


def recorded(name: str, args: str | None = None) -> Any:
    """In the place of what names a step for a profiler, if there is one: it takes longer than to look at the step."""
    return RECORD(name, args) if profiler._is_profiler_enabled else nullcontext()


SWITCHES: tuple[tuple[Callable[[], bool], Callable[[bool], None]], ...] = (
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    (torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled),
    (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    (torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp),
    (torch.backends.cuda.cudnn_sdp_enabled, torch.backends.cuda.enable_cudnn_sdp),
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
)


class Plainly:
    """Within it, PyTorch does nothing in one operation of a library's own that it can do in several.

    That is so for the whole process: from when the first thread enters until the last one leaves.
    """

    lock, count, stack = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.count == 0:
                for is_on, switch in SWITCHES:
                    self.stack.callback(switch, is_on())
                    switch(False)
                for owner, name, ours in ((torch, "compile", as_written), (profiler, "record_function", recorded)):
                    self.stack.callback(setattr, owner, name, getattr(owner, name))
                    setattr(owner, name, ours)
            self.count += 1

    def __exit__(self, *error: Any) -> None:
        with self.lock:
            self.count -= 1
            if self.count == 0:
                self.stack.close()


plainly = Plainly()
