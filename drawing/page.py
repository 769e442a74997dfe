"""The page: page.html with the network, its scripts and what they need filled in, so that it needs no other file."""

import json
from pathlib import Path
from typing import Any

from drawing import chain, doubt
from drawing.chain import Layer, UnknownError
from drawing.doubt import Outlines
from stages.lib.numerics import Arithmetic
from stages.lib.tensors import Tensors

import numpy as np
import samebits
import torch
from torch import nn

FOLDER = Path(__file__).parent
SCRIPTS = "network.js", "ink.js", "doubt.js", "page.js"


def drawable(network: nn.Module, images: Tensors, arithmetic: Arithmetic) -> tuple[list[Layer], int]:
    """The layers of a network, once they are seen to compute the same of all images, and how many it reads right.

    Raises UnknownError, which says what is in the way, if the page can't compute them.
    """
    layers, found = chain.layers(network, images.batch(images.every()[:2])[0]), []
    with torch.no_grad(), arithmetic:
        for index in images.parts():
            batch, _ = images.batch(index)
            found.append(network(batch))
            if not torch.equal(chain.compute(layers, batch), found[-1]):
                raise UnknownError("a part that does not always compute the same")
    return layers, int((samebits.probabilities(torch.cat(found)).argmax(1) == images.labels).sum())


def filled(network: nn.Module, images: Tensors, typical: Outlines, arithmetic: Arithmetic) -> str:
    """The page for a network, with the first test image of each class to load; or one that says why it can't draw."""
    firsts = np.unique(images.labels.numpy(), return_index=True)[1].tolist()
    values: dict[str, Any] = {
        "doubt": {
            "apart": doubt.APART,
            "centres": chain.encoded(typical.centres),
            "limits": typical.limits.tolist(),
            "sure": doubt.SURE,
        },
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
