"""The exact mode: what is called within it has one right answer, is computed by the other modules, or is refused.

`with samebits.exact():` around ordinary PyTorch code sees every call of a torch function. Most have one right answer
and pass; sums, products and functions of one number are computed as the other modules do; what is composed of these
runs in the mode itself; and all else is refused by name. A watch on what PyTorch executes (watch.py) sees the rest.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from threading import local
from types import SimpleNamespace
from typing import Any

import torch
from samebits import (
    composed,
    draws,
    functions,
    grid,
    marks,
    optimizers,
    products,
    softmax,
    sums,
    tables,
    workers,
)
from samebits.composed import layers, losses, reductions
from samebits.errors import INSTEAD, check_l1_loss, refusal
from samebits.native import OF_ALL
from samebits.sums import needs_gradient
from samebits.tables import Call, name_of, named
from samebits.watch import Watch
from torch import Tensor
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint


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


class Exact(TorchFunctionMode):
    """Within it, PyTorch's functions compute the same bits everywhere, or raise NotExactError."""

    def __init__(self) -> None:
        super().__init__()
        self.others = False  # whether there are other workers

    def __torch_function__(self, func: Call, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.others and func in tables.VIEWS:
            args = marks.sized(args)
        if func in PLAIN:
            result = func(*args, **kwargs) if kwargs else func(*args)
        else:
            if torch._C._functorch.peek_interpreter_stack() is not None:
                raise refusal(name_of(func), "torch.func looks into PyTorch's own functions")
            if kwargs and "out" in kwargs:
                kwargs = dict(kwargs)
                if (out := kwargs.pop("out")) is not None:
                    with self:
                        return into(out, func, args, kwargs)
            if not kwargs or RENAMED.isdisjoint(kwargs):
                kwargs = kwargs or {}
            else:
                args, kwargs = by_position(func, args, kwargs)
            if compute := COMPUTED.get(func):
                result = compute(*args, **kwargs)
            else:
                result = (self._composed if func in COMPOSED else self._checked)(func, args, kwargs)
            if func in tables.OF_ZEROS:
                unsigned(result)
        if self.others and func not in DECIDES:
            marks.note(func, args, kwargs or {}, result)
        return result

    def _composed(self, func: Call, args: Any, kwargs: Any) -> Any:
        """Without what PyTorch's signatures still have for older code, or for speed."""
        if func is functional.cross_entropy and (loss := softmax.cross_entropy(*args, **kwargs)) is not None:
            return loss
        if args and isinstance(args[-1], torch.dtype):
            *args, kwargs["dtype"] = args
        if kwargs.get("dtype") == torch.float32 and args and isinstance(args[0], Tensor):
            args = (args[0].float(), *args[1:])
        for name in ("size_average", "reduce", "dtype"):
            if kwargs.pop(name, None) not in (None, torch.float32):
                raise refusal(name_of(func), f"{name} is not covered")
        check_l1_loss(func)
        options = {name: value for name, value in kwargs.items() if name not in ("inplace", "_stacklevel")}
        try:
            with self:
                return COMPOSED[func](*args, **options)
        except NotImplementedError as error:
            raise refusal(name_of(func), f"{error} is not covered") from None
        except TypeError as error:
            if error.__traceback__ and error.__traceback__.tb_next:  # not of the arguments
                raise
            raise refusal(name_of(func), f"of its arguments, some are not covered: {error}") from None

    def _checked(self, func: Call, args: Any, kwargs: Any) -> Any:
        """What has one right answer for some arguments only."""
        if func in tables.BACKWARD:
            return func(*args, **kwargs)
        values = [*args, *kwargs.values()]
        tensors = [value for value in values if isinstance(value, Tensor)]
        if func in tables.LARGEST and len(tensors) > 1:
            func = tables.LARGEST[func]
        if func in tables.CLAMP and len(tensors) > 1:
            with self:
                return layers.clamp(*args, **kwargs)
        if func in tables.ELEMENTWISE or func in tables.DIVIDE:
            return elementwise(func, args, kwargs, tensors)
        if func in tables.PUTS:
            return put(func, args, kwargs)
        if getattr(func, "__name__", "").startswith("_foreach_"):
            with self:  # each tensor on its own
                return each_of(getattr(Tensor, func.__name__.removeprefix("_foreach_")), *args, **kwargs)
        if str(func).startswith("profiler."):  # an optimizer names its steps for it
            PLAIN.add(func)
        elif func in tables.WITHOUT_GRADIENT:
            if needs_gradient(*marks.flat(values)):
                raise refusal(name_of(func), "its gradient is a sum")
            if kwargs.get("reduce"):  # scatter's
                raise refusal(name_of(func), "it adds or multiplies in any order")
        elif func in tables.OF_INTEGERS:
            if any(functions.is_float(value) for value in values):
                raise refusal(name_of(func), "a sum or product of floats depends on its order")
        elif func in tables.DRAWS:
            reason = "it rounds as the machine does; draw by normal_ or uniform_"
            raise refusal(name_of(func), reason)
        elif func not in tables.RANDOM and func not in tables.OF_ZEROS:
            raise refusal(name_of(func), f"it is not among the functions known to have one right answer; {INSTEAD}")
        result = func(*args, **kwargs)
        own = workers.are_sizes_of_images(result.shape) if isinstance(result, Tensor) else False
        if func in tables.RANDOM and (own or any(hasattr(x, "of_images") for x in tensors)):
            raise refusal(name_of(func), OF_ALL)
        return result


def into(out: Any, func: Call, args: Any, kwargs: Any) -> Any:
    """The result, in a tensor that was there before."""
    if not isinstance(out, Tensor):
        raise refusal(name_of(func), "several tensors as out are not covered")
    found = func(*args, **kwargs)
    if not torch.can_cast(found.dtype, out.dtype):
        raise refusal(name_of(func), f"its result is of another type than out, {out.dtype}")
    return (out if out.shape == found.shape else out.resize_(found.shape)).copy_(found)


def by_position(func: Call, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Arguments as the functions here take them: tensors by position, and NumPy's names as PyTorch's own."""
    named = {DIMENSIONS.get(name, name): value for name, value in kwargs.items()}
    first, others = ([named.pop(name) for name in names if name in named] for names in (["input"], OTHERS))
    return (*first, *args, *others), named


OTHERS = ["mat1", "mat", "other", "mat2", "vec", "tensor"]  # what PyTorch calls the second and third of them
DIMENSIONS = {"axis": "dim", "keepdims": "keepdim"}
RENAMED = {"input", *OTHERS, *DIMENSIONS}


def elementwise(func: Call, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
    """One operation for each element; what is stretched to the shape of another has a sum as its gradient."""
    if kwargs or len(args) > 2:
        if func in tables.ADD and (alpha := kwargs.pop("alpha", 1)) != 1:
            args = (args[0], args[1] * alpha)
        if kwargs.get("rounding_mode") or kwargs.get("alpha", 1) != 1 or (func in tables.ADD and len(args) > 2):
            raise refusal(name_of(func), "with rounding_mode, alpha or a third argument it is more than one operation")
    if func in tables.DIVIDE and isinstance(args[1], int) and args[1] in getattr(args[0], "own_terms", ()):
        raise refusal(name_of(func), f"a sum over the images of all workers, by this one's {args[1]}; take mean()")
    if func in tables.DIVIDE and tensors[0].device.type != "cpu":
        args = (args[0], grid.divisor(args[1], tensors[0]), *args[2:])
    if len(tensors) > 1 and needs_gradient(*tensors):
        shared = [workers.is_of_images(x) for x in tensors]
        shape = torch.broadcast_shapes(*(x.shape for x in tensors))
        if any(shared) or any(x.shape != shape for x in tensors):
            args, kwargs = each_value(
                lambda x: sums.broadcast(x, shape, any(shared)) if isinstance(x, Tensor) else x, args, kwargs
            )
    return func(*args, **kwargs)


def each_value(change: Call, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What `change` makes of each argument."""
    return tuple(map(change, args)), {name: change(value) for name, value in kwargs.items()}


def unsigned(result: Any) -> None:
    """Make zeros +0, where it depends on the processor which of two is taken for the larger."""
    for x in marks.flat([result]):
        if isinstance(x, Tensor) and x.is_floating_point():
            x.data.add_(0.0)  # `data`, as the gradient of ReLU has kept the result


def put(func: Call, args: Any, kwargs: Any) -> Any:
    """Numbers in places, each in one; the gradient of what is stretched to several is a sum."""
    if func is Tensor.__setitem__:
        return put_at(*args)
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    shape, images = torch.broadcast_shapes(*(x.shape for x in tensors)), [workers.is_of_images(x) for x in tensors]
    for x, own in zip(tensors, images, strict=True):
        if needs_gradient(x) and (x.shape != shape or own != any(images)):
            raise refusal(name_of(func), "the gradient of what it puts in several places is a sum; expand it before")
    return func(*args, **kwargs)


def put_at(x: Tensor, index: Any, value: Any) -> None:
    """x[index] = value."""
    if sums.puts_twice(x, index, value):
        raise refusal("torch.Tensor.__setitem__", "it puts several numbers in one place")
    if needs_gradient(value):
        shape, images = x.detach()[index].shape, workers.is_of_images(x)
        if images and isinstance(index[0] if isinstance(index, tuple) else index, Tensor):
            raise refusal("torch.Tensor.__setitem__", OF_ALL)
        if (more := value.dim() - len(shape)) > 0:  # dimensions of size 1, which PyTorch leaves out
            workers.check_same("torch.Tensor.__setitem__", value)
            value = value.view(value.shape[more:])
        value = sums.broadcast(value, shape, images)
    Tensor.__setitem__(x, index, value)


def each_of(method: Call, tensors: list[Tensor], *args: Any, **kwargs: Any) -> list[Any]:
    """A method of each tensor, with its own of the arguments that are lists."""
    own = [[arg[i] if isinstance(arg, list | tuple) else arg for arg in args] for i in range(len(tensors))]
    return [method(x, *arguments, **kwargs) for x, arguments in zip(tensors, own, strict=True)]


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


class exact:  # noqa: N801
    """Within it, networks, losses, gradients and steps of optimizers have the same bits on every machine.

    Used like torch.autocast, around a whole training or evaluation, once or several times; another one within it
    changes nothing. Raises NotExactError, which names the line, for what might not have the same bits.
    """

    within = local()  # `active` if this thread has entered one

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
            for owner, name, replacement in REPLACED:
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, replacement)
            self.mode.others = workers.size() > 1
            for context in (optimizers.shielded_steps(), self.watch, self.mode):
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
