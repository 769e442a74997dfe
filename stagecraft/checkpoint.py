"""Networks as files: parameters, and the settings that made them, in the safetensors format.

The format (https://huggingface.co/docs/safetensors) is a JSON header and raw numbers: there is no code in it, and its
bytes depend on the content alone. What a file can still be is damaged, of another network, or made by other settings.
"""

import json
from pathlib import Path
from typing import Any

from stagecraft import inputs, output
from stagecraft.errors import REPAIR, PipelineError, short

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

Parameters = dict[str, torch.Tensor]
MOST_HEADER = 10_000_000  # bytes; more would be hundreds of thousands of tensors and take gigabytes to read


def encode(tensors: Parameters, settings: dict[str, Any]) -> bytes:
    """The safetensors file of tensors and settings (what JSON can hold), always the same for the same content."""
    # safetensors refuses tensors that share memory or have gaps in it.
    copies = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
    # All settings in one entry: safetensors would write several in another order in each process.
    return safetensors.torch.save(copies, {"settings": json.dumps(settings, sort_keys=True)})


def decode(file: bytes, name: str | Path) -> tuple[Parameters, dict[str, Any]]:
    """The tensors, on the CPU and sorted by name, and the settings of a file.

    Raises PipelineError, which calls the file `name`, if `encode` can't have made it.
    """
    try:
        length = int.from_bytes(file[:8], "little")
        if length > MOST_HEADER:
            raise ValueError(f"a header of {length:,} where at most {MOST_HEADER:,} are allowed")
        tensors = safetensors.torch.load(file)
        metadata = json.loads(file[8 : 8 + length], object_pairs_hook=_unique).get("__metadata__") or {}
        settings = json.loads(metadata.get("settings", "null"), object_pairs_hook=_unique)
        if not isinstance(settings, dict):
            raise ValueError(f"no settings in its metadata, but {metadata}")
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise PipelineError(
            f"{name} is damaged or not a checkpoint: expected a safetensors file with the settings, in JSON, in its "
            f"metadata, found {len(file):,} bytes: {short(error, 200)}; {REPAIR} makes it again"
        ) from None
    return dict(sorted(tensors.items())), settings


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError for a name that stands there twice, since readers take one or the other."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return dict(pairs)


def save(path: str | Path, network: nn.Module, settings: dict[str, Any]) -> None:
    """Write the parameters and the settings (strings and numbers) that made them."""
    output.write_bytes(path, encode(network.state_dict(), settings))


def load(path: str | Path, network: nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
    """Copy the parameters in a file into `network`, if `settings` made them, they fit and all are finite.

    Returns all the settings that made them, those that `settings` does not name, too.
    Raises PipelineError, with what was expected and what was found, for any other file.
    """
    tensors, found = decode(inputs.read(Path(path)), path)
    if differences := _differences(found, settings):
        raise PipelineError("\n".join([f"{path} was made with different settings; {REPAIR}:", *differences]))
    shapes, expected = _shapes(tensors), _shapes(network.state_dict())
    if shapes != expected:
        raise PipelineError(
            f"{path} belongs to a different network; run `dvc repro`:\n"
            f"  expected {expected}\n  found    {short(shapes, 400)}"
        )
    if broken := [name for name, value in tensors.items() if not value.isfinite().all()]:
        raise PipelineError(f"{path} has NaN or infinite values in {', '.join(broken)}; {REPAIR} restores it")
    network.load_state_dict(tensors)
    return found


def _differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return [
        f"  {key}: expected {value!r}, found {short(repr(found.get(key)))}"
        for key, value in expected.items()
        if repr(found.get(key)) != repr(value)
    ]


def _shapes(tensors: Parameters) -> dict[str, str]:
    return {name: f"{tuple(value.shape)} {value.dtype}" for name, value in sorted(tensors.items())}
