"""Write plots/draw.html, a page on which one draws a digit, with the trained network inside.

Reads data/raw and models/checkpoint.safetensors. The page needs no other file.
"""

import json
from pathlib import Path

from stages.lib import checkpoint, data, model, numerics, output, params, tensors
from stages.lib.drawing import chain
from stages.lib.tensors import Tensors

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent / "lib/drawing"
AT_ONCE = 1_000  # images, to spare memory


def page(network: nn.Sequential, images: Tensors) -> str:
    """The page for a `chain`, with the first image of each class to load; without layers it says that it can't draw."""
    firsts = np.unique(images.labels.numpy(), return_index=True)[1].tolist()
    values = {
        "layers": [chain.described(layer) for layer in network if isinstance(layer, nn.Linear)],
        "samples": [
            {"index": i, "label": int(images.labels[i]), "pixels": chain.encoded(images.images[i].numpy())}
            for i in firsts
        ],
    }
    template, script = (FOLDER.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "page.js"))
    return template.replace("{data}", json.dumps(values)).replace("{script}", script.rstrip())


@torch.no_grad()
def same(layers: nn.Sequential, network: nn.Module, images: Tensors, arithmetic: numerics.Arithmetic) -> bool:
    """Whether a chain computes what the network does, to the bit, of all images."""
    network.eval()
    with arithmetic:
        batches = (images.batch(index)[0] for index in images.every().split(AT_ONCE))
        return len(layers) > 0 and all(torch.equal(layers(batch), network(batch)) for batch in batches)


def drawing(network: nn.Module, images: Tensors, arithmetic: numerics.Arithmetic) -> str:
    """The page for a network; it says so if the network is no chain that it can compute."""
    layers = chain.chain(network)
    return page(layers if same(layers, network, images, arithmetic) else nn.Sequential(), images)


def main() -> None:
    settings = params.load()
    network = model.empty(settings.model, settings.hidden_units)
    checkpoint.load("models/checkpoint.safetensors", network, settings.network())
    test = tensors.to_tensors(data.load_test(settings.dataset))
    output.write_text("plots/draw.html", drawing(network, test, numerics.arithmetic(settings.numerics, "cpu")))


if __name__ == "__main__":
    main()
