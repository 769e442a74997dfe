"""The exact mode, and which function of PyTorch is which in it.

`with samebits.exact():` around ordinary PyTorch code sees every call of a torch function. Most have one right answer
and pass; sums, products and functions of one number are computed as the other modules do; what is composed of these
runs in the mode itself; and all else is refused by name. A watch on what PyTorch executes (watch.py) sees the rest.
"""

import inspect
import math
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import torch
from samebits import composed, functions, optimizers, products, workers
from samebits.composed import dims_of, pair
from samebits.errors import refusal
from samebits.functions import OfOneNumber
from samebits.losses import CrossEntropy
from samebits.native import OF_ALL
from samebits.sums import Stretch, Sum, Take
from samebits.watch import Watch
from torch import Tensor
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode, resolve_name

Call = Callable[..., Any]
SWITCHED = SimpleNamespace(**optimizers.SWITCHED)
MODULES = torch, torch.Tensor, functional, torch._C._nn, torch.linalg, torch.special, torch.nn.init, SWITCHED


def named(names: str) -> set[Call]:
    """The functions of these names in PyTorch's modules."""
    return {
        getattr(module, name) for name in names.split() for module in MODULES if callable(getattr(module, name, None))
    }


# They move numbers, or make some, and so do their gradients.
REARRANGE = named(
    "view view_as reshape reshape_as flatten unflatten squeeze unsqueeze t transpose permute movedim moveaxis "
    "swapaxes swapdims chunk split split_with_sizes unbind tensor_split narrow select contiguous clone detach detach_ "
    "flip roll requires_grad_ retain_grad copy_ cat concat stack hstack vstack zero_ fill_ zeros_like ones_like "
    "full_like empty_like new_zeros new_ones new_full new_tensor new_empty zeros ones full empty eye tensor as_tensor "
    "scalar_tensor from_numpy asarray to type type_as float double int long bool cpu cuda tolist item numpy numel "
    "nelement size dim ndimension stride is_floating_point is_complex is_contiguous is_tensor is_same_size data_ptr "
    "element_size storage_offset untyped_storage register_hook masked_fill masked_fill_ where max min argmax argmin "
    "tril triu diagonal masked_select rot90 resolve_conj resolve_neg is_inference is_signed pin_memory "
    "register_post_accumulate_grad_hook get_device manual_seed meshgrid block_diag pixel_shuffle pixel_unshuffle "
    "channel_shuffle squeeze_ unsqueeze_ triu_indices tril_indices _assert __array__ __len__ __repr__ __format__ "
    "constant_ zeros_ ones_ __bool__ __float__ __int__ __index__ __hash__ __contains__ __deepcopy__ __reduce_ex__"
) | {
    getattr(attribute, access)
    for _, attribute in inspect.getmembers(torch.Tensor, inspect.isdatadescriptor)
    for access in ("__get__", "__set__", "__delete__")
}
# Their results are whole numbers or truth values, and have no gradients.
COMPARE = named(
    "eq ne lt le gt ge equal isfinite isnan isinf any all logical_and logical_or logical_not logical_xor __eq__ "
    "__ne__ __lt__ __le__ __gt__ __ge__ __and__ __or__ __xor__ __invert__ nonzero one_hot bitwise_and bitwise_or "
    "bitwise_not isin bucketize searchsorted signbit allclose isclose is_nonzero argsort"
)
# One IEEE 754 operation for each element, in the backward pass, too.
ELEMENTWISE = named(
    "mul mul_ multiply neg neg_ negative abs abs_ absolute rsub maximum minimum clamp clamp_ clamp_min clamp_max "
    "clamp_min_ clamp_max_ add add_ sub sub_ subtract relu relu_ relu6 hardtanh hardtanh_ leaky_relu leaky_relu_ "
    "threshold where sign floor ceil round trunc fmod softshrink hardshrink __radd__ __sub__ __rsub__ __mul__ "
    "__rmul__ __imul__ __neg__ __abs__ __add__ __iadd__ __isub__ nan_to_num copysign"
)
ADD = named("add add_ sub sub_ subtract")
DIVIDE = named("div div_ divide true_divide __truediv__ __itruediv__")
RANDOM = named("rand rand_like randint randint_like randperm random_")
DRAWS = named(
    "randn randn_like normal normal_ uniform_ exponential_ trunc_normal_ kaiming_uniform_ kaiming_normal_ "
    "xavier_uniform_ xavier_normal_ orthogonal_"
)
# Right as they are, but their gradients would be sums.
WITHOUT_GRADIENT = named("amax amin aminmax sort topk unique scatter_ scatter index_fill_ frexp cummax __setitem__")
# What becomes of each element is where it is put, perhaps several times: the gradient is a sum over the places.
PICK = named("index_select gather take take_along_dim repeat repeat_interleave tile unfold __getitem__")
OF_INTEGERS = named(
    "cumsum prod bincount count_nonzero arange __floordiv__ __mod__ floor_divide remainder __rfloordiv__ __lshift__ "
    "__rshift__"
)


