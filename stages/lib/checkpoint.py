"""Networks as files: parameters, and the settings that made them.

A file is refused unless it holds plain tensors and numbers, fits the network, was made by the same settings and has
finite parameters: a checkpoint may come from a stranger, or from before a setting changed.
"""

import io
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

from stages.lib import data, output
from stages.lib.errors import PipelineError, short

import torch
from torch import nn

# What torch.load raises for files that are damaged or of another kind.
DAMAGED = (
    RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, MemoryError,
    ArithmeticError, struct.error,
)  # fmt: skip
MOST_SHOWN = 20  # lines of a message; a stranger's file may hold thousands of settings


def encode(content: dict[str, Any]) -> bytes:
    """Tensors, strings and numbers as the bytes of a .pt file, always the same for the same content."""
    # Into memory: torch.save would write the name of its file into the file.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def decode(file: bytes, name: str | Path) -> dict[str, Any]:
    """The content of a .pt file; no code in it is run.

    Raises PipelineError, which calls the file `name`, if it is damaged or holds more than tensors, strings and numbers.
    """
    if not _is_sound(file):  # torch.load would try older formats, bare pickles among them, and checks no checksum
        raise PipelineError(
            f"{name} is damaged or not a checkpoint: expected a whole archive as torch.save writes it, found "
            f"{len(file):,} bytes of something else; `dvc repro` makes it again"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is refused below
            content = torch.load(io.BytesIO(file), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise PipelineError(
            f"{name} holds more than tensors, strings and numbers, perhaps code, so it was not loaded; "
            "`dvc repro` makes it again"
        ) from None
    except DAMAGED as error:
        reason = short((str(error).splitlines() or [type(error).__name__])[0], 200)
        raise PipelineError(f"{name} is damaged or not a checkpoint: {reason}; `dvc repro` makes it again") from None
    if not isinstance(content, dict):
        raise PipelineError(f"{name} is not a checkpoint: expected a dict, found {type(content).__name__}")
    return content


def _is_sound(file: bytes) -> bool:
    """Whether it is a zip archive with right checksums, uncompressed, so that it holds no more than its size."""
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
            return stored and archive.testzip() is None
    except (zipfile.BadZipFile, OSError, *DAMAGED):
        return False


def save(path: str | Path, network: nn.Module, settings: dict[str, Any]) -> None:
    """Write the parameters, on the CPU, and the settings (strings and numbers) that made them."""
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    output.write_bytes(path, encode({"settings": settings, "state": state}))


def load(path: str | Path, network: nn.Module, settings: dict[str, Any]) -> None:
    """Copy the parameters in a file into `network`, if `settings` made them.

    Raises PipelineError, with what was expected and what was found, for any other file.
    """
    content = decode(data.read(Path(path)), path)
    if content.keys() != {"settings", "state"} or not all(isinstance(value, dict) for value in content.values()):
        raise PipelineError(
            f"{path} is not a checkpoint of this pipeline: expected settings and state, found {short([*content], 200)}"
        )
    _check_settings(path, content["settings"], settings)
    _check_state(path, content["state"], network.state_dict())
    network.load_state_dict(content["state"])


def _check_settings(path: str | Path, found: dict[Any, Any], expected: dict[str, Any]) -> None:
    differences = [
        f"  {short(key)}: expected {expected.get(key)!r}, found {short(repr(found.get(key)))}"
        for key in [*expected, *(key for key in found if key not in expected)]
        if not isinstance(found.get(key), str | int | float) or found.get(key) != expected.get(key)
    ]
    if differences:
        shown = differences[:MOST_SHOWN]
        raise PipelineError("\n".join([f"{path} was made with different settings; run `dvc repro`:", *shown]))


def _check_state(path: str | Path, found: dict[Any, Any], expected: dict[str, torch.Tensor]) -> None:
    if _shapes(found) != _shapes(expected):
        raise PipelineError(
            f"{path} belongs to a different network; run `dvc repro`:\n"
            f"  expected {_shapes(expected)}\n  found    {short(_shapes(found), 400)}"
        )
    broken = [name for name, value in found.items() if not value.isfinite().all()]
    if broken:
        raise PipelineError(f"{path} has NaN or infinite values in {', '.join(broken)}; train again")


def _shapes(state: dict[Any, Any]) -> dict[Any, str]:
    """Shape and type of each entry; only ordinary tensors on the CPU have both."""
    return {
        name: f"{tuple(value.shape)} {value.dtype}" if _is_ordinary(value) else type(value).__name__
        for name, value in state.items()
    }


def _is_ordinary(value: object) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_nested
    )
