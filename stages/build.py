"""Build the network from the seed and summarize it.

Reads only settings; writes models/initial.safetensors, models/summary.txt and metrics/model.json.
"""

from typing import Any

from stagecraft import checkpoint, inputs, output
from stages.lib import model, params

import torch
import torchinfo
from torch import nn


def describe(network: nn.Module) -> dict[str, Any]:
    """Count the parameters, in all and per layer, and list their names and shapes in order."""
    own = {name: [*layer.parameters(recurse=False)] for name, layer in network.named_modules()}
    return {
        "parameters": sum(value.numel() for value in network.parameters()),
        "layers": {name: sum(value.numel() for value in values) for name, values in own.items() if values},
        "shapes": {name: list(value.shape) for name, value in network.named_parameters()},
    }


@inputs.unchanged("build")
def main() -> None:
    settings = params.load()
    network = model.empty(settings)
    model.initialize(network, torch.Generator().manual_seed(settings.seed))

    summary = torchinfo.summary(network, input_size=(1, model.INPUTS), verbose=0)
    print(network, summary, sep="\n")
    checkpoint.save("models/initial.safetensors", network, settings.initial())
    output.write_text("models/summary.txt", f"{summary}\n")
    output.write_json("metrics/model.json", describe(network))


if __name__ == "__main__":
    main()
