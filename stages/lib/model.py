"""The network, 784 inputs, a hidden layer with a sigmoid and 10 logits, written in the notebook's four ways.

All four compute the same function; what differs is how they read and what their parameters are called. The fifth goes
on from there: it looks at the images as images.
"""

from collections import OrderedDict

from stagecraft.errors import PipelineError
from stages.lib.params import Initial

import samebits
import torch
from torch import nn
from torch.nn import functional

INPUTS, CLASSES = 28 * 28, 10


class ModuleNet(nn.Module):
    """Option 3: a module whose layers, the activation too, are submodules."""

    def __init__(self, hidden_units: int) -> None:
        super().__init__()
        self.hidden_linear = nn.Linear(INPUTS, hidden_units)
        self.hidden_activation = nn.Sigmoid()
        self.output_linear = nn.Linear(hidden_units, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 784) to logits (n, 10)."""
        hidden = self.hidden_activation(self.hidden_linear(images))
        return self.output_linear(hidden)


class FunctionalNet(nn.Module):
    """Option 4: only what has parameters is a submodule; the activation is a function."""

    def __init__(self, hidden_units: int) -> None:
        super().__init__()
        self.hidden_linear = nn.Linear(INPUTS, hidden_units)
        self.output_linear = nn.Linear(hidden_units, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 784) to logits (n, 10)."""
        hidden = functional.sigmoid(self.hidden_linear(images))
        return self.output_linear(hidden)


def sequential(hidden_units: int) -> nn.Sequential:
    """Option 1: layers in a row, named by their position."""
    return nn.Sequential(
        nn.Linear(INPUTS, hidden_units),
        nn.Sigmoid(),
        nn.Linear(hidden_units, CLASSES),
    )


def ordered(hidden_units: int) -> nn.Sequential:
    """Option 2: layers in a row, each with a name."""
    return nn.Sequential(
        OrderedDict(
            hidden_linear=nn.Linear(INPUTS, hidden_units),
            hidden_activation=nn.Sigmoid(),
            output_linear=nn.Linear(hidden_units, CLASSES),
        )
    )


def convolutional(hidden_units: int) -> nn.Sequential:
    """Beyond the notebook: two convolutions of the form of LeNet-5 (LeCun et al. 1998), then a hidden layer."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 16, 5),  # (n, 16, 24, 24)
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5),  # (n, 32, 8, 8)
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),  # (n, 512)
        nn.Linear(512, hidden_units),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden_units, CLASSES),
    )


MODELS = {
    "sequential": sequential,
    "ordered": ordered,
    "module": ModuleNet,
    "functional": FunctionalNet,
    "convolutional": convolutional,
}


def empty(settings: Initial) -> nn.Module:
    """The network with meaningless parameters, on the CPU: (n, 784) float32 in [0, 1] to logits (n, 10).

    Raises PipelineError if it isn't written in that way.
    """
    if settings.model not in MODELS:
        known = " or ".join(MODELS)
        raise PipelineError(f"model: expected {known}, as stages/lib/model.py has, found {settings.model}; set another")
    with torch.random.fork_rng(devices=[]):  # PyTorch draws values here, too; its generator is put back
        return MODELS[settings.model](settings.hidden_units)


def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Draw all parameters, layer by layer, weight before bias, as the layers' own documentation says.

    Raises PipelineError for parameters of which nothing says how to draw them.
    """
    try:
        samebits.initialize(network, generator)
    except ValueError as error:
        raise PipelineError(str(error)) from None
