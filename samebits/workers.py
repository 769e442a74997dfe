"""The workers that train together: this process alone, or all that torchrun has started, on one machine or several.

Each takes its share of every batch. What must be the same for all, they agree on here: the largest magnitude of a
matrix, sums, and the state from which they go on. Exact sums don't depend on who adds what, so results don't either.
"""

import math
import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from samebits.errors import NotExactError, WorkersError, refusal

TIMEOUT = timedelta(minutes=5)  # after which a worker that the others wait for counts as lost
# A machine whose own name means 127.0.1.1 to it sends the others there: https://github.com/pytorch/gloo/issues/223
CONNECT = (
    "start all of them again; if they are on several machines, first `export GLOO_SOCKET_IFNAME=eth0` on each, or what "
    "`ip address` there calls the network that leads to the others"
)
_store: dist.Store | None = None  # what the workers share
_alone = False
_images = 0, 1, 1  # of the batch that was shared last: the first of this worker's, how many it has, and all have
_has_shared = False
_counts: Counter[str] = Counter()  # of a single process


@contextmanager
def joined(told: type[Exception] | tuple[type[Exception], ...] = (NotExactError, WorkersError)) -> Iterator[None]:
    """Work together with the others if torchrun has started this process, else alone.

    An error that all workers run into is told by the first of them only, also if torchrun starts them all again.
    `told` are the errors that a user can mend; others keep their tracebacks.
    """
    global _store
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        _counts.clear()
        yield
        return
    of_all_attempts, rank, workers = next(dist.rendezvous("env://", timeout=TIMEOUT))
    _store = _connected(of_all_attempts, rank, workers)
    try:
        yield
        meet("end")  # who leaves earlier closes the connections on which others still receive
    except told as error:
        if _together(of_all_attempts.add, f"told {error}", 1) == 1:
            of_all_attempts.add("told", 1)
            print(f"\nerror: {error}", file=sys.stderr, flush=True)  # now, as the first to end makes torchrun end all
        raise SystemExit(1) from None
    finally:
        _store = None
        dist.destroy_process_group()


def _connected(of_all_attempts: dist.Store, rank: int, workers: int) -> dist.Store:
    """The store of these processes, once all of them are connected; raises WorkersError if they can't be."""
    store = _own(of_all_attempts, rank, workers)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"  # by where a tensor lies
    try:
        dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank, world_size=workers)
    except RuntimeError as error:
        if of_all_attempts.add("told", 0) > 0:  # one that found something wrong is gone already
            raise SystemExit(1) from None
        raise WorkersError(f"the workers can't connect: {str(error)[:200]}; {CONNECT}") from None
    return store


def _own(store: dist.Store, rank: int, workers: int) -> dist.Store:
    """The part of torchrun's store that is for these processes only: the first one's, which has answered the others.

    torchrun keeps the store for those it starts anew, who would wait for those that are gone: pytorch#135712.
    """
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(f"asks {rank}", own)
        first = store.get(own).decode()  # waits for the answer
        store.add(first, 1)
        return dist.PrefixStore(first, store)
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    while (found := 1 + store.add(own, 0)) < workers:
        if time.monotonic() > deadline:
            raise WorkersError(f"expected {workers} workers, found {found} within {TIMEOUT}; start all of them again")
        for key in (f"asks {other}" for other in range(1, workers)):
            if store.check([key]):  # by an earlier one, perhaps, so it is answered again until all are here
                store.set(store.get(key).decode(), own)
        time.sleep(0.05)
    return dist.PrefixStore(own, store)


@contextmanager
def alone() -> Iterator[None]:
    """Within it, this worker computes by itself."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def _is_alone() -> bool:
    return _store is None or _alone or dist.get_world_size() == 1


def size() -> int:
    """How many workers train together."""
    return 1 if _is_alone() else dist.get_world_size()


def rank() -> int:
    """The number of this worker, from 0."""
    return 0 if _is_alone() else dist.get_rank()


def local_rank() -> int:
    """The number of this worker on its machine, from 0; its GPU has the same."""
    return 0 if _store is None else int(os.environ["LOCAL_RANK"])


def keeps() -> bool:
    """Whether this worker keeps the state of the training: one on each machine does, for all on it."""
    return _is_alone() or local_rank() == 0


def counted(name: str, by: int = 1) -> int:
    """A number that all workers add to, after adding to it, also of those that train alone."""
    if _store is not None:
        return _together(_store.add, name, by)
    _counts[name] += by
    return _counts[name]


def meet(name: str) -> None:
    """Wait for all the others, however long that takes: the time limit of the group is for those that are lost."""
    counted(name)
    while _store is not None and counted(name, 0) < dist.get_world_size():
        time.sleep(0.1)


def share(batch: torch.Tensor) -> torch.Tensor:
    """This worker's part of a batch (n, ...): of its images, or of their indices.

    It is empty if there are more workers than images. What is computed from it is known to be of these images, all
    else to be the same for all workers. It also says how many images the batch has, in all.
    """
    global _images, _has_shared
    if _is_alone():
        return batch
    parts = batch.tensor_split(size())
    own = parts[rank()]
    _images, _has_shared = (sum(map(len, parts[: rank()])), len(own), len(batch)), True
    return of_images(own)


def draw(images: torch.Tensor, function: Callable[[int], torch.Tensor]) -> torch.Tensor:
    """Random numbers for `images` (n, ...), this worker's: its part of what function(n) draws for those of all.

    So what is drawn for an image does not depend on how they are shared out.
    """
    if _is_alone():
        return function(len(images))
    if isinstance(getattr(images, "of_images", 0), Mixed):
        raise refusal("a draw", "with several workers, draw before several rows of each image are put together")
    (first, _, total), n = _images, rows(len(images))
    return of_images(function(n)[first * n // total :][: len(images)])


class Mixed(int):
    """The dimension of images that have several rows each, which are not one after the other."""


def of_images(value: Any, dimension: int = 0) -> Any:
    """`value`, a tensor or several, marked as computed from this worker's images, which are that dimension."""
    if isinstance(value, torch.Tensor):
        value.of_images = dimension  # type: ignore[attr-defined]
    elif isinstance(value, list | tuple):
        for part in value:
            of_images(part, dimension)
    return value


