"""With several workers: which results are of a worker's images, and which of their dimensions those are."""

from collections.abc import Iterator
from typing import Any

import torch
from samebits import tables, workers
from samebits.errors import refusal
from samebits.sums import dims_of, needs_gradient
from samebits.tables import Call, name_of
from torch import Tensor


def note(func: Call, args: Any, kwargs: Any, result: Any) -> None:
    """Mark the result of a function, if it was given something that is of images.

    Raises NotExactError if that can't be told, or if the function would need the images of all workers.
    """
    first = next((v for v in flat((*args, *kwargs.values())) if hasattr(v, "of_images")), None)
    if first is None:
        return
    images, own = first.of_images, first.shape[first.of_images]
    if func in tables.WHOLE or (func in tables.ONE_HOT and kwargs.get("num_classes", (*args, -1)[1]) == -1):
        raise refusal(name_of(func), "with several workers it would need the images of all")
    if func in tables.ALIGNED:
        marked = [value for value in (*args, *kwargs.values()) if hasattr(value, "of_images")]
        if len({value.of_images - value.dim() for value in marked}) > 1:
            raise refusal(name_of(func), "with several workers it would need each image with each")
    if func in tables.ALONG and first is args[0] and images in dims_along(func, first, args, kwargs):
        raise refusal(name_of(func), "with several workers it would need the images of all")
    if func in tables.JOIN:
        images = joined(func, args, kwargs, images)
    if func in tables.TURN:
        probe = torch.empty([i + 2 for i in range(first.dim())])  # each dimension has a size of its own
        images = list(func(probe, *args[1:], **kwargs).shape).index(images + 2)
    result = result if result is not None else args[0]
    if func in tables.REPEAT and isinstance(result, Tensor):
        images += result.dim() - first.dim()
    for x in flat([result]):
        rows = x.shape[images] if isinstance(x, Tensor) and x.dim() > images else -1
        if isinstance(x, Tensor) and rows != own and (rows < 0 or func not in tables.ROWS or (own and rows % own)):
            raise refusal(name_of(func), "with several workers it can't be told which images its result is of")
    workers.of_images(result, images)


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
    position, default = tables.ALONG[func]
    picked = args[1][1:] if func is Tensor.__getitem__ and isinstance(args[1], tuple) else ()
    if any(hasattr(part, "of_images") for part in picked):
        return (0,)
    dim = kwargs.get("dim", kwargs.get("dims", args[position] if len(args) > position else default))
    if func in tables.DIAGONAL:
        named = ((2, "dim1"), (3, "dim2"))
        return dims_of(x, [kwargs.get(name, args[i] if len(args) > i else i - 2) for i, name in named])
    if func in (Tensor.__getitem__, Tensor.__setitem__):
        parts = dim if isinstance(dim, tuple) else (dim,)
        if func is Tensor.__setitem__ and hasattr(parts[0], "of_images"):
            return ()  # each image's own places
        return () if parts[0] is Ellipsis or (isinstance(parts[0], slice) and parts[0] == slice(None)) else (0,)
    return () if isinstance(dim, Tensor) else dims_of(x, dim)


def flat(values: Any) -> Iterator[Any]:
    """All values in nested lists and tuples."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from flat(value)
        else:
            yield value
