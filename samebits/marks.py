"""With several workers: which results are of a worker's images, and which of their dimensions those are."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from samebits import tables, workers
from samebits.errors import refusal
from samebits.sums import dims_of, needs_gradient
from samebits.tables import Call, name_of
from samebits.workers import Mixed
from torch import Tensor


def sized(args: Any) -> Any:
    """The arguments of view or reshape; with what -1 is where a worker has no images, of which PyTorch can't tell."""
    if len(args) < 2 or args[0].numel():
        return args
    x, sizes = args[0], list(args[1] if isinstance(args[1], list | tuple) else args[1:])
    if sizes[0] != 0 or -1 not in sizes:
        return args
    known = math.prod(size for size in sizes[1:] if size != -1)
    return x, tuple(math.prod(x.shape[1:]) // known if size == -1 else size for size in sizes)


def note(func: Call, args: Any, kwargs: Any, result: Any) -> None:
    """Mark the result of a function, if it was given something that is of images.

    Raises NotExactError if that can't be told, or if the function would need the images of all workers.
    """
    marked = [value for value in flat((*args, *kwargs.values())) if hasattr(value, "of_images")]
    if not marked:
        return
    if func is torch.autograd.grad:  # of outputs by inputs: a gradient is of images if what it is for is
        for x, gradient in zip(args[1], result, strict=True):
            if hasattr(x, "of_images"):
                workers.of_images(gradient, x.of_images + bool(kwargs.get("is_grads_batched")))
        return
    first, own = marked[0], marked[0].shape[marked[0].of_images]
    result = result if result is not None else args[0]
    dims = dims_along(func, first, args, kwargs) if func in tables.ALONG and first is args[0] else ()
    if first.of_images in dims or func in tables.WHOLE or is_by_class(func, args, kwargs):
        raise refusal(name_of(func), "with several workers it would need the images of all")
    if func in tables.ALIGNED and len({value.of_images - value.dim() for value in marked}) > 1:
        raise refusal(name_of(func), "with several workers it would need each image with each")
    images = where(func, args, kwargs, first, result, dims)
    is_mixed = any(isinstance(x.of_images, Mixed) for x in marked)
    for x in flat([result]):
        if not isinstance(x, Tensor):
            continue
        is_turned = func in tables.RESHAPE and x.shape[:images] != first.shape[:images]
        rows = -1 if is_turned or x.dim() <= images else x.shape[images]
        if rows != own and (rows < 0 or func not in tables.ROWS or (own and rows % own)):
            raise refusal(name_of(func), "with several workers it can't be told which images its result is of")
        if x is args[0] and x._is_view() and not hasattr(x, "of_images"):
            raise refusal(name_of(func), "with several workers, images can't be written into a part of something else")
        is_mixed = is_mixed or (rows != own and func in tables.MIX)
    workers.of_images(result, Mixed(images) if is_mixed else images)


def is_by_class(func: Call, args: Any, kwargs: Any) -> bool:
    """Whether the number of classes is to be found."""
    return func in tables.ONE_HOT and kwargs.get("num_classes", (*args, -1)[1]) == -1


def where(func: Call, args: Any, kwargs: Any, x: Tensor, result: Any, dims: tuple[int, ...]) -> int:
    """Which dimension of the result images are, if `x` is of images and the function looks along `dims`."""
    images: int = x.of_images  # type: ignore[attr-defined]
    if func in tables.JOIN:
        return joined(func, args, kwargs, images)
    if func in tables.TURN:
        probe = torch.empty([i + 2 for i in range(x.dim())])  # each dimension has a size of its own
        return list(func(probe, *args[1:], **kwargs).shape).index(images + 2)
    if func in tables.REPEAT and isinstance(result, Tensor):
        return images + result.dim() - x.dim()
    if func is Tensor.__getitem__ and x is args[0]:
        return images + sum(left - taken for _, dim, taken, left in parts_of(x, args[1]) if dim + taken <= images)
    if any(isinstance(part, Tensor) and part.dim() == x.dim() - len(dims) for part in flat([result])):
        return images - sum(dim < images for dim in dims)
    return images


def joined(func: Call, args: Any, kwargs: Any, images: int) -> int:
    """Which dimension images are, where tensors are put together of which they are that one."""
    parts, is_new = args[0], func is torch.stack
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0) % (parts[0].dim() + is_new)
    if dim == images and not is_new and not all(hasattr(part, "of_images") for part in parts):
        raise refusal(name_of(func), "with several workers, each would add the same to its images")
    if any(needs_gradient(part) and not hasattr(part, "of_images") for part in parts):
        raise refusal(name_of(func), "with several workers, expand weights to the images")
    return images + (is_new and dim <= images)


def dims_along(func: Call, x: Tensor, args: Any, kwargs: Any) -> tuple[int, ...]:
    """The dimensions of `x` along which a function of tables.ALONG looks at several numbers."""
    if func in (Tensor.__getitem__, Tensor.__setitem__):
        parts = [*parts_of(x, args[1])]
        by_image = [dim for part, dim, *_ in parts if hasattr(part, "of_images")]
        if any(by_image):
            return (*range(x.dim()),)
        if by_image and func is Tensor.__setitem__:
            return ()  # each image's own places
        return tuple(d for _, dim, taken, _ in parts for d in range(dim, dim + taken))
    position, default = tables.ALONG[func]
    dim = kwargs.get("dim", kwargs.get("dims", args[position] if len(args) > position else default))
    if func in tables.DIAGONAL:
        named = ((2, "dim1"), (3, "dim2"))
        return dims_of(x, [kwargs.get(name, args[i] if len(args) > i else i - 2) for i, name in named])
    return () if isinstance(dim, Tensor) else dims_of(x, dim)


def parts_of(x: Tensor, index: Any) -> Iterator[tuple[Any, int, int, int]]:
    """The parts of an index that do not just take all of a dimension.

    Each with the first dimension of `x` that it is about, of how many it is, and how many it leaves.
    """
    parts, dim = index if isinstance(index, tuple) else (index,), 0
    for i, part in enumerate(parts):
        if part is Ellipsis:
            dim = x.dim() - sum(about(later)[0] for later in parts[i + 1 :])
            continue
        taken, left = about(part)
        if not (isinstance(part, slice) and part == slice(None)):
            yield part, dim, taken, left
        dim += taken


def about(part: Any) -> tuple[int, int]:
    """Of how many dimensions a part of an index is, and how many it leaves."""
    if isinstance(part, Tensor):
        return (part.dim(), 1) if part.dtype == torch.bool else (1, part.dim())
    return int(part is not None), int(not isinstance(part, int))


def flat(values: Any) -> Iterator[Any]:
    """All values in nested lists and tuples."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from flat(value)
        else:
            yield value
