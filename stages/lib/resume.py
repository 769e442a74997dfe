"""Where an interrupted training goes on: the state after its last whole epoch.

It lies beside the results, not among them, since DVC deletes outputs before a stage runs. A state is found by the
fingerprint of everything that shapes the training except its length, so it can only save time, not change a result.
"""

import hashlib
import json
import platform
import sys
from contextlib import suppress
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from stages.lib import checkpoint, data, output
from stages.lib.errors import PipelineError

import numpy as np
import samebits
import torch
from samebits import workers
from torch import nn

STAGES, SAMEBITS = Path(__file__).parent.parent, Path(samebits.__file__).parent
CODE = (STAGES, "train.py"), (STAGES, "lib/**/*.py"), (SAMEBITS, "*.py")
FOLDER = Path(".train_cache")
KEPT = 10**9  # bytes of states in all; the oldest go
History = list[dict[str, float | None]]  # of each epoch, what was measured
NUMBER = "tensor number"  # no name that a parameter would have


def facts(settings: dict[str, Any], contents: list[bytes]) -> dict[str, Any]:
    """What shapes a training except its length: settings, the files it reads, and the code that may have a part in it.

    For `native` numerics also versions and processor, which round in their own ways; else a training may go on with
    others.
    """
    code = [(folder.parent, path) for folder, pattern in CODE for path in sorted(folder.glob(pattern))]
    found = {
        "settings": {key: value for key, value in settings.items() if key != "epochs"},
        "data": [_sha256(content) for content in contents],
        "code": {path.relative_to(parent).as_posix(): _of_code(path) for parent, path in code},
    }
    if settings["numerics"] == "native":
        found["versions"] = [sys.version, torch.__version__, np.__version__]
        found["processor"] = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    return found


@cache  # the code that is loaded stays, whatever becomes of its file while a sweep goes on
def _of_code(path: Path) -> str:
    return _sha256(data.read(path).replace(b"\r\n", b"\n"))


def fingerprint(facts: dict[str, Any]) -> str:
    """A hash by which the state of a training is found."""
    return _sha256(json.dumps(facts, sort_keys=True).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def save(key: str, network: nn.Module, optimizer: torch.optim.Optimizer, history: History) -> None:
    """Keep the state after len(history) epochs, in place of an earlier one of the same training.

    A state that can't be kept only costs time later: that is said in a line, and the training goes on.
    """
    if not workers.keeps():
        return
    content = _encode({"history": history, "network": network.state_dict(), "optimizer": optimizer.state_dict()})
    try:
        output.write_bytes(FOLDER / key, _digest(key, content) + content)
        _forget_old()
    except (PipelineError, OSError) as error:
        print(f"an interrupted training would start from the beginning: {error}")


def _forget_old() -> None:
    with suppress(FileNotFoundError):  # another worker tidies up, too
        by_age = sorted(FOLDER.glob("[!.]*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for old, total in zip(by_age, accumulate(path.stat().st_size for path in by_age), strict=True):
            if total > KEPT and old != by_age[0]:
                old.unlink()


def restore(key: str, epochs: int, network: nn.Module, optimizer: torch.optim.Optimizer) -> History:
    """Set network and optimizer to the furthest state that a worker has kept under `key`; returns its history.

    Returns an empty list, and changes nothing, if there is none, if it is damaged or of another training, or if it
    went beyond `epochs`.
    """
    state = _read(FOLDER / key, key)
    if state is None or len(state["history"]) > epochs:
        state = {"history": []}
    lengths = workers.gathered(len(state["history"]))
    if max(lengths) == 0:
        return []
    state = workers.sent(state, source=lengths.index(max(lengths)))
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return state["history"]


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """The state that `save` wrote under `key`, or None if there is none or a byte of it is another."""
    try:
        file = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        file = b""
    digest, content = file[:32], file[32:]
    if _digest(key, content) == digest:
        return _decode(content, path)
    print(f"{path} is damaged or of another training: training starts from the beginning")
    return None


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _encode(state: dict[str, Any]) -> bytes:
    """A nested state as a safetensors file: its tensors by number, and JSON with the numbers in their places."""
    tensors: dict[str, torch.Tensor] = {}

    def number(tensor: torch.Tensor) -> dict[str, str]:
        tensors[str(len(tensors))] = tensor
        return {NUMBER: str(len(tensors) - 1)}

    text = json.dumps(state, default=number)
    return checkpoint.encode(tensors, {"state": text})


def _decode(content: bytes, name: str | Path) -> dict[str, Any]:
    tensors, settings = checkpoint.decode(content, name)
    state = json.loads(
        settings["state"], object_hook=lambda found: tensors[found[NUMBER]] if NUMBER in found else found
    )
    optimizer = state["optimizer"]
    optimizer["state"] = {int(index): values for index, values in optimizer["state"].items()}  # JSON made them text
    return state
