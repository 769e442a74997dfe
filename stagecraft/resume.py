"""Where an interrupted training goes on: the state after its last whole epoch.

It lies beside the results, not among them, since DVC deletes outputs before a stage runs. A state is found by the
fingerprint of everything that shapes the training except its length, so it can only save time, not change a result.
"""

import hashlib
import io
import json
import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from inspect import ismethod
from itertools import accumulate, zip_longest
from pathlib import Path
from types import MethodType
from typing import Any

from stagecraft import inputs, output
from stagecraft.errors import PipelineError

import numpy as np
import torch
from pydantic import BaseModel
from samebits import workers
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

FOLDER = Path(".train_cache")
KEPT = 10**9  # bytes of states in all; the oldest go
History = list[dict[str, float | None]]  # of each epoch, what was measured
NOTHING: dict[str, Any] = {"history": [], "epochs": None, "trainer": {}}


def facts(settings: dict[str, Any], contents: list[bytes], code: Iterable[Path], *, exact: bool) -> dict[str, Any]:
    """What shapes a training except its length: settings, the files it reads, and the code that may have a part in it.

    Unless its arithmetic is `exact` also versions and processor, which round in their own ways; else a training may go
    on with others.
    """
    found = {
        "settings": {key: value for key, value in settings.items() if key != "epochs"},
        "data": [_sha256(content) for content in contents],
        "code": sorted(map(_of_code, code)),
    }
    if not exact:
        found["versions"] = [sys.version, torch.__version__, np.__version__]
        found["processor"] = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    return found


@cache  # the code that is loaded stays, whatever becomes of its file while a sweep goes on
def _of_code(path: Path) -> str:
    return _sha256(inputs.read(path).replace(b"\r\n", b"\n"))


