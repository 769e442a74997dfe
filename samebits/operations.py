"""Which of PyTorch's operations is which, and what computes it.

Each has a name and a variant, as aten.add.Tensor. One that ends with _ changes its first argument.
"""

from collections.abc import Callable
from itertools import repeat
from typing import Any, NamedTuple

import torch
from samebits import draws, formulas, functions, losses, products, sums
from samebits.errors import refusal
from samebits.grid import AT_ONCE, joined, over, parts
from samebits.shared import tensors_of
from torch import Tensor

aten = torch.ops.aten
Call = Callable[..., Any]

# They make numbers, or move or choose some.
MOVE = (
    "empty empty_strided empty_like new_empty new_empty_strided zeros zeros_like new_zeros ones ones_like new_ones "
    "full full_like new_full eye scalar_tensor fill zero tril_indices triu_indices _efficientzerotensor lift "
    "lift_fresh lift_fresh_copy view _unsafe_view _reshape_alias alias detach t transpose permute expand squeeze "
    "unsqueeze select slice split split_with_sizes unbind as_strided diagonal unfold clone copy _to_copy cat stack "
    "flip roll repeat contiguous select_backward slice_backward diagonal_backward constant_pad_nd index index_select "
    "gather take masked_select masked_fill masked_scatter where tril triu diag_embed select_scatter slice_scatter "
    "diagonal_scatter as_strided_scatter index_fill resize resize_as set rot90 repeat_interleave "
    "native_channel_shuffle pixel_shuffle pixel_unshuffle channel_shuffle reflection_pad1d reflection_pad2d "
    "reflection_pad3d replication_pad1d replication_pad2d replication_pad3d im2col block_diag _pack_padded_sequence "
    "_pack_padded_sequence_backward value_selecting_reduction_backward _local_scalar_dense is_pinned set_data "
    "record_stream view_copy expand_copy permute_copy t_copy transpose_copy squeeze_copy unsqueeze_copy alias_copy "
    "diagonal_copy unbind_copy split_copy split_with_sizes_copy slice_copy select_copy as_strided_copy _unsafe_index "
    "resolve_conj resolve_neg _conj _neg_view unsafe_split unsafe_split_with_sizes _unsafe_masked_index "
    "_assert_async _assert_scalar to item"
)
# They compare numbers, or find one.
FIND = (
    "eq ne lt le gt ge equal is_same_size _has_same_storage_numel isnan isinf isfinite isposinf isneginf signbit "
    "logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor any all nonzero "
    "argmax argmin kthvalue median nanmedian mode _unique2 unique_dim unique_consecutive "
    "searchsorted bucketize isin max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d "
    "adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d cummax cummin allclose"
)
# They round once for each number, by IEEE 754, or draw whole multiples of 2**-24.
EACH = (
    "mul neg abs floor ceil round trunc frac fmod sign sgn copysign nan_to_num leaky_relu leaky_relu_backward "
    "threshold_backward hardtanh_backward hardshrink hardshrink_backward softshrink_backward frexp heaviside "
    "floor_divide remainder rand randint randint_like randperm random"
)
RIGHT = {*f"{MOVE} {FIND} {EACH}".split()}
# So do these; but of -0 and +0 they take one or the other, by the processor or by the thread.
LARGER = (
    "relu hardtanh clamp clamp_min clamp_max maximum minimum fmax fmin amax amin aminmax max min softshrink threshold"
)
OF_ZEROS = {*LARGER.split()}


def unsigned(function: Call) -> Call:
    """What the function makes, with zeros that are +0."""

    def compute(*args: Any, **kwargs: Any) -> Any:
        found = function(*args, **kwargs)
        for x in found if isinstance(found, tuple) else (found,):
            if x.is_floating_point():
                x.add_(0.0)
        return found

    return compute


# To multiply and add is one operation on some processors, which round once, and two on others, as here.
TERMS: dict[str, Call] = {
    "add": lambda x, other, alpha=1: other if alpha == 1 else other * alpha,
    "sub": lambda x, other, alpha=1: other * -alpha,
    "addcmul": lambda x, a, b, value=1: a * b if value == 1 else a * b * value,
    "addcdiv": lambda x, a, b, value=1: a / b if value == 1 else a / b * value,
    "lerp": lambda x, end, weight: (end - x) * weight,
}


def adding(name: str, term: Call) -> Call:
    """What adds a term to its first argument, in place if its name ends with _."""
    add = Tensor.add_ if name.endswith("_") else torch.add
    return lambda x, *args, **kwargs: add(x, term(x, *args, **kwargs))


def divided(x: Any, other: Any, **how: Any) -> Tensor:
    """x / other."""
    return torch.div(x, other, **how) if how or isinstance(other, Tensor) else over(x, other)


def ordered(x: Tensor, dim: int = -1, descending: bool = False, *, stable: Any = None) -> tuple[Tensor, Tensor]:
    """In order, equal ones as they were; without that, it depends on the processor."""
    return aten.sort.stable(x, stable=True, dim=dim, descending=descending)  # type: ignore[no-any-return]


def first(x: Tensor, k: int, dim: int = -1, largest: bool = True, in_order: bool = True) -> tuple[Tensor, Tensor]:
    """The k largest or smallest."""
    if not 0 <= k <= (x.shape[dim] if x.dim() else 1):
        raise RuntimeError(f"selected index k out of range: {k}")
    values, places = ordered(x, dim, largest)
    found = (part.narrow(dim, 0, k).contiguous() if x.dim() else part for part in (values, places))
    return next(found), next(found)


