"""A network as a chain of layers that page.js can compute: linear ones with a sigmoid between any two."""

import base64
from typing import Any

from stages.lib import model

import numpy as np
import torch
from torch import nn


def chain(network: nn.Module) -> nn.Sequential:
    """The linear layers of a network in their order, with a sigmoid between any two; nothing if they don't fit."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    outputs = [model.INPUTS, *(layer.out_features for layer in layers)]
    if [*(layer.in_features for layer in layers), model.CLASSES] != outputs:
        return nn.Sequential()
    return nn.Sequential(*[part for layer in layers for part in (nn.Sigmoid(), layer)][1:])


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
