"""Write plots/draw.html, a page on which one draws a digit, with the trained network inside.

Reads data/raw and models/checkpoint.safetensors. The page needs no other file. The training images tell what looks like
no digit; of the test images the page says how many the network reads right, and how many look like no digit to it.
"""

import json
from pathlib import Path
from typing import Any

from stages.lib import checkpoint, data, doubt, inputs, model, numerics, output, params, tensors
from stages.lib.doubt import Outlines
from stages.lib.drawing import chain
from stages.lib.drawing.chain import Layer, UnknownError
from stages.lib.tensors import Tensors

import numpy as np
import samebits
import torch
from torch import nn

FOLDER = Path(__file__).parent / "lib/drawing"
SCRIPTS = "network.js", "ink.js", "doubt.js", "page.js"
AT_ONCE = 1_000  # images, to spare memory


def drawable(network: nn.Module, images: Tensors, arithmetic: numerics.Arithmetic) -> tuple[list[Layer], int]:
    """The layers of a network, once they are seen to compute the same of all images, and how many it reads right.

    Raises UnknownError, which says what is in the way, if the page can't compute them.
    """
    layers, found = chain.layers(network, images.batch(images.every()[:2])[0]), []
    with torch.no_grad(), arithmetic:
        for index in images.every().split(AT_ONCE):
            batch, _ = images.batch(index)
            found.append(network(batch))
            if not torch.equal(chain.compute(layers, batch), found[-1]):
                raise UnknownError("a part that does not always compute the same")
    return layers, int((samebits.probabilities(torch.cat(found)).argmax(1) == images.labels).sum())


def page(network: nn.Module, images: Tensors, typical: Outlines, arithmetic: numerics.Arithmetic) -> str:
    """The page for a network, with the first test image of each class to load; or one that says why it can't draw."""
    firsts = np.unique(images.labels.numpy(), return_index=True)[1].tolist()
    values: dict[str, Any] = {
        "doubt": {"centres": chain.encoded(typical.centres), "limits": typical.limits.tolist()},
        "samples": [
            {"index": i, "label": int(images.labels[i]), "pixels": chain.encoded(images.images[i].numpy())}
            for i in firsts
        ],
    }
    right = 0
    try:
        layers, right = drawable(network, images, arithmetic)
        values |= {"layers": [layer.numbers for layer in layers if layer.numbers], "unknown": ""}
    except UnknownError as error:
        values |= {"layers": [], "unknown": str(error)}
    scripts = [FOLDER.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS]
    total, alarms = len(images.labels), int(doubt.unlike(images.images.numpy(), typical).sum())
    parts = {
        "right": f"{right:,} of {total:,} test images right ({right / total:.2%})",
        "alarms": f"{alarms:,} of the {total:,} test images ({alarms / total:.1%})",
        "data": json.dumps(values, sort_keys=True),
        "script": "\n".join(scripts).rstrip(),
    }
    text = FOLDER.joinpath("page.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    return text


@inputs.unchanged("draw")
def main() -> None:
    settings = params.load()
    network = model.empty(settings.model, settings.hidden_units)
    checkpoint.load("models/checkpoint.safetensors", network, settings.network())
    test = tensors.to_tensors(data.load_test(settings.dataset))
    typical = doubt.learned(data.load_train(settings.dataset))
    arithmetic = numerics.arithmetic(settings.numerics, "cpu")
    output.write_text("plots/draw.html", page(network, test, typical, arithmetic))


if __name__ == "__main__":
    main()