EXACT: dict[str, Call] = {  # of all types of numbers
    "sort": ordered,
    "topk": first,
    **{name: adding(name, term) for base, term in TERMS.items() for name in (base, f"{base}_")},
    "div": divided,
    "div_": lambda x, other, **how: x.copy_(divided(x, other, **how)),
    "scatter": sums.scatter,
    "index_copy": sums.index_copy,
    "index_put": sums.index_put,
    "reciprocal": lambda x: divided(torch.ones_like(x), x),
}
COMPUTED: dict[str, Any] = {
    **sums.COMPUTED,
    **products.COMPUTED,
    **functions.COMPUTED,
    **losses.COMPUTED,
}


class Way(NamedTuple):
    """What computes an operation."""

    compute: Call
    is_right: bool = False  # of all types of numbers
    is_ordinary: bool = False  # code that is looked at itself, one operation after the other
    is_drawn: bool = False  # of all types of numbers
    is_each: bool = False  # whether it does the same with each number, and nothing else


def way(func: Any) -> Way:
    """Of an operation."""
    name, is_each = func._schema.name.split("::")[1], torch.Tag.pointwise in func.tags
    base = name.removesuffix("_") if name.endswith("_") and not name.endswith("__") else name
    if func.namespace == "prims":  # PyTorch's formulas are made of these
        return Way(func.impl_aten, is_ordinary=True)
    if func.namespace not in ("aten", "profiler"):
        return Way(unknown(func))
    if any(argument.is_out for argument in func._schema.arguments):
        return Way(written(func, name), is_ordinary=True)
    if base in RIGHT or func.namespace == "profiler":
        return Way(func, is_right=True, is_each=is_each)
    if base in OF_ZEROS:
        return Way(unsigned(func), is_right=True, is_each=is_each)
    if name in draws.DRAWS:
        return Way(draws.DRAWS[name], is_ordinary=True, is_drawn=True)
    if name.startswith("_foreach_"):
        return Way(for_each(base.removeprefix("_foreach_"), name.removeprefix(base)), is_ordinary=True)
    if name in EXACT:
        return Way(EXACT[name], is_right=True, is_each=is_each)
    if base != name and str(func._schema.arguments[0].type) == "Tensor":
        return Way(in_place(base), is_ordinary=True)
    if name in COMPUTED:
        return Way(some_at_once(COMPUTED[name]) if is_each else COMPUTED[name])
    formula = formulas.formula(func) or formulas.by_autograd(func)
    return Way(formula, is_ordinary=True) if formula else Way(unknown(func))


def some_at_once(compute: Call) -> Call:
    """What computes each of many numbers by itself, done with some of them after the other."""

    def by_parts(*args: Any, **kwargs: Any) -> Any:
        x, *others = (y for y in args if isinstance(y, Tensor))
        if x.numel() <= AT_ONCE or not all(
            type(y) is Tensor and y.shape == x.shape and y.is_contiguous() for y in (x, *others)
        ):
            return compute(*args, **kwargs)
        each = [parts(y.view(-1)) if isinstance(y, Tensor) else repeat(y) for y in args]
        return joined([compute(*part, **kwargs) for part in zip(*each, strict=False)]).view(x.shape)

    return by_parts


def are_complex(values: Any) -> bool:
    """Whether some are complex, whose products and magnitudes are several operations in one."""
    return any(x.is_complex() if isinstance(x, Tensor) else type(x) is complex for x in values)


def are_floats(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an operation is of float32; raises NotExactError if it is of another type of floats."""
    if not kwargs and all(x.dtype is torch.float32 for x in args if isinstance(x, Tensor)):
        return True
    dtypes = {x.dtype for x in tensors_of((*args, *kwargs.values()))}
    dtypes |= {kwargs["dtype"]} if dtypes and kwargs.get("dtype") else set()
    if any(dtype.is_complex or (dtype.is_floating_point and dtype != torch.float32) for dtype in dtypes):
        names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise refusal(func, f"it is of {names}; only of float32 is it exact")
    return torch.float32 in dtypes or not dtypes


def unknown(func: Any) -> Call:
    """What refuses an operation, unless it is of no tensor."""

    def compute(*args: Any, **kwargs: Any) -> Any:
        if func.namespace != "aten" and not [*tensors_of((*args, *kwargs.values()))]:
            return func(*args, **kwargs)  # as a library asks for its version
        raise refusal(func, "it is not known to have one right answer; samebits/README.md lists what is")

    return compute


def in_place(base: str) -> Call:
    """What an operation does that changes its first argument: as the one that does not."""
    operation = getattr(aten, base)
    return lambda x, *args, **kwargs: x.copy_(operation(x, *args, **kwargs))


def written(func: Any, name: str) -> Call:
    """What an operation does that puts its result into `out`: as the one that does not."""
    operation = getattr(aten, name)

    def compute(*args: Any, out: Any = None, **kwargs: Any) -> Tensor:
        if out is None:
            raise refusal(func, "of operations with an `out` only those are covered that have one result")
        found = operation(*args, **kwargs)
        return out.resize_(found.shape).copy_(found)  # type: ignore[no-any-return]

    return compute


# Of operations for several tensors those for one, where the names differ.
ONE_OF_EACH = {"norm": "linalg_vector_norm", "maximum": "clamp_min", "minimum": "clamp_max"}


def for_each(base: str, ending: str) -> Call:
    """What an operation does with each of several tensors, and with its own of the arguments that are lists."""
    operation = getattr(aten, ONE_OF_EACH.get(base, base) + ending)

    def compute(tensors: list[Tensor], *args: Any, **kwargs: Any) -> Any:
        found, lists = [], [y if isinstance(y, list | tuple) else repeat(y) for y in args]
        for x, *own in zip(tensors, *lists, strict=False):
            value = {"value": own.pop()} if len(own) == 3 else {}  # of addcmul and addcdiv
            found.append(operation(x, *own, **value, **kwargs))
        return None if ending else found

    return compute
