"""What the trained network says of your own picture of a digit.

Reads the picture, models/checkpoint.safetensors and the training images of data/raw; prints the ten probabilities and
writes seen.png: what the network saw.
"""

import sys

from drawing import doubt
from stagecraft import checkpoint
from stagecraft.errors import PipelineError
from stages.lib import data, model, numerics, params, plot
from tools import photo

import numpy as np
import samebits
import torch

BAR = 40  # characters for a probability of 1
FULLEST = 0.31  # the mean of an image: hardly one of MNIST's has more ink, a sheet of paper taken for ink has


def probabilities(image: np.ndarray) -> torch.Tensor:
    """The probabilities (10,) that the trained network gives to an image (28, 28) float32 in [0, 1]."""
    settings = params.load()
    network = model.empty(settings)
    checkpoint.load("models/checkpoint.safetensors", network, settings.network())
    network.eval()
    with torch.no_grad(), numerics.arithmetic(settings.numerics, "cpu"):
        logits = network(torch.from_numpy(image).reshape(1, model.INPUTS))
    return samebits.probabilities(logits)[0]


def doubtful(image: np.ndarray, values: torch.Tensor, typical: doubt.Outlines) -> str:
    """Why an image (28, 28) in [0, 1], of whose classes the network gives the probabilities (10,), may be no digit."""
    if values.max() < doubt.SURE:
        return "the network is not sure"
    if image.mean() > FULLEST:
        return "there is more ink than in a digit"
    if doubt.unlike(np.rint(image * 255).astype(np.uint8)[None], typical)[0]:  # as on the page to draw on
        return "it looks like none of the digits that were learned"
    return ""


def bars(values: torch.Tensor) -> str:
    """A line for each class, with a bar as long as its probability."""
    lines = [
        f"{label}  {value:6.1%}  {'█' * round(BAR * value)}".rstrip() for label, value in enumerate(values.tolist())
    ]
    return "\n".join(lines)


def main() -> None:
    if len(sys.argv) != 2 or not sys.argv[1]:
        raise PipelineError("expected the path of one picture: make predict IMAGE=photo.png")
    gray, seen, apart = photo.prepare(sys.argv[1])
    values = probabilities(seen)
    print(bars(values))
    print(f"most likely {values.argmax()}; seen.png shows what the network saw")
    typical = doubt.learned(data.load_train(params.load().dataset))
    doubts = " and ".join(filter(None, [apart, doubtful(seen, values, typical)]))
    if doubts:
        print(f"but this may not be one whole digit, as {doubts}: crop the picture to one digit with paper around it")
    plot.save(plot.titled_images([gray, seen], ["your picture", "what the network saw"], 2, 2.5), "seen.png")


if __name__ == "__main__":
    main()
