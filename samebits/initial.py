"""Initial weights: drawn from a seed, the same bits everywhere."""

import math

import torch
from samebits.exact import exact
from torch import Tensor, nn


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator, own: dict[str, Tensor] | None = None) -> None:
    """Draw all parameters of a network anew, as the documentation of each layer describes them; parts before the whole.

    What draws them is what PyTorch's layers call when they are made, `reset_parameters`, which classes of one's own
    may have, too. own: values of others, by their names in the network.
    Raises ValueError, which names them, if some are still missing.
    """
    parameters = dict(network.named_parameters())
    for parameter in parameters.values():
        parameter.fill_(math.nan)
    with torch.random.fork_rng(devices=[]), exact():
        torch.set_rng_state(generator.get_state())
        network.apply(reset)
        generator.set_state(torch.get_rng_state())
    for name, value in (own or {}).items():
        network.get_parameter(name).copy_(value)
    if missing := [name for name, parameter in parameters.items() if parameter.isnan().any()]:
        raise ValueError(f"no initial values for {', '.join(missing)}; a method reset_parameters may draw them")


def reset(layer: nn.Module) -> None:
    """Draw the parameters of a layer, if it has a method for that."""
    draw = getattr(layer, "reset_parameters", getattr(layer, "_reset_parameters", None))
    if callable(draw):
        draw()
