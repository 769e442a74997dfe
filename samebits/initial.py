"""Initial weights: drawn from a seed, layer by layer, the same bits everywhere."""

import math
from collections.abc import Callable
from typing import Any

import torch
from samebits.draws import normal, uniform
from torch import Tensor, nn


def of_fan_in(layer: Any, draw: torch.Generator) -> None:
    """Linear layers and convolutions: evenly within 1 / sqrt(numbers that an output is a sum of), weight, then bias."""
    for parameter in layer.parameters(recurse=False):
        parameter.data = uniform(parameter.shape, 1 / math.sqrt(layer.weight[0].numel()), draw)


def of_one(layer: Any, draw: torch.Generator) -> None:
    """Normalizations: they leave what they have normalized as it is."""
    for name, parameter in layer.named_parameters(recurse=False):
        nn.init.constant_(parameter, float(name == "weight"))
    if hasattr(layer, "reset_running_stats"):
        layer.reset_running_stats()


def of_embedding(layer: Any, draw: torch.Generator) -> None:
    """Normally distributed with deviation 1; 0 at padding_idx."""
    layer.weight.data = normal(layer.weight.shape, 1.0, draw)
    if layer.padding_idx is not None:
        layer.weight.data[layer.padding_idx] = 0


def of_hidden_size(layer: Any, draw: torch.Generator) -> None:
    """Recurrent layers: evenly within 1 / sqrt(hidden units)."""
    for parameter in layer.parameters(recurse=False):
        parameter.data = uniform(parameter.shape, 1 / math.sqrt(layer.hidden_size), draw)


def of_attention(layer: Any, draw: torch.Generator) -> None:
    """The projections evenly, as Glorot and Bengio (2010); their biases 0."""
    for parameter in layer.parameters(recurse=False):
        bound = math.sqrt(6 / sum(parameter.shape)) if parameter.dim() == 2 else 0.0
        parameter.data = uniform(parameter.shape, bound, draw) if bound else torch.zeros(parameter.shape)


def of_last_projection(layer: Any, draw: torch.Generator) -> None:
    """That of attention: as a linear layer, but its bias is 0."""
    of_fan_in(layer, draw)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


LAYERS: dict[Any, Callable[[nn.Module, torch.Generator], Any]] = {
    nn.modules.linear.NonDynamicallyQuantizableLinear: of_last_projection,  # before Linear, as it is one, too
    (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d): of_fan_in,
    (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.RMSNorm): of_one,
    nn.Embedding: of_embedding,
    (nn.RNNBase, nn.RNNCellBase): of_hidden_size,
    nn.MultiheadAttention: of_attention,
    nn.PReLU: lambda layer, draw: nn.init.constant_(layer.weight, 0.25),  # type: ignore[arg-type]
}


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator, own: dict[str, Tensor] | None = None) -> None:
    """Draw all parameters of a network, on the CPU, as the documentation of each layer describes them.

    own: values of parameters that belong to no layer of PyTorch's, by their names in the network.
    Raises ValueError, which names them, for others, since they would not depend on the seed.
    """
    own, drawn = own or {}, set()
    for prefix, layer in network.named_modules():
        names = {f"{prefix}.{name}".lstrip("."): value for name, value in layer.named_parameters(recurse=False)}
        waiting = [name for name, value in names.items() if id(value) not in drawn]  # weights may be tied
        draw = next((draw for kinds, draw in LAYERS.items() if isinstance(layer, kinds)), None)
        if draw and waiting:
            draw(layer, generator)
        elif unknown := [name for name in waiting if name not in own]:
            raise ValueError(f"no initial values for {', '.join(unknown)} of {type(layer).__name__}")
        for name in own.keys() & names.keys():
            names[name].copy_(own[name])
        drawn |= {id(value) for value in names.values()}
