"""Write plots/draw.html, a page on which one draws a digit, with the trained network inside.

Reads data/raw and models/checkpoint.safetensors. The page needs no other file.
"""

import json
from pathlib import Path
from typing import Any

from stages.lib import checkpoint, data, inputs, model, numerics, output, params, tensors
from stages.lib.drawing import chain
from stages.lib.drawing.chain import Layer, UnknownError
from stages.lib.tensors import Tensors

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent / "lib/drawing"
SCRIPTS = "network.js", "ink.js", "page.js"
AT_ONCE = 1_000  # images, to spare memory


def drawable(network: nn.Module, images: Tensors, arithmetic: numerics.Arithmetic) -> list[Layer]:
    """The layers of a network, once they are seen to compute the same of all images, to the bit.

    Raises UnknownError, which says what is in the way, if the page can't compute them.
    """
    layers = chain.layers(network, images.batch(images.every()[:2])[0])
    with torch.no_grad(), arithmetic:
        for index in images.every().split(AT_ONCE):
            batch, _ = images.batch(index)
            if not torch.equal(chain.compute(layers, batch), network(batch)):
                raise UnknownError("a part that does not always compute the same")
    return layers


def page(network: nn.Module, images: Tensors, arithmetic: numerics.Arithmetic) -> str:
    """The page for a network, with the first image of each class to load; or one that says why it can't draw."""
    firsts = np.unique(images.labels.numpy(), return_index=True)[1].tolist()
    values: dict[str, Any] = {
        "samples": [
            {"index": i, "label": int(images.labels[i]), "pixels": chain.encoded(images.images[i].numpy())}
            for i in firsts
        ]
    }
    try:
        layers = drawable(network, images, arithmetic)
        values |= {"layers": [layer.numbers for layer in layers if layer.numbers], "unknown": ""}
    except UnknownError as error:
        values |= {"layers": [], "unknown": str(error)}
    template, *scripts = (FOLDER.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", *SCRIPTS))
    return template.replace("{data}", json.dumps(values, sort_keys=True)).replace(
        "{script}", "\n".join(scripts).rstrip()
    )


@inputs.unchanged("draw")
def main() -> None:
    settings = params.load()
    network = model.empty(settings.model, settings.hidden_units)
    checkpoint.load("models/checkpoint.safetensors", network, settings.network())
    test = tensors.to_tensors(data.load_test(settings.dataset))
    output.write_text("plots/draw.html", page(network, test, numerics.arithmetic(settings.numerics, "cpu")))


if __name__ == "__main__":
    main()
