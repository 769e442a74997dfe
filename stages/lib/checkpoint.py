"""Networks as files: parameters, and the settings that made them."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.lib import data, output


def save(path: str | Path, network: nn.Module, settings: dict[str, Any]) -> None:
    """Write the parameters, on the CPU, and the settings (plain strings and numbers) that made them."""
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    # Into memory first: torch.save writes the name of its file into the file.
    buffer = io.BytesIO()
    torch.save({"settings": settings, "state": state}, buffer)
    output.write_bytes(path, buffer.getvalue())


def load(path: str | Path, network: nn.Module, settings: dict[str, Any]) -> None:
    content = torch.load(io.BytesIO(data.read(Path(path))), weights_only=True)
    network.load_state_dict(content["state"])
