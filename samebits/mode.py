"""The exact mode: each call of a function has one right answer, is computed by the other modules, or is refused.

Most have one right answer and pass; sums, products and functions of one number are computed as the other modules do;
what is composed of these runs in the mode itself; and all else is refused by name.
"""

from typing import Any

import torch
from samebits import functions, grid, marks, softmax, sums, tables, workers
from samebits.composed import layers
from samebits.computed import COMPOSED, COMPUTED, DECIDES, PLAIN
from samebits.errors import INSTEAD, check_l1_loss, refusal
from samebits.native import OF_ALL
from samebits.sums import needs_gradient
from samebits.tables import Call, name_of
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


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
            if not isinstance(kwargs.get(name), str) and kwargs.pop(name, None) not in (None, torch.float32):
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
