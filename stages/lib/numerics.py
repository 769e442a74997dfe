"""How numbers are computed: `exact`, with the same bits everywhere, or `native`, in the machine's own fastest way.

Either is a context around ordinary PyTorch code, used like torch.autocast: the forward pass and the loss run in it, and
the optimizer's steps in its `steps()`. `exact` sees every function that is called: a few it computes as exact.py does,
most it lets pass since they have one right answer, and those of which it does not know that, it refuses.
"""

import inspect
import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from stages.lib import exact, steps, workers
from stages.lib.errors import PipelineError

import torch
from torch.nn import functional
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode, resolve_name

Function = Callable[..., Any]
# Without it cuBLAS is not even deterministic: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
CUBLAS_WORKSPACE = ":4096:8"


def arithmetic(numerics: str, device: str, images: int) -> "Arithmetic":
    """The context of `exact` or `native` arithmetic, for sums over at most `images` images of all workers together.

    With one thread, unless the user has set OMP_NUM_THREADS: for small matrices, more only make it slower.
    Raises PipelineError if the device can't do it.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    if numerics == "native":
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACE
        torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms(True) without importing its compiler
        return Native()
    if device == "mps":
        raise PipelineError(
            "device: mps has no float64, which `numerics: exact` needs; set device: cpu, or numerics: native"
        )
    torch.set_flush_denormal(False)  # a library may have changed that for the whole process
    return Exact(images)


def named(names: str) -> frozenset[Function]:
    """The functions of these names in torch, torch.Tensor and torch.nn.functional."""
    found = (getattr(module, name, None) for name in names.split() for module in (torch, torch.Tensor, functional))
    return frozenset(function for function in found if function is not None)


# Nothing is computed, only moved, asked or converted.
REARRANGE = named(
    "view view_as reshape flatten unflatten squeeze unsqueeze t transpose permute movedim swapaxes chunk split unbind "
    "tensor_split narrow select contiguous clone detach detach_ requires_grad_ retain_grad backward copy_ cat stack "
    "zero_ fill_ zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_tensor new_empty zeros ones "
    "full empty eye tensor as_tensor from_numpy to float double int long bool cpu cuda item tolist numpy numel size "
    "dim stride is_floating_point is_complex is_contiguous is_tensor data_ptr element_size storage_offset "
    "untyped_storage register_hook __len__ __repr__ __format__ __bool__ __float__ __int__"
    " __index__ __hash__ __contains__"
) | {
    getattr(attribute, access)
    for _, attribute in inspect.getmembers(torch.Tensor, inspect.isdatadescriptor)
    for access in ("__get__", "__set__", "__delete__")
}
# Their results are whole numbers or truth values, and have no gradients.
COMPARE = named(
    "eq ne lt le gt ge equal isfinite isnan isinf any all logical_and logical_or logical_not logical_xor __eq__ __ne__ "
    "__lt__ __le__ __gt__ __ge__ __and__ __or__ __xor__ __invert__ argmax argmin nonzero one_hot"
)
# One IEEE 754 operation for each element, in the backward pass, too.
ELEMENTWISE = named(
    "add add_ sub sub_ subtract rsub mul mul_ multiply div div_ divide true_divide neg neg_ negative abs abs_ absolute "
    "maximum minimum clamp clamp_ clamp_min clamp_max relu relu_ relu6 hardtanh leaky_relu where __add__ "
    "__radd__ __iadd__ __sub__ __rsub__ __isub__ __mul__ __rmul__ __imul__ __truediv__ __itruediv__ __neg__ __abs__"
)
ADD = named("add add_ sub sub_ subtract rsub")  # a third argument of theirs is alpha
DIVIDE = named("div div_ divide true_divide __truediv__ __itruediv__")
# Right as they are, but their gradients would be sums.
WITHOUT_GRADIENT = named(
    "amax amin aminmax max min unique sign floor ceil round trunc index_select gather take masked_select "
    "masked_fill masked_fill_ scatter_ __getitem__ __setitem__ expand expand_as repeat repeat_interleave flip roll "
    "frexp"
)
OF_INTEGERS = named("sum cumsum prod bincount count_nonzero arange __floordiv__ __mod__ floor_divide remainder")


class Exact(TorchFunctionMode):
    """Within it, PyTorch's functions compute as exact.py does, or raise PipelineError."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images
        self._known: dict[Function, Function] = {
            **{function: function for function in REARRANGE | COMPARE},
            torch._C._set_grad_enabled: torch._C._set_grad_enabled,  # with torch.no_grad()
            **dict.fromkeys(named("sigmoid"), exact.Sigmoid.apply),
            **dict.fromkeys(named("tanh"), exact.Tanh.apply),
            functional.linear: self._linear,
            functional.cross_entropy: self._cross_entropy,
            functional.dropout: exact.dropout,
        }

    def __torch_function__(self, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one call, exactly."""
        function = self._known.get(func)
        if function is None:
            function = steps.REPLACED.get(func, func)
            if function not in REARRANGE:
                self._check(function, args, kwargs or {})
        return function(*args, **kwargs) if kwargs else function(*args)

    def _check(self, func: Function, args: Any, kwargs: dict[str, Any]) -> None:
        """Raise PipelineError if a call may round differently on another machine."""
        values = [*args, *kwargs.values()]
        tensors = [value for value in values if isinstance(value, torch.Tensor)]
        trained = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        if func in ELEMENTWISE:
            if kwargs.get("alpha", 1) != 1 or kwargs.get("rounding_mode") or (func in ADD and len(args) > 2):
                raise refusal(func, "with alpha or rounding_mode it is more than one operation")
            if func in DIVIDE and len(tensors) == 1 and tensors[0].device.type != "cpu":
                raise refusal(func, "on a GPU a division by a number rounds twice; make the number a tensor")
            if trained and len({tensor.shape for tensor in tensors}) > 1:
                raise refusal(func, "the gradient of a tensor that is stretched to the shape of another is a sum")
        elif func in WITHOUT_GRADIENT:
            if trained:
                raise refusal(func, "its gradient is a sum")
        elif func in OF_INTEGERS:
            if any(isinstance(value, float) or _is_float(value) for value in values):
                raise refusal(func, "a sum of floats depends on its order")
        else:
            raise refusal(func, "it is not among the functions known to be exact")

    def _linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])  # of a vector or a stack of matrices, images first
        if torch.is_grad_enabled():
            rows_per_image = math.prod(x.shape[1:-1])
            self._check_images(functional.linear, len(rows) // rows_per_image)
            result = exact.Linear.apply(rows, weight, bias, self.images * rows_per_image)
        else:
            result = exact.infer(rows, weight, bias)
        return result if x.dim() == 2 else result.view(*x.shape[:-1], len(weight))

    def _cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        plain = {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0}
        if args or any(value not in (None, plain.get(name)) for name, value in options.items()):
            raise refusal(functional.cross_entropy, "only the plain mean over all images is")
        if logits.dim() != 2 or _is_float(labels):
            raise refusal(functional.cross_entropy, "only logits (n, classes) with a whole number as label of each are")
        self._check_images(functional.cross_entropy, len(labels))
        return exact.CrossEntropy.apply(logits, labels, self.images)

    def _check_images(self, function: Function, found: int) -> None:
        """Raise PipelineError if a sum over the images of all workers could have more terms than it is exact for."""
        expected = math.ceil(self.images / workers.size())
        if found > expected:
            reason = f"expected at most {expected} images, found {found}; several rows of one are dimensions after it"
            raise refusal(function, reason)

    @staticmethod
    def steps() -> AbstractContextManager[None]:
        """Within it, optimizers compute exactly, or raise PipelineError."""
        return steps.exactly()


def refusal(function: Function, reason: str) -> PipelineError:
    """The error for what might round differently elsewhere."""
    name = resolve_name(function) or getattr(function, "__name__", str(function))
    return steps.refusal(name, reason)


def _is_float(value: object) -> bool:
    dtype = value.dtype if isinstance(value, torch.Tensor) else value
    return isinstance(dtype, torch.dtype) and dtype.is_floating_point


class Native(TorchFunctionMode):
    """PyTorch as it is; among several workers, with the loss and the gradients of the images of all."""

    def __enter__(self) -> "Native":
        """Nothing, for one worker."""
        return super().__enter__() if workers.size() > 1 else self

    def __exit__(self, *error: Any) -> None:
        """Leave what was entered."""
        if workers.size() > 1:
            super().__exit__(*error)

    def __torch_function__(self, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take the mean loss over the images of all workers."""
        if func is not functional.cross_entropy:
            return func(*args, **(kwargs or {}))
        own = func(*args, **{**(kwargs or {}), "reduction": "sum"})
        total, n = workers.total(own.detach(), len(args[1]))
        return (own + (total - own.detach()).to(own)) / n.to(own)  # the value of all, the gradient of its own

    @staticmethod
    @contextmanager
    def steps() -> Iterator[None]:
        """Within it, optimizers use the sum of all workers' gradients."""
        if workers.size() > 1 and workers.rank() == 0:
            print("numerics: native rounds in another way for each number of workers: no promise of the same bytes")
        hook = register_optimizer_step_pre_hook(lambda optimizer, *_: _add_gradients(optimizer))
        try:
            yield
        finally:
            hook.remove()


def _add_gradients(optimizer: Optimizer) -> None:
    if workers.size() > 1:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        sums = workers.total(*(parameter.grad for parameter in parameters))
        for parameter, gradient in zip(parameters, sums, strict=True):
            parameter.grad = gradient.to(parameter)


Arithmetic = Exact | Native
