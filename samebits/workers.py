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
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from samebits.errors import NotExactError, WorkersError

TIMEOUT = timedelta(minutes=5)  # after which a worker that the others wait for counts as lost
# A machine whose own name means 127.0.1.1 to it sends the others there: https://github.com/pytorch/gloo/issues/223
CONNECT = (
    "start all of them again; if they are on several machines, first `export GLOO_SOCKET_IFNAME=eth0` on each, or what "
    "`ip address` there calls the network that leads to the others"
)
_store: dist.Store | None = None  # what the workers share
_alone = False
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


def largest(values: torch.Tensor, smallest: bool = False) -> torch.Tensor:
    """The largest of all workers, or the smallest, number by number; NaN where one of them is."""
    if values.dtype == torch.float32:  # as whole numbers in the same order, of which NaN is the last
        isnan, last = values.isnan(), -(2**31) if smallest else 2**31 - 1
        keys = largest(in_order(values.masked_fill(isnan, 0).view(torch.int32)).masked_fill(isnan, last), smallest)
        return in_order(keys).view(torch.float32).masked_fill(keys == last, math.nan)
    shared = (values if values.is_floating_point() else values.long()).contiguous()
    _together(dist.all_reduce, shared, dist.ReduceOp.MIN if smallest else dist.ReduceOp.MAX)
    return shared.to(values.dtype)


def in_order(bits: torch.Tensor) -> torch.Tensor:
    """The bits of floats as whole numbers in the order of the floats, and these as bits."""
    return bits ^ (bits >> 31 & 0x7FFFFFFF)


def total(values: torch.Tensor) -> torch.Tensor:
    """The sums over all workers, number by number; of truth values, whether one of them is true."""
    shared = values.double() if values.dtype != torch.int64 else values.clone()
    shared = shared.contiguous()
    _together(dist.all_reduce, shared)
    return shared.to(values.dtype)


def parts(own: torch.Tensor) -> list[torch.Tensor]:
    """All workers' parts of a tensor, on the device of this one's."""
    copy = own.detach().to("cpu", copy=True)  # of a view all that lies behind it would be sent
    return [part.to(own.device) for part in gathered(copy)]


def gathered(value: Any) -> list[Any]:
    """What each worker has, in their order, for all of them."""
    if _is_alone():
        return [value]
    values = [None] * size()
    _together(dist.all_gather_object, values, value)
    return values


def agree(facts: dict[str, Any], advice: str) -> None:
    """Raise WorkersError, naming the facts, and with what to do, unless all workers have the same."""
    others = gathered(facts)
    different = [name for name in facts if any(other.get(name) != facts[name] for other in others)]
    if different:
        raise WorkersError(f"the workers differ in their {' and '.join(different)}; {advice}")


def _together(operation: Any, *arguments: Any) -> Any:
    """What the operation returns; ends the process if another worker is gone: it, or torchrun, has said why."""
    try:
        with torch._C._DisableTorchDispatch():  # the exact mode need not see how numbers are sent
            return operation(*arguments)
    except (RuntimeError, dist.DistError):
        raise SystemExit(1) from None
