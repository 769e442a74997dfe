"""Where an interrupted training goes on: the state after its last whole epoch.

It lies beside the results, not among them, since DVC deletes outputs before a stage runs. A state is found by the
fingerprint of everything that shapes the training except its length, so it can only save time, not change a result.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from stages.lib import checkpoint, data, numerics, output
from stages.lib.errors import PipelineError

import numpy as np
import torch
from torch import nn

CODE = Path(__file__).parent.parent
FOLDER = Path(".train_cache")
KEPT = 8  # states of other trainings; the oldest go


def fingerprint(settings: dict[str, Any], files: list[Path]) -> str:
    """A hash of the settings except `epochs`, the bytes of `files`, the code that is loaded, and its versions."""
    loaded = {Path(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())}
    code = sorted(path for path in loaded if path.is_relative_to(CODE))
    parts = {
        "settings": {key: value for key, value in settings.items() if key != "epochs"},
        "files": [_sha256(path) for path in files],
        "code": [_sha256(path) for path in code],
        "versions": [sys.version, torch.__version__, np.__version__],
        "processor": [torch.backends.cpu.get_cpu_capability(), *map(os.environ.get, numerics.PORTABLE)],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(data.read(path)).hexdigest()


def save(key: str, network: nn.Module, optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
    """Keep the state after len(losses) epochs, in place of an earlier one of the same training.

    A state that can't be kept only costs time later: that is said in a line, and the training goes on.
    """
    state = {"key": key, "losses": losses, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
    content = checkpoint.encode(state)
    try:
        output.write_bytes(FOLDER / key, hashlib.sha256(content).digest() + content)
        _forget_old()
    except (PipelineError, OSError) as error:
        print(f"an interrupted training would start from the beginning: {error}")


def _forget_old() -> None:
    by_age = sorted(FOLDER.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for old in by_age[KEPT:]:
        old.unlink(missing_ok=True)


def restore(key: str, epochs: int, network: nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
    """Set network and optimizer to the state kept under `key`; returns the losses of its epochs.

    Returns an empty list, and changes nothing, if there is none, if it is damaged or of another training, or if it
    went beyond `epochs`.
    """
    path = FOLDER / key
    if not path.exists():
        return []
    state = _read(path, key)
    if state is None:
        print(f"{path} is damaged or of another training: training starts from the beginning")
        return []
    if len(state["losses"]) > epochs:
        return []
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    print(f"training goes on after epoch {len(state['losses'])} of {epochs}")
    return state["losses"]


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """The content that `save` wrote under `key`, or None if a byte of it is another."""
    try:
        file = path.read_bytes()
        digest, content = file[:32], file[32:]
        state = checkpoint.decode(content, path) if hashlib.sha256(content).digest() == digest else {}
    except (PipelineError, OSError):
        return None
    return state if state.get("key") == key else None