def needs_gradient(*values: Any) -> bool:
    """Whether autograd would record what is computed from these."""
    return torch.is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in values)


def float32(function: str, *tensors: Any) -> None:
    """Raise NotExactError for tensors of another type."""
    for x in tensors:
        if isinstance(x, Tensor) and x.dtype != torch.float32:
            raise refusal(function, f"it is of {str(x.dtype).removeprefix('torch.')}; only of float32 is it exact")


def same_for_all(function: str, *tensors: Any) -> None:
    """Raise NotExactError for weights that are made of a worker's images."""
    if workers.size() > 1 and any(workers.is_of_images(x) for x in tensors):
        raise refusal(function, "with several workers, weights that depend on the images can't be told from images")


# The primitives, with PyTorch's signatures


def sum_(x: Tensor, dim: Any = None, keepdim: bool = False, *more: Any, dtype: Any = None) -> Tensor:
    """Exact, of float32; whole numbers are anyway. Over images it is the sum over those of all workers."""
    shared, dims = workers.is_of_images(x), dims_of(x, dim)
    total = shared and 0 in dims
    if not x.is_floating_point() and not (dtype and dtype.is_floating_point):
        sums = torch.sum(x, dims, keepdim, dtype=dtype)
        sums = workers.total(sums)[0].to(sums.dtype) if total else sums
    else:
        float32("sum", x if x.is_floating_point() else x.to(dtype))
        sums = Sum.apply(x.float(), dims, total)
        sums = sums if keepdim or not dims else sums.squeeze(dims)
    return workers.of_images(sums) if shared and not total else sums


def stretch(x: Tensor, *shape: Any, implicit: bool = False) -> Tensor:
    """expand; of what is the same for all workers to this worker's images, too."""
    shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    lead = len(shape) - x.dim()
    sizes = torch.Size(x.shape[i - lead] if n == -1 else n for i, n in enumerate(shape))
    if not needs_gradient(x):
        return x.expand(sizes)
    float32("expand", x)
    total = not workers.is_of_images(x) and workers.are_sizes_of_images(sizes)
    found = Stretch.apply(x, sizes, total)
    return workers.of_images(found) if total else found


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Of a matrix, or of a vector or a stack of matrices."""
    float32("linear", x, weight, bias)
    same_for_all("linear", weight, bias)
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    if torch.is_grad_enabled():
        result = products.Linear.apply(rows, weight, bias, workers.is_of_images(x))
    else:
        result = products.infer(rows, weight, bias)
    return result if x.dim() == 2 else result.view(*x.shape[:-1], len(weight))


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Of vectors, matrices and stacks of them, stretched to the same shape."""
    float32("matmul", a, b)
    if a.dim() == 1:
        return matmul(a.unsqueeze(0), b).squeeze(-2 if b.dim() > 1 else 0)
    if b.dim() == 1:
        return matmul(a, b.unsqueeze(1)).squeeze(-1)
    if b.dim() == 2:
        same_for_all("matmul", b)
        return linear(a, b.t())
    if a.shape[:-2] != b.shape[:-2]:
        shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shared = workers.is_of_images(a) or workers.is_of_images(b)
        if shared and not (workers.is_of_images(a) and workers.is_of_images(b)):
            raise refusal("matmul", "with several workers, of images and of weights that are no matrix")
        a, b = (stretch(x, *shape, *x.shape[-2:]) for x in (a, b))
    flat = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
    if torch.is_grad_enabled():
        result = products.Product.apply(*flat, workers.is_of_images(a) or workers.is_of_images(b))
    else:
        result = products.infer_product(*flat)
    return result.view(*a.shape[:-1], b.shape[-1])


