"""The page on which one draws a digit: drawing.html with drawing.js and the trained network inside.

The script computes as exact.py does, and knows one form of network: linear layers with a sigmoid between any two.
"""

import base64
import json
from pathlib import Path
from typing import Any

from stages.lib import model
from stages.lib.tensors import Tensors

import numpy as np
import torch
from torch import nn

TEMPLATE = Path(__file__).with_suffix(".html")
SCRIPT = Path(__file__).with_suffix(".js")


def chain(network: nn.Module) -> nn.Sequential:
    """The linear layers of a network in their order, with a sigmoid between any two; nothing if they don't fit."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    outputs = [model.INPUTS, *(layer.out_features for layer in layers)]
    if [*(layer.in_features for layer in layers), model.CLASSES] != outputs:
        return nn.Sequential()
    return nn.Sequential(*[part for layer in layers for part in (nn.Sigmoid(), layer)][1:])


def page(network: nn.Sequential, images: Tensors) -> str:
    """The page for a `chain`, with the first image of each class to load; without layers it says that it can't draw."""
    firsts = np.unique(images.labels.numpy(), return_index=True)[1].tolist()
    data = {
        "layers": [described(layer) for layer in network if isinstance(layer, nn.Linear)],
        "samples": [
            {"index": i, "label": int(images.labels[i]), "pixels": encoded(images.images[i].numpy())} for i in firsts
        ],
    }
    filled = TEMPLATE.read_text(encoding="utf-8").replace("{data}", json.dumps(data))
    return filled.replace("{script}", SCRIPT.read_text(encoding="utf-8").rstrip())


def described(layer: nn.Linear) -> dict[str, Any]:
    """A layer for JSON, its weight row by row and its bias as little-endian float32 in base64."""
    bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
    numbers = {"weight": layer.weight, "bias": bias}
    return {"inputs": layer.in_features} | {
        name: encoded(values.detach().numpy().astype("<f4")) for name, values in numbers.items()
    }


def encoded(array: np.ndarray) -> str:
    """The bytes of an array in base64."""
    return base64.b64encode(array.tobytes()).decode()
