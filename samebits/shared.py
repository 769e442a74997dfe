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
from samebits.errors import WorkersError, refusal
from samebits.formulas import formula
from samebits.sums import dims_of
from torch import Tensor

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
    def __new__(
        cls, local: Tensor, along: int = 0, counts: tuple[int, ...] = (), strides: tuple[int, ...] | None = None
    ) -> "Shared":
        """From this worker's own part, and the strides that the whole would have, if it is not contiguous."""
        sizes = [*local.shape[:along], sum(counts), *local.shape[along + 1 :]] if counts else [*local.shape]
        strides = strides if counts else local.stride()
        found = Tensor._make_wrapper_subclass(cls, sizes, strides, dtype=local.dtype, device=local.device)  # type: ignore[attr-defined]
        found.local, found.along, found.counts = local, along, counts
        return found  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return computed(func, func, args, kwargs or {})

    def _set_data(self, value: Tensor) -> None:
        if not isinstance(value, Shared):
            value = Shared(own(value, self.along, self.counts), self.along, self.counts)
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.local, self.along, self.counts = value.local, value.along, value.counts

    data = property(Tensor.data.__get__, _set_data)  # type: ignore[assignment, attr-defined]

    def tolist(self) -> Any:
        """Of the whole."""
        return whole(self).tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Of the whole."""
        return whole(self.detach() if force else self).numpy()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Shared({self.local!r}, {self.along}, {self.counts})"


def share(batch: Tensor) -> Tensor:
    """A batch (n, ...) of images, or of their indices, of which each worker has its part, which may be empty.

    It looks like the whole, and so does all that is computed from it. Of one worker it is the whole.
    """
    if workers.size() == 1 or not len(batch):
        return batch.clone()
    if batch.requires_grad and torch.is_grad_enabled():
        raise WorkersError("expected a batch that needs no gradient, found one that does; share it before it needs one")
    parts = batch.tensor_split(workers.size())
    return Shared(parts[workers.rank()].clone(), 0, tuple(map(len, parts)))


def whole(x: Any) -> Any:
    """The whole of a tensor, or of those in a list; what is not shared as it is."""
    if isinstance(x, list | tuple):
        return type(x)(map(whole, x))
    if not isinstance(x, Shared) or not x.counts:
        return getattr(x, "local", x)
    found, strides = torch.cat(workers.parts(x.local), x.along), x.stride()
    if found.stride() == strides:
        return found
    once = found[tuple(slice(None if stride else 1) for stride in strides)]  # what is stretched
    return torch.empty_strided(once.shape, strides, dtype=x.dtype, device=x.device).copy_(once).expand(x.shape)


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
    """What an operation gives, if `compute` does it.

    That is the operation itself, or what gives the same for each image and is made of others where images meet.
    """
    if any(isinstance(x, Shared) and not x.counts for x in tensors_of((*args, *kwargs.values()))):
        if func._schema.is_mutable and uncopied(args[0]) is not args[0]:
            raise refusal(func, "with several workers, a part of the images can't be changed in place")
        plain, named = mapped(uncopied, args), {name: mapped(uncopied, value) for name, value in kwargs.items()}
        return viewing(args, plain, compute(*plain, **named))
    name = func._schema.name.split("::")[1]
    base = name.removesuffix("_")
    rule = RULES.get(base) or (each if torch.Tag.pointwise in func.tags and "rrelu" not in base else None)
    if any(argument.is_out for argument in func._schema.arguments):
        rule = None
    if name != base and rule not in (each, moved, squeezed):  # in place
        rule = None
    found = rule(func, compute, args, kwargs) if rule else None
    if found is None and compute is not func:
        return compute(*args, **kwargs)
    if found is None and not func._schema.is_mutable and not any(word in name for word in ("attention", "nll_loss")):
        found = (written := formula(func)) and written(*args, **kwargs)
        found = None if found is NotImplemented else found
    return by_all(func, compute, args, kwargs) if found is None else found


def uncopied(x: Any) -> Any:
    """A copy as a plain tensor; others as they are."""
    return x.local if isinstance(x, Shared) and not x.counts else x


def viewing(given: Any, wholes: Any, found: Any) -> Any:
    """What is found; as a copy that is not to be changed, if it is a part of the whole of what was given."""
    pairs = zip(tensors_of(given), tensors_of(wholes), strict=True)
    copies = {y.untyped_storage().data_ptr() for x, y in pairs if isinstance(x, Shared) and not isinstance(y, Shared)}

    def kept(x: Tensor) -> Tensor:
        return x if isinstance(x, Shared) or x.untyped_storage().data_ptr() not in copies else Shared(x)

    return mapped(kept, found)


def by_all(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Each worker computes the whole; what is changed in place it takes its own part of."""
    wholes, named = whole(args), {name: whole(value) for name, value in kwargs.items()}
    found = compute(*wholes, **named)
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    full = dict(zip(given, wholes, strict=False)) | named
    for argument in func._schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write and argument.name in given:
            for x, y in zip(*(tensors_of([values[argument.name]]) for values in (given, full)), strict=True):
                if isinstance(x, Shared):
                    x.local.copy_(own(y, x.along, x.counts))
    changes = func._schema.is_mutable and isinstance(args[0], Shared)
    return args[0] if changes else viewing(args, wholes, found)


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
    changes = func._schema.is_mutable
    if changes and not isinstance(args[0], Shared):
        return None

    def part(x: Tensor) -> Tensor:
        if isinstance(x, Shared):
            return x.local
        return own(x, x.dim() + behind, counts) if x.dim() >= -behind and x.shape[behind] == total > 1 else x

    found = compute(*mapped(part, args), **{name: mapped(part, value) for name, value in kwargs.items()})
    return args[0] if changes else mapped(lambda x: Shared(x, x.dim() + behind, counts), found)


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
            without = x.along - sum(d < x.along for d in dims)  # where images are of a result that lacks `dims`
            return mapped(lambda y: Shared(y, x.along if y.dim() == x.dim() else without, x.counts), found)
        return meet(compute, x, args[1:], kwargs) if meet and compute is func else None

    return rule