def addmm(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * x + alpha * a @ b, for x of the shape of the product or a row of it."""
    if alpha == 1 and beta == 1 and x.dim() == 1 and b.dim() == 2:
        return linear(a, b.t(), x)
    raise refusal("addmm", "write it as a product and a sum")


def convolution(dims: int, transposed: bool) -> Call:
    """conv1d and its like, with as many dimensions."""

    def compute(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        *rest: Any,
        **named: Any,
    ) -> Tensor:
        order = ("output_padding", "groups", "dilation") if transposed else ("dilation", "groups")
        chosen = {"output_padding": 0, "groups": 1, "dilation": 1, **dict(zip(order, rest, strict=False)), **named}
        float32("convolution", x, weight, bias)
        shared = workers.is_of_images(x)
        same_for_all("convolution", weight, bias)
        dilation = pair(chosen["dilation"], x, dims)
        if isinstance(padding, str):
            extra = [d * (k - 1) * (padding == "same") for d, k in zip(dilation, weight.shape[2:], strict=True)]
            x, padding = functional.pad(x, [n for e in reversed(extra) for n in (e // 2, e - e // 2)]), 0
        options = [pair(stride, x, dims), pair(padding, x, dims), dilation, transposed]
        options += [pair(chosen["output_padding"], x, dims), chosen["groups"]]
        batch = x if x.dim() == dims + 2 else x.unsqueeze(0)
        if torch.is_grad_enabled():
            y = products.Convolution.apply(batch, weight, options, shared)
        else:
            y = products.infer_convolution(batch, weight, options)
        if bias is not None:
            each = bias.view(1, -1, *[1] * dims)
            y = y + (Stretch.apply(each, y.shape, shared) if needs_gradient(bias) else each)
        return y if batch is x else y.squeeze(0)

    return compute


def of_one_number(name: str) -> Call:
    """A function of FORMULAS."""

    def compute(x: Tensor, *inplace: Any, **_: Any) -> Tensor:
        float32(name, x)
        return OfOneNumber.apply(x, name) if needs_gradient(x) else functions.apply(name, x)

    return compute


def drawn(function: Call, *args: Any, **kwargs: Any) -> Tensor:
    """Random numbers that are whole, or whole multiples of 2**-24."""
    result = function(*args, **kwargs)
    if workers.are_sizes_of_images(result.shape):
        raise refusal(
            name_of(function),
            OF_ALL,
        )
    return result


def bernoulli_(x: Tensor, p: float = 0.5, *, generator: Any = None) -> Tensor:
    """1 with probability p, else 0; for this worker's images they are drawn for all."""
    if not workers.are_sizes_of_images(x.shape):
        return x.copy_(torch.rand(x.shape, generator=generator) < p)
    drawn = workers.draw(x, lambda n: torch.rand(n, *x.shape[1:], generator=generator))
    return workers.of_images(x.copy_(drawn < p))


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """ln(1 + exp(beta * x)) / beta, and x itself where beta * x is above the threshold."""
    y = of_one_number("softplus")(x if beta == 1 else x * beta)
    return torch.where(x * beta > threshold, x, y if beta == 1 else y / beta)


def power(x: Any, exponent: Any) -> Any:
    """Whole powers by multiplications, halves by the square root."""
    if isinstance(x, Tensor) and x.is_floating_point() and isinstance(exponent, int | float):
        half = abs(exponent) % 1
        if half in (0, 0.5) and abs(exponent) <= 64:
            result = of_one_number("sqrt")(x) if half else None
            for _ in range(int(abs(exponent))):
                result = x if result is None else result * x
            result = torch.ones_like(x) if result is None else result
            return torch.ones_like(result) / result if exponent < 0 else result
    elif not any(isinstance(v, float) or (isinstance(v, Tensor) and v.is_floating_point()) for v in (x, exponent)):
        return torch.pow(x, exponent)
    raise refusal("pow", "only powers of a tensor that are whole, or a half more, have one right answer")


def embedding(
    index: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: Any = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """Rows of weight; the one at padding_idx is not trained."""
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise refusal("embedding", "max_norm, scale_grad_by_freq and sparse are not covered")
    same_for_all("embedding", weight)
    shared = workers.is_of_images(index)
    rows = Take.apply(weight, index, shared, shared)
    if padding_idx is None:
        return rows
    return torch.where((index == padding_idx % len(weight)).unsqueeze(-1), rows.detach(), rows)


def picked(function: Call) -> Call:
    """What a function that puts elements of its first argument in places makes of it."""

    def compute(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        index = args[0] if args else None
        if not needs_gradient(x) or (function is Tensor.__getitem__ and is_plain(index)):
            return function(x, *args, **kwargs)
        float32(function.__name__, x)
        places = function(torch.arange(x.numel(), device=x.device).view(x.shape), *args, **kwargs)
        return Take.apply(x.reshape(-1), places, workers.is_of_images(x), False)

    return compute


def is_plain(index: Any) -> bool:
    """Whether an index takes no element twice: of numbers and slices only."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in parts)


def pad(x: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """By a number, or by what is reflected, replicated or at the other end."""
    if mode == "constant" or not needs_gradient(x):
        return functional.pad(x, pad, mode, value)
    places = torch.arange(x.numel(), dtype=torch.float64, device=x.device).view(x.shape)
    return Take.apply(x.reshape(-1), functional.pad(places, pad, mode).long(), workers.is_of_images(x), False)


def max_pool(function: Call, dims: int) -> Call:
    """Max pooling, also of windows that overlap, where a gradient is a sum; with the places of the largest."""

    def compute(x: Tensor, *args: Any, return_indices: bool = False, **kwargs: Any) -> Any:
        y, places = function(x, *args, **kwargs)
        if needs_gradient(x):
            float32("max_pool", x)
            planes = x.reshape(math.prod(x.shape[:-dims]), math.prod(x.shape[-dims:]))
            starts = torch.arange(len(planes), device=x.device).view(*x.shape[:-dims], *[1] * dims) * planes.shape[1]
            y = Take.apply(planes.flatten(), places + starts, workers.is_of_images(x), False)
        return (y, places) if return_indices else y

    return compute


def cross_entropy(logits: Tensor, target: Tensor, *args: Any, **options: Any) -> Tensor | None:
    """The mean over all images of labels, which is rounded once; None if it is another."""
    plain = {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0}
    if args or any(value not in (None, plain.get(name)) for name, value in options.items()):
        return None
    if logits.dim() != 2 or target.dim() != 1 or target.is_floating_point():
        return None
    if target.numel() and target.amin().item() < 0:  # some are ignored
        return None
    float32("cross_entropy", logits)
    return CrossEntropy.apply(logits, target, workers.is_of_images(logits))


def by_name(functions: dict[str, Call]) -> dict[Call, Call]:
    """What computes each of PyTorch's functions of these names, of which several may stand in one."""
    return {function: compute for names, compute in functions.items() for function in named(names)}


PRIMITIVES = (
    by_name(
        {
            "sum": sum_,
            "expand broadcast_to": stretch,
            "expand_as": lambda x, other: stretch(x, *other.shape),
            "linear": linear,
            "matmul mm bmm mv dot __matmul__": matmul,
            "__rmatmul__": lambda b, a: matmul(a, b),
            "addmm": addmm,
            "conv1d": convolution(1, transposed=False),
            "conv2d": convolution(2, transposed=False),
            "conv3d": convolution(3, transposed=False),
            "conv_transpose1d": convolution(1, transposed=True),
            "conv_transpose2d": convolution(2, transposed=True),
            "embedding": embedding,
            "pad": pad,
            "bernoulli_": bernoulli_,
            "softplus": softplus,
            "pow __pow__ float_power": power,
            "square": lambda x: x * x,
            "reciprocal": lambda x: torch.ones_like(x) / x,
            "__rtruediv__ __rdiv__": lambda x, other: x.new_tensor(other) / x,
            "max_pool1d": max_pool(torch.nn.functional.max_pool1d_with_indices, 1),
            "max_pool2d": max_pool(torch.nn.functional.max_pool2d_with_indices, 2),
            "adaptive_max_pool2d": max_pool(torch.nn.functional.adaptive_max_pool2d_with_indices, 2),
            **{name: of_one_number(name) for name in functions.FORMULAS if name != "softplus"},
        }
    )
    | by_name(optimizers.MANY)
    | {function: picked(function) for function in PICK}
)
COMPOSED_NAMES = (
    "mean var std var_mean norm normalize cosine_similarity batch_norm instance_norm layer_norm rms_norm group_norm "
    "silu gelu hardsigmoid hardswish elu selu logsigmoid mish glu prelu softmax log_softmax logsumexp nll_loss "
    "cross_entropy mse_loss l1_loss smooth_l1_loss huber_loss kl_div binary_cross_entropy "
    "binary_cross_entropy_with_logits avg_pool1d avg_pool2d adaptive_avg_pool2d adaptive_avg_pool1d dropout dropout2d "
    "scaled_dot_product_attention multi_head_attention_forward"
)
COMPOSED = by_name(
    {name: getattr(composed, name) for name in COMPOSED_NAMES.split()}
    | {"vector_norm": composed.norm, "dropout1d dropout3d feature_dropout": composed.dropout2d}
)
MOVES = named("transpose permute movedim moveaxis swapaxes swapdims t unsqueeze") | {
    getattr(Tensor, name).__get__ for name in ("T", "mT")
}


# They look at several numbers along a dimension: the place of that argument, and which it is if there is none.
ALONG = {
    function: (place, default)
    for place, default, names in (
        (1, None, "amax amin any all argmax argmin max min aminmax squeeze squeeze_ flip count_nonzero __getitem__"),
        (1, -1, "sort argsort cummax diff"),
        (1, 0, "select narrow unbind index_select"),
        (2, 0, "split chunk tensor_split split_with_sizes roll"),
        (2, -1, "topk"),
    )
    for function in named(names)
}


class Exact(TorchFunctionMode):
    """Within it, PyTorch's functions compute the same bits everywhere, or raise NotExactError."""

    def __init__(self) -> None:
        super().__init__()
        self.others = False  # whether there are other workers

    def __torch_function__(self, func: Call, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one call, exactly."""
        if func in PLAIN:
            result = func(*args, **kwargs) if kwargs else func(*args)
        elif compute := PRIMITIVES.get(func):
            result = compute(*args, **(kwargs or {}))
        elif func in COMPOSED:
            return self._composed(func, args, kwargs or {})
        else:
            result = self._checked(func, args, kwargs or {})
        if self.others and func not in DECIDES:
            self._mark(func, args, kwargs or {}, result)
        return result

    def _composed(self, func: Call, args: Any, kwargs: Any) -> Any:
        compute = COMPOSED[func]
        if compute is composed.cross_entropy and (loss := cross_entropy(*args, **kwargs)) is not None:
            return loss
        try:
            with self:
                return compute(*args, **kwargs)
        except NotImplementedError as error:
            raise refusal(name_of(func), f"{error} is not covered") from None

    def _checked(self, func: Call, args: Any, kwargs: Any) -> Any:
        """What has one right answer for some arguments only."""
        if func in BACKWARD and not kwargs.get("create_graph"):
            return func(*args, **kwargs)
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if func in ELEMENTWISE or func in DIVIDE:
            return elementwise(func, args, kwargs, tensors)
        if func in WITHOUT_GRADIENT and not needs_gradient(*tensors):
            return func(*args, **kwargs)
        if func in RANDOM:
            return drawn(func, *args, **kwargs)
        if func in OF_INTEGERS and not any(is_float(value) for value in (*args, *kwargs.values())):
            return func(*args, **kwargs)
        if str(func).startswith("profiler."):  # an optimizer names its steps for it
            PLAIN.add(func)
            return func(*args, **kwargs)
        if name_of(func).startswith("_foreach_"):
            with self:  # each tensor on its own
                return each_of(getattr(Tensor, func.__name__.removeprefix("_foreach_")), *args, **kwargs)
        if func in DRAWS:
            reason = "it rounds as the machine does; draw with samebits.normal or samebits.uniform"
        elif func in WITHOUT_GRADIENT:
            reason = "its gradient is a sum"
        elif func in OF_INTEGERS:
            reason = "a sum or product of floats depends on its order"
        else:
            reason = "it is not among the functions known to have one right answer"
        raise refusal(name_of(func), reason)

    @staticmethod
    def _mark(func: Call, args: Any, kwargs: Any, result: Any) -> None:
        """Note what is computed from this worker's images, and where they are."""
        first = next((v for v in flat((*args, *kwargs.values())) if hasattr(v, "of_images")), None)
        if first is None:
            return
        images, own = first.of_images, first.shape[first.of_images]
        if func in ALONG and first is args[0] and images in dims_along(func, first, args, kwargs):
            raise refusal(name_of(func), "with several workers it would need the images of all")
        if func in MOVES:
            probe = torch.empty([i + 2 for i in range(first.dim())])  # each dimension has a size of its own
            images = list(func(probe, *args[1:], **kwargs).shape).index(images + 2)
        result = result if result is not None else args[0]
        for x in flat([result]):
            if isinstance(x, Tensor) and (x.dim() <= images or (own and x.shape[images] % own)):
                raise refusal(name_of(func), "with several workers it can't be told which images its result is of")
        workers.of_images(result, images)


def dims_along(func: Call, x: Tensor, args: Any, kwargs: Any) -> tuple[int, ...]:
    """The dimensions of `x` along which a function of ALONG looks at several numbers."""
    position, default = ALONG[func]
    dim = kwargs.get("dim", kwargs.get("dims", args[position] if len(args) > position else default))
    if func is Tensor.__getitem__:
        parts = dim if isinstance(dim, tuple) else (dim,)
        return () if parts[0] is Ellipsis or (isinstance(parts[0], slice) and parts[0] == slice(None)) else (0,)
    return () if isinstance(dim, Tensor) else dims_of(x, dim)


def elementwise(func: Call, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
    """One operation for each element; what is stretched to the shape of another has a sum as its gradient."""
    if kwargs or len(args) > 2:
        if func in ADD and (alpha := kwargs.pop("alpha", 1)) != 1:
            args = (args[0], args[1] * alpha)
        if kwargs.get("rounding_mode") or (func in ADD and len(args) > 2):
            raise refusal(name_of(func), "with rounding_mode or a third argument it is more than one operation")
    if func in DIVIDE and tensors[0].device.type != "cpu":
        args = (args[0], optimizers.divisor(args[1], tensors[0]), *args[2:])
    if len(tensors) > 1 and needs_gradient(*tensors):
        images = [workers.is_of_images(x) for x in tensors]
        shape = torch.broadcast_shapes(*(x.shape for x in tensors))
        if any(images) or any(x.shape != shape for x in tensors):
            args = [stretched(x, shape, any(images)) if isinstance(x, Tensor) else x for x in args]
    return func(*args, **kwargs)


def each_of(method: Call, tensors: list[Tensor], *args: Any, **kwargs: Any) -> list[Any]:
    """A method of each tensor, with its own of the arguments that are lists."""
    own = [[arg[i] if isinstance(arg, list | tuple) else arg for arg in args] for i in range(len(tensors))]
    return [method(x, *arguments, **kwargs) for x, arguments in zip(tensors, own, strict=True)]


def stretched(x: Tensor, shape: torch.Size, with_images: bool) -> Tensor:
    """`x` in that shape, among others of which some may be of this worker's images."""
    total = with_images and not workers.is_of_images(x)
    if not x.requires_grad or (x.shape == shape and not total):
        return x
    if total and x.dim() == len(shape) and x.shape[0] > 1:
        raise refusal("a tensor", "with several workers it can't be told whether its first dimension are images")
    float32("expand", x)
    return Stretch.apply(x, shape, total)


def is_float(value: Any) -> bool:
    """Whether a number, a tensor or a type of tensors is one of floats."""
    dtype = value.dtype if isinstance(value, Tensor) else value
    return isinstance(value, float) or (isinstance(dtype, torch.dtype) and dtype.is_floating_point)


def flat(values: Any) -> Any:
    """All values in nested lists and tuples."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from flat(value)
        else:
            yield value


def name_of(function: Call) -> str:
    """As a user would write it."""
    return resolve_name(function) or getattr(function, "__name__", str(function))


PLAIN = (REARRANGE | COMPARE | {torch._C._set_grad_enabled}) - PRIMITIVES.keys() - COMPOSED.keys()
PLAIN -= ELEMENTWISE
DECIDES = {f for f, compute in PRIMITIVES.items() if compute is sum_} | COMPOSED.keys()
BACKWARD = {Tensor.backward, torch.autograd.backward, torch.autograd.grad}


class exact:  # noqa: N801
    """Within it, networks, losses, gradients and steps of optimizers have the same bits on every machine.

    Used like torch.autocast, around a whole training or evaluation, once or several times.
    Raises NotExactError, which names the line, for what might not have the same bits.
    """

    def __init__(self) -> None:
        self.mode, self.watch, self.entered = Exact(), Watch(), ExitStack()

    def __enter__(self) -> None:
        """Begin to see what is called and executed."""
        flushes = bool(torch.tensor(1e-39).mul(1) == 0)  # a library may have changed that for the whole process
        torch.set_flush_denormal(False)
        with ExitStack() as stack:
            stack.callback(torch.set_flush_denormal, flushes)
            stack.callback(register_optimizer_step_pre_hook(self._before_step).remove)
            stack.callback(register_optimizer_step_post_hook(self._after_step).remove)
            self.mode.others = workers.size() > 1
            for context in (optimizers.schedules(), optimizers.steps(), self.watch, self.mode):
                stack.enter_context(context)
            self.entered = stack.pop_all()

    def __exit__(self, *error: Any) -> None:
        """Leave all as it was."""
        self.entered.__exit__(*error)

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        optimizers.check(optimizer)
        optimizers.steps.is_one = True

    def _after_step(self, *_: Any) -> None:
        optimizers.steps.is_one = False
        self.watch.next()