def is_of_images(x: Any) -> bool:
    """Whether a tensor is this worker's part of what all workers have; never if there is one worker.

    Raises NotExactError if the images are not its first dimension.
    """
    dimension = None if _is_alone() else getattr(x, "of_images", None)
    if dimension:
        raise refusal("several workers", f"the images of a tensor are its dimension {dimension}; make them the first")
    return dimension == 0


def check_same(function: str, *weights: Any) -> None:
    """Raise NotExactError for weights that are made of a worker's images."""
    if not _is_alone() and any(is_of_images(x) for x in weights):
        raise refusal(function, "with several workers, weights that depend on the images can't be told from images")


def are_sizes_of_images(sizes: torch.Size, *, alone: bool = False) -> bool:
    """Whether a shape begins with the number of this worker's images, and other workers, unless `alone`, have some."""
    _, own, total = _images
    return not _is_alone() and len(sizes) > 0 and sizes[0] == own and (own < total or (alone and _has_shared))


def mean(value: float) -> float:
    """Of what each worker has as the mean over its images of a batch: the mean over those of all.

    Where all have the same float32, it is that.
    """
    if _is_alone():
        return value
    _, own, images = _images
    (found,) = total(torch.tensor(value * own if own else 0.0, dtype=torch.float64))
    return found.item() / images


def part() -> float:
    """This worker's part of the images of the batch that was shared last, from 0 to 1."""
    return _images[1] / _images[2]


def rows(own: int) -> int:
    """How many rows all workers have, where this one has `own`, the same number for each of its images."""
    if _is_alone():
        return own
    _, images, total = _images
    each = own // images if images else 0
    if total < size():  # some have no images, and can't tell
        each = int(largest(each))
    if own != each * images:
        raise WorkersError(f"expected the same number of rows for each of {images} images, found {own} in all")
    return each * total


def largest(value: float) -> float:
    """The largest value of all workers; infinity if one of them is NaN."""
    return value if _is_alone() else largest_of(torch.tensor(value, dtype=torch.float64)).item()


def largest_of(values: torch.Tensor) -> torch.Tensor:
    """The largest of all workers, number by number; infinity where one of them is NaN."""
    if _is_alone():
        return values
    shared = values.nan_to_num(math.inf, math.inf, -math.inf)
    _together(dist.all_reduce, shared, dist.ReduceOp.MAX)
    return shared


def total(*values: Any) -> tuple[Any, ...]:
    """The sums of a tensor, and of more tensors and numbers, over all workers, as float64 and sent as one message."""
    if _is_alone():
        return values
    device = "cuda" if values[0].is_cuda else "cpu"
    parts = [torch.as_tensor(value, dtype=torch.float64, device=device) for value in values]
    message = torch.cat([part.flatten() for part in parts])
    _together(dist.all_reduce, message)
    sums = message.split([part.numel() for part in parts])
    return tuple(value.view(part.shape) for value, part in zip(sums, parts, strict=True))


def gathered(value: Any) -> list[Any]:
    """What each worker has, in their order, for all of them."""
    if _is_alone():
        return [value]
    values = [None] * size()
    _together(dist.all_gather_object, values, value)
    return values


def sent(value: Any, source: int) -> Any:
    """What worker number `source` has, for all of them."""
    if _is_alone():
        return value
    values = [value]
    _together(dist.broadcast_object_list, values, source)
    return values[0]


def agree(facts: dict[str, Any], advice: str) -> None:
    """Raise WorkersError, naming the facts, and with what to do, unless all workers have the same."""
    others = gathered(facts)
    different = [name for name in facts if any(other.get(name) != facts[name] for other in others)]
    if different:
        raise WorkersError(f"the workers differ in their {' and '.join(different)}; {advice}")


def _together(operation: Any, *arguments: Any) -> Any:
    """What the operation returns; ends the process if another worker is gone: it, or torchrun, has said why."""
    try:
        with torch._C.DisableTorchFunction():  # the exact mode need not see how numbers are sent
            return operation(*arguments)
    except (RuntimeError, dist.DistError):
        raise SystemExit(1) from None
