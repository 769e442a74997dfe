"""Write plots/draw.html, a page on which one draws a digit, with the trained network inside.

Reads data/raw and models/checkpoint.safetensors. The training images tell what looks like no digit; of the test images
the page says how many the network reads right, and how many look like no digit to it.
"""

from drawing import doubt, page
from stagecraft import checkpoint, inputs, output
from stages.lib import data, model, numerics, params, tensors


@inputs.unchanged("draw")
def main() -> None:
    settings = params.load()
    network = model.empty(settings)
    checkpoint.load("models/checkpoint.safetensors", network, settings.network())
    test = tensors.to_tensors(data.load_test(settings.dataset))
    typical = doubt.learned(data.load_train(settings.dataset))
    arithmetic = numerics.arithmetic(settings.numerics, "cpu")
    output.write_text("plots/draw.html", page.filled(network, test, typical, arithmetic))


if __name__ == "__main__":
    main()
