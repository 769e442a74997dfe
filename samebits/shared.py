"""A tensor of which each worker has a part: its images, and all that is computed from them.

It has the size of the whole, and gives what the whole would give. Where images don't meet, each worker computes its
own; where they are added up, or the largest is looked for, the workers agree on that. Nothing else needs a rule: for
it, each worker gets all parts and computes the whole.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from samebits import workers
from samebits.errors import refusal
from torch import Tensor
from torch._decomp import decomposition_table

aten = torch.ops.aten
Call = Callable[..., Any]


class Shared(Tensor):
    """A tensor that is shared out along a dimension, in `counts` rows for each worker.

    Without counts it is a copy of a part of the whole, which each worker has, and which is not to be changed.
    """

    local: Tensor
    along: int
    counts: tuple[int, ...]

    @staticmethod
    def __new__(cls, local: Tensor, along: int = 0, counts: tuple[int, ...] = ()) -> "Shared":
        """From this worker's own part."""
        sizes = [*local.shape[:along], sum(counts), *local.shape[along + 1 :]] if counts else [*local.shape]
        found = Tensor._make_wrapper_subclass(cls, sizes, dtype=local.dtype, device=local.device)  # type: ignore[attr-defined]
        found.local, found.along, found.counts = local, along, counts
        return found  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return computed(func, func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Shared({self.local!r}, {self.along}, {self.counts})"


def share(batch: Tensor) -> Tensor:
    """A batch (n, ...) of images, or of their indices, of which each worker has its part, which may be empty.

    It looks like the whole, and so does all that is computed from it. Of one worker it is the whole.
    """
    if workers.size() == 1:
        return batch
    parts = batch.tensor_split(workers.size())
    return Shared(parts[workers.rank()], 0, tuple(map(len, parts)))


def whole(x: Any) -> Any:
    """The whole of a tensor, or of those in a list; what is not shared as it is."""
    if isinstance(x, list | tuple):
        return type(x)(map(whole, x))
    if not isinstance(x, Shared) or not x.counts:
        return getattr(x, "local", x)
    parts = workers.parts(x.local, x.along, x.counts)
    return torch.cat(parts, x.along)


def own(x: Tensor, dim: int, counts: tuple[int, ...]) -> Tensor:
    """This worker's part of the whole."""
    first = sum(counts[: workers.rank()])
    return x.narrow(dim, first, counts[workers.rank()])


def tensors_of(values: Any) -> Iterator[Tensor]:
    """All tensors in nested lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_of(value)


def mapped(change: Call, values: Any) -> Any:
    """What `change` makes of each tensor in nested lists."""
    if isinstance(values, Tensor):
        return change(values)
    return type(values)(mapped(change, value) for value in values) if isinstance(values, list | tuple) else values


def computed(func: Any, compute: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives, if `compute` does it with tensors that are not shared."""
    if any(isinstance(x, Shared) and not x.counts for x in tensors_of((*args, *kwargs.values()))):
        if func._schema.is_mutable and uncopied(args[0]) is not args[0]:
            raise refusal(func, "with several workers, a part of the images can't be changed in place")
        args, kwargs = mapped(uncopied, args), {name: mapped(uncopied, value) for name, value in kwargs.items()}
        return func(*args, **kwargs) if compute is func else compute(*args, **kwargs)
    name = func._schema.name.split("::")[1]
    base = name.removesuffix("_")
    rule = RULES.get(base) or (each if torch.Tag.pointwise in func.tags else None)
    if name != base and rule not in (each, remade, turned):  # in place
        rule = None
    found = rule(func, compute, args, kwargs) if rule else None
    if found is None and compute is func and name == base and (formula := decomposition_table.get(func)):
        return formula(*args, **kwargs)
    return by_all(func, compute, args, kwargs) if found is None else found


def uncopied(x: Any) -> Any:
    """A copy as a plain tensor; others as they are."""
    return x.local if isinstance(x, Shared) and not x.counts else x


def by_all(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Each worker computes the whole."""
    wholes = whole(args)
    found = compute(*wholes, **{name: whole(value) for name, value in kwargs.items()})
    if func._schema.is_mutable and isinstance(args[0], Shared):
        args[0].local.copy_(own(wholes[0], args[0].along, args[0].counts))
        return args[0]
    views = any(argument.alias_info for argument in func._schema.returns)
    return mapped(Shared, found) if views else found


# Rules: what an operation gives, or None if it is for all


def each(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Of each number, or of those that share a place if tensors are stretched to one shape."""
    given = [*tensors_of((*args, *kwargs.values()))]
    shared = [x for x in given if isinstance(x, Shared)]
    behind, counts = shared[0].along - shared[0].dim(), shared[0].counts
    total = sum(counts)
    if any(x.along - x.dim() != behind or x.counts != counts for x in shared):
        return None
    if any(x.dim() >= -behind and x.shape[behind] not in (1, total) for x in given):
        return None
    changes = func._schema.name.endswith("_")
    if changes and not isinstance(args[0], Shared):
        return None

    def part(x: Tensor) -> Tensor:
        if isinstance(x, Shared):
            return x.local
        return own(x, x.dim() + behind, counts) if x.dim() >= -behind and x.shape[behind] == total > 1 else x

    found = compute(*mapped(part, args), **{name: mapped(part, value) for name, value in kwargs.items()})
    return args[0] if changes else mapped(lambda x: Shared(x, x.dim() + behind, counts), found)


def remade(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Of the first argument, in its own shape: of each image, or of nothing but its size."""
    x = args[0]
    if not isinstance(x, Shared):
        return None
    found = compute(x.local, *args[1:], **kwargs)
    return x if found is x.local else Shared(found, x.along, x.counts)  # in place, or not


def dims_of(x: Tensor, dim: Any) -> list[int]:
    """The dimensions that `dim` names, from 0 on; all of them if it is None or empty."""
    named = [dim] if isinstance(dim, int) else dim or range(x.dim())
    return [d % max(x.dim(), 1) for d in named]


def reduced(meet: Call | None, place: int = 1, default: Any = None) -> Call:
    """Of the numbers along dimensions, the argument at `place`; where images meet, `meet` joins what workers have."""

    def rule(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
        x = args[0]
        if not isinstance(x, Shared):
            return None
        dim = kwargs.get("dim", args[place] if len(args) > place else default)
        if isinstance(dim, Tensor):
            return each(func, compute, args, kwargs)
        dims = dims_of(x, dim)
        if x.along not in dims:
            found = compute(x.local, *args[1:], **kwargs)
            return mapped(lambda y: Shared(y, left(x, y, dims), x.counts), found)
        return meet(compute, x.local, args[1:], kwargs) if meet else None

    return rule


def left(x: Shared, y: Tensor, dims: list[int]) -> int:
    """Which dimension images are of a result that may lack `dims`."""
    return x.along if y.dim() == x.dim() else x.along - sum(d < x.along for d in dims)


def total(compute: Call, x: Tensor, args: Any, kwargs: Any) -> Tensor:
    """The sum of all workers' sums, or whether one of them finds any."""
    return workers.total(compute(x, *args, **kwargs))


def most(sign: int) -> Call:
    """The largest of all workers' largest, or the smallest."""

    def meet(compute: Call, x: Tensor, args: Any, kwargs: Any) -> Tensor:
        if not x.numel():  # of a worker without images
            x = x.new_full([size or 1 for size in x.shape], -sign * math.inf)
        return workers.largest(compute(x, *args, **kwargs) * sign) * sign

    return meet


def product(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Of matrices, or of stacks of them."""
    a, b = args
    rows, inner = a.dim() - 2, a.dim() - 1  # of a; of b they are those that are summed, and the columns
    counts = next(x.counts for x in args if isinstance(x, Shared))
    along = tuple(x.along if isinstance(x, Shared) and x.counts == counts else None for x in args)
    if along.count(None) != sum(not isinstance(x, Shared) for x in args):
        return None

    def parts(of_a: int, of_b: int) -> list[Tensor]:
        each = zip(args, (of_a, of_b), strict=True)
        return [x.local if isinstance(x, Shared) else own(x, dim, counts) for x, dim in each]

    if along in ((inner, rows), (inner, None), (None, rows)):
        return workers.total(compute(*parts(inner, rows)))
    if rows == 1 and along in ((0, 0), (0, None), (None, 0)):
        return Shared(compute(*parts(0, 0)), 0, counts)
    if along == (rows, None):
        return Shared(compute(a.local, b), rows, counts)
    return Shared(compute(a, b.local), inner, counts) if along == (None, inner) else None


def convolution(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Of images, which are the first dimension, by weights that are not shared."""
    x, *rest = args
    if not isinstance(x, Shared) or x.along or any(isinstance(value, Shared) for value in rest):
        return None
    return Shared(compute(x.local, *rest), 0, x.counts)


def convolution_backward(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """The gradients of weight and bias are of all images."""
    gradient, x, *rest = args
    if not isinstance(gradient, Shared) or not isinstance(x, Shared) or gradient.along or x.along:
        return None
    for_x, *others = compute(gradient.local, x.local, *rest)
    return Shared(for_x, 0, x.counts) if for_x is not None else None, *(
        other if other is None else workers.total(other) for other in others
    )


def turned(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """With dimensions in another order, or more or fewer of size 1."""
    x = args[0]
    sizes = [1 if size == 1 else i + 2 for i, size in enumerate(x.shape)]  # by which each can be found again
    shape = list(compute(torch.empty(sizes, device="meta"), *args[1:], **kwargs).shape)
    if x.shape[x.along] == 1:
        return None
    found = Shared(compute(x.local, *args[1:], **kwargs), shape.index(x.along + 2), x.counts)
    if func._schema.is_mutable:
        x.data, x.local, x.along = found, found.local, found.along
    return x if func._schema.is_mutable else found


def viewed(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """In another shape, if rows of images stay together."""
    x, sizes = args
    if isinstance(sizes, torch.dtype):
        return Shared(x.local.view(sizes), x.along, x.counts)
    if not x.numel():
        return None
    known = math.prod(size for size in sizes if size != -1)
    sizes = [x.numel() // max(known, 1) if size == -1 else size for size in sizes]
    before, n = math.prod(x.shape[: x.along]), x.shape[x.along]
    for dim, size in enumerate(sizes):
        if math.prod(sizes[:dim]) != before or (size == 1 and n > 1):
            continue
        if size % n == 0:
            counts = tuple(count * (size // n) for count in x.counts)
        elif n % size == 0 and all(count % (n // size) == 0 for count in x.counts):
            counts = tuple(count // (n // size) for count in x.counts)
        else:
            return None
        return Shared(x.local.reshape([*sizes[:dim], counts[workers.rank()], *sizes[dim + 1 :]]), dim, counts)
    return None


def expanded(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Stretched to another shape, in which images are as many as they were."""
    x, sizes = args[0], [*args[1]]
    along = x.along + len(sizes) - x.dim()
    if sizes[along] not in (-1, x.shape[x.along]):
        return None
    sizes[along] = x.local.shape[x.along]
    return Shared(x.local.expand(sizes), along, x.counts)


def selected(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Numbers at a place, or from one to another, of a dimension that is not of images."""
    x, dim = args[0], (args[1] if len(args) > 1 else 0) % args[0].dim()
    if dim == x.along:
        return None
    found = compute(x.local, *args[1:], **kwargs)
    return mapped(lambda y: Shared(y, left(x, y, [dim]), x.counts), found)


def joined(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Tensors put together along a dimension that is not of images."""
    parts, dim = args[0], (args[1] if len(args) > 1 else 0) % args[0][0].dim()
    shared = next(x for x in parts if isinstance(x, Shared))
    if dim == shared.along or any(
        isinstance(x, Shared) and (x.along, x.counts) != (shared.along, shared.counts) for x in parts
    ):
        return None
    locals_ = [x.local if isinstance(x, Shared) else own(x, shared.along, shared.counts) for x in parts]
    return Shared(compute(locals_, dim), shared.along, shared.counts)


def indexed(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Rows of what is not shared, by numbers of which each worker has its own."""
    x, (index, *others) = args
    if isinstance(x, Shared) or others or not isinstance(index, Shared) or index.dtype == torch.bool:
        return None
    return Shared(compute(x, [index.local]), index.along, index.counts)


def selected_rows(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """The same, along a dimension."""
    x, dim, index = args
    if isinstance(x, Shared) or not isinstance(index, Shared):
        return None
    return Shared(compute(x, dim, index.local), dim % x.dim(), index.counts)


def by_image(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Of each image, which are the first dimension of all tensors."""
    given: list[Any] = [*tensors_of(args)]
    if any(not isinstance(x, Shared) or x.along or x.counts != given[0].counts for x in given):
        return None
    name, x = func._schema.name, given[0]
    if "pad" in name and len(args[1]) // 2 >= x.dim():
        return None
    if name.startswith(("aten::gather", "aten::scatter")) and args[1] % x.dim() == 0:
        return None
    found = compute(*mapped(lambda x: x.local, args), **kwargs)
    return mapped(lambda y: Shared(y, 0, x.counts), found)


NAMES = {
    "where masked_fill copy hardtanh_backward elu_backward fill": each,
    "clone detach _to_copy to zeros_like ones_like empty_like full_like zero alias": remade,
    "sum any": reduced(total),
    "amax": reduced(most(1)),
    "amin": reduced(most(-1)),
    "mean prod var argmax argmin cumsum _softmax _log_softmax max min flip median all": reduced(None),
    "sort": reduced(None, 1, -1),
    "topk": reduced(None, 2, -1),
    "mm bmm": product,
    "convolution": convolution,
    "convolution_backward": convolution_backward,
    "t transpose permute unsqueeze squeeze": turned,
    "view _unsafe_view reshape": viewed,
    "expand": expanded,
    "select slice split unbind": selected,
    "cat": joined,
    "index": indexed,
    "index_select": selected_rows,
    "max_pool2d_with_indices im2col col2im constant_pad_nd reflection_pad2d": by_image,
    "gather scatter scatter_add scatter_reduce": by_image,
}
RULES: dict[str, Call] = {name: rule for names, rule in NAMES.items() for name in names.split()}