def total(compute: Call, x: Shared, args: Any, kwargs: Any) -> Tensor:
    """The sum of all workers' sums."""
    return workers.total(compute(x.local, *args, **kwargs))


def most(smallest: bool) -> Call:
    """The largest of all workers' largest, or the smallest."""

    def meet(compute: Call, x: Shared, args: Any, kwargs: Any) -> Tensor:
        local = x.local
        if not local.shape[x.along]:  # of a worker without images
            limits = torch.finfo(x.dtype) if x.is_floating_point() else None
            worst = math.inf if limits else 1 if x.dtype == torch.bool else torch.iinfo(x.dtype).max
            least = -math.inf if limits else 0 if x.dtype == torch.bool else torch.iinfo(x.dtype).min
            shape = (*local.shape[: x.along], 1, *local.shape[x.along + 1 :])
            local = local.new_full(shape, worst if smallest else least)
        return workers.largest(compute(local, *args, **kwargs), smallest)

    return meet


def product(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Of matrices, or of stacks of them."""
    a, b = args
    rows, inner = a.dim() - 2, a.dim() - 1  # of a; of b they are those that are summed, and the columns
    counts = next(x.counts for x in args if isinstance(x, Shared))
    along = tuple(x.along if isinstance(x, Shared) and x.counts == counts else None for x in args)
    if along.count(None) != sum(not isinstance(x, Shared) for x in args):
        return None
    if min(a.dim(), b.dim()) == 1 and along != (rows, None):
        return None

    def parts(of_a: int, of_b: int) -> list[Tensor]:
        each = zip(args, (of_a, of_b), strict=True)
        return [x.local if isinstance(x, Shared) else own(x, dim, counts) for x, dim in each]

    if along in ((inner, rows), (inner, None), (None, rows)):
        return workers.total(compute(*parts(inner, rows))) if compute is func else None
    if rows == 1 and along in ((0, 0), (0, None), (None, 0)):
        return Shared(compute(*parts(0, 0)), 0, counts)
    if along == (rows, None):
        return Shared(compute(a.local, b), rows, counts)
    return Shared(compute(a, b.local), inner, counts) if along == (None, inner) else None


def convolution_backward(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """The gradients of weight and bias are of all images."""
    gradient, x, *rest = args
    if compute is not func or any(not isinstance(each, Shared) or each.along for each in (gradient, x)):
        return None
    for_x, *others = compute(gradient.local, x.local, *rest)
    return Shared(for_x, 0, x.counts) if for_x is not None else None, *(
        other if other is None else workers.total(other) for other in others
    )


def strides(func: Any, x: Shared, *args: Any, **kwargs: Any) -> tuple[int, ...]:
    """Those that the whole would have after an operation which moves nothing."""
    return func(whole_of(x, x.stride()), *args, **kwargs).stride()  # type: ignore[no-any-return]


def whole_of(x: Shared, strides: tuple[int, ...]) -> Tensor:
    """As large as the whole, without its numbers."""
    return torch.empty_strided(x.shape, strides, device="meta")


def moved(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """With dimensions in another order, or some numbers of one only; its stride says which is that of images."""
    x, *rest = args
    marks = tuple(7 * (dim == x.along) for dim in range(x.dim()))
    marked, wholes = (
        [*tensors_of([compute(whole_of(x, strides), *rest, **kwargs)])] for strides in (marks, x.stride())
    )
    along = [[y.shape[dim] == x.shape[x.along] and y.stride(dim) == 7 for dim in range(y.dim())] for y in marked]
    if any(dims.count(True) != 1 for dims in along):
        return None
    found = compute(x.local, *rest, **kwargs)
    each_part = zip(tensors_of([found]), along, wholes, strict=True)
    parts = [Shared(y, dims.index(True), x.counts, whole.stride()) for y, dims, whole in each_part]
    if func._schema.is_mutable:
        x.data = parts[0]
    return x if func._schema.is_mutable else parts[0] if isinstance(found, Tensor) else parts


def squeezed(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Without dimensions of size 1, of the whole."""
    x, *rest = args
    dims = [dim for dim in dims_of(x, rest[0] if rest else None) if x.shape[dim] == 1]
    squeeze = aten.squeeze_ if func._schema.is_mutable else aten.squeeze
    return None if x.along in dims else moved(func, squeeze.dims, (x, dims), {})


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
        after = strides(func, x, sizes)
        return Shared(x.local.reshape([*sizes[:dim], counts[workers.rank()], *sizes[dim + 1 :]]), dim, counts, after)
    return None


def expanded(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
    """Stretched to another shape, in which images are as many as they were."""
    x, sizes = args[0], [*args[1]]
    along = x.along + len(sizes) - x.dim()
    if sizes[along] not in (-1, x.shape[x.along]):
        return None
    sizes[along], after = x.local.shape[x.along], strides(func, x, args[1])
    return Shared(x.local.expand(sizes), along, x.counts, after)


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


def of_images(places: tuple[int, ...], is_possible: Call = lambda *_: True) -> Call:
    """Of each image, which are the first dimension of the arguments at these places; the others are of all."""

    def rule(func: Any, compute: Call, args: Any, kwargs: dict[str, Any]) -> Any:
        given, counts = list(args), next(x.counts for x in tensors_of(args) if isinstance(x, Shared))
        for i in (place for place in places if place < len(args) and isinstance(args[place], Tensor)):
            x = args[i]
            if (x.along or x.counts != counts) if isinstance(x, Shared) else x.shape[:1] != (sum(counts),):
                return None
            given[i] = x.local if isinstance(x, Shared) else own(x, 0, counts)
        if any(isinstance(x, Shared) for x in tensors_of(given)) or not is_possible(*args):
            return None
        return mapped(lambda y: Shared(y, 0, counts) if y.dim() else y, compute(*given, **kwargs))

    return rule


def has(dims: int) -> Call:
    """Whether the first argument has so many dimensions, the first of which are images then."""
    return lambda x, *_: x.dim() == dims


def elsewhere(x: Tensor, dim: int, *_: Any) -> bool:
    """Whether a dimension is not the first."""
    return dim % x.dim() > 0


NAMES = {
    "where masked_fill copy hardtanh_backward elu_backward fill clone detach _to_copy to alias": each,
    "zero zeros_like ones_like empty_like full_like": each,
    "equal": lambda *_: None,  # which PyTorch calls pointwise
    "sum": reduced(total),
    "amax": reduced(most(smallest=False)),
    "amin": reduced(most(smallest=True)),
    "mean prod var argmax argmin cumsum _softmax _log_softmax max min flip median any all": reduced(None),
    "sort": reduced(None, 1, -1),
    "topk": reduced(None, 2, -1),
    "mm bmm matmul": product,
    "addmm": of_images((1,), lambda x, *_: x.dim() == 1),
    "nll_loss_forward": of_images((0, 1), lambda x, y, weight, reduction, _: reduction == 0),
    "nll_loss_backward": of_images((0, 1, 2), lambda g, x, y, weight, reduction, *_: reduction == 0),
    "_log_softmax_backward_data": of_images((0, 1), lambda gradient, y, dim, _: elsewhere(y, dim)),
    "convolution": of_images((0,)),
    "convolution_backward": convolution_backward,
    "t transpose permute unsqueeze select slice unbind split split_with_sizes": moved,
    "squeeze": squeezed,
    "view _unsafe_view reshape": viewed,
    "expand": expanded,
    "cat": joined,
    "index": indexed,
    "max_pool2d_with_indices adaptive_max_pool2d im2col reflection_pad2d": of_images((0,), has(4)),
    "col2im": of_images((0,), has(3)),
    "constant_pad_nd": of_images((0,), lambda x, sizes, *_: len(sizes) // 2 < x.dim()),
    "gather": of_images((0, 2), elsewhere),
    "scatter scatter_add scatter_reduce": of_images((0, 2, 3), elsewhere),
}
RULES: dict[str, Call] = {name: rule for names, rule in NAMES.items() for name in names.split()}