def fingerprint(facts: dict[str, Any]) -> str:
    """A hash by which the state of a training is found."""
    return _sha256(json.dumps(facts, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Recorded:
    """Settings that note which of them are read, also by their own methods; all, if they are read in another way."""

    def __init__(self, settings: BaseModel) -> None:
        self._settings, self.names = settings, set[str]()

    def __getattr__(self, name: str) -> Any:
        value, fields = getattr(self._settings, name), type(self._settings).model_fields
        if ismethod(value) and value.__module__ == type(self._settings).__module__:
            return MethodType(value.__func__, self)
        self.names |= {name} & fields.keys() or fields.keys()
        return value


def state_of(value: Any, name: str = "Trainer") -> Any:
    """What has to be kept of `value`: its state_dict, or itself; of a list or dict what has to be kept of each.

    Raises PipelineError for what can't be kept, as a training that goes on without it would end with another result.
    """
    if isinstance(value, Optimizer):  # gradients, too, as they may wait for more batches
        return {"state": value.state_dict(), "gradients": [parameter.grad for parameter in parameters(value)]}
    if hasattr(value, "state_dict"):
        return {"state": value.state_dict()}
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, list | tuple):
        return [state_of(part, f"{name}[{index}]") for index, part in enumerate(value)]
    if isinstance(value, dict):
        return {key: state_of(part, f"{name}[{key!r}]") for key, part in value.items()}
    if value is None or isinstance(value, bool | int | float | str | torch.Tensor):
        return value
    raise PipelineError(
        f"{name} is a {type(value).__name__}, which can't be kept for a training that is interrupted; expected "
        "what has state_dict and load_state_dict, a tensor, number or text; give it these, or make it in each step"
    )


def parameters(optimizer: Optimizer) -> list[torch.Tensor]:
    """What an optimizer changes."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def set_to(value: Any, state: Any) -> Any:
    """What `value` becomes by the state that `state_of` made; itself, changed, if it has a state_dict."""
    if isinstance(value, Optimizer):
        value.load_state_dict(state["state"])
        for parameter, gradient in zip(parameters(value), state["gradients"], strict=True):
            parameter.grad = gradient if gradient is None else gradient.to(parameter)
    elif hasattr(value, "load_state_dict"):
        value.load_state_dict(state["state"])
    elif isinstance(value, torch.Generator):
        value.set_state(state)
    elif isinstance(value, list | tuple):
        return type(value)(set_to(part, kept) for part, kept in zip_longest(value[: len(state)], state))
    elif isinstance(value, dict):
        return {key: set_to(value.get(key), kept) for key, kept in state.items()}
    else:
        return state
    return value


def attributes(trainer: Any) -> dict[str, Any]:
    """What there is to keep of a trainer: all attributes but settings.

    Raises PipelineError if a schedule that is no attribute changes one of its optimizers.
    """
    found = {name: value for name, value in vars(trainer).items() if not isinstance(value, Recorded)}
    parts = list(each_of(found))
    scheduled = [part.optimizer for part in parts if isinstance(part, LRScheduler)]
    for part in parts:
        if isinstance(part, Optimizer) and "initial_lr" in part.param_groups[0] and part not in scheduled:
            raise PipelineError(
                f"a schedule changes an optimizer, {type(part).__name__}, and is no attribute of Trainer, so that a "
                "training that is interrupted would go on with its beginning; set it in Trainer.__init__: "
                "self.schedule = ..."
            )
    return found


def each_of(value: Any) -> Iterator[Any]:
    """What lists and dicts hold, and else the value itself."""
    if not isinstance(value, list | tuple | dict):
        yield value
        return
    for part in value.values() if isinstance(value, dict) else value:
        yield from each_of(part)


def weights_digest(trainer: Any) -> str:
    """A hash of the weights."""
    return _sha256(b"".join(value.detach().cpu().numpy().tobytes() for value in trainer.network.parameters()))


def save(key: str, trainer: Any, history: History, epochs: int | None) -> None:
    """Keep the state after len(history) epochs, in place of an earlier one of the same training.

    epochs: how many there will be, if that has shaped the state. Raises PipelineError as `state_of` does.
    A state that can't be written only costs time later: that is said in a line, and the training goes on.
    """
    state = {name: state_of(value, f"Trainer.{name}") for name, value in attributes(trainer).items()}
    if not workers.keeps():
        return
    file = io.BytesIO()
    torch.save({"history": history, "epochs": epochs, "trainer": state}, file)
    try:
        output.write_bytes(FOLDER / key, _sealed(key, file.getvalue()) + file.getvalue())
        _forget_old()
    except (PipelineError, OSError) as error:
        print(f"an interrupted training would start from the beginning: {error}")


def _forget_old() -> None:
    with suppress(FileNotFoundError):  # another worker tidies up, too
        by_age = sorted(FOLDER.glob("[!.]*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for old, total in zip(by_age, accumulate(path.stat().st_size for path in by_age), strict=True):
            if total > KEPT and old != by_age[0]:
                old.unlink()


def restore(key: str, epochs: int, trainer: Any) -> History:
    """Set a trainer to the furthest state that a worker has kept under `key`; returns its history.

    Returns an empty list, and changes nothing, if there is none, if it is damaged or of another training, if it went
    beyond `epochs`, or was shaped by how many there would be, and those were others.
    """
    state = _read(FOLDER / key, key)
    if state["epochs"] not in (None, epochs):
        print(f"the training reads `epochs`, which were {state['epochs']}: it starts from the beginning")
        state = NOTHING
    if len(state["history"]) > epochs:
        state = NOTHING
    furthest = max(workers.gathered(state), key=lambda found: len(found["history"]))
    for name, kept in furthest["trainer"].items():
        if isinstance(kept, dict) and "state" in kept and not hasattr(trainer, name):
            raise PipelineError(f"Trainer.{name} is made too late to be restored; make it in Trainer.__init__")
        setattr(trainer, name, set_to(getattr(trainer, name, None), kept))
    return list(furthest["history"])


def _read(path: Path, key: str) -> dict[str, Any]:
    """The state that `save` wrote under `key`, or NOTHING if there is none or a byte of it is another."""
    try:
        file = path.read_bytes()
    except FileNotFoundError:
        return NOTHING
    except OSError:
        file = b""
    digest, content = file[:32], file[32:]
    if _sealed(key, content) == digest:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    print(f"{path} is damaged or of another training: training starts from the beginning")
    return NOTHING


def _sealed(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()
