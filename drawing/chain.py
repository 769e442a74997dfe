"""A network as a chain of layers, each in the numbers that network.js needs to compute it to the bit.

It is found by watching which of PyTorch's functions make the logits of images, so it does not matter how the network is
written. Dropout, which does nothing in evaluation, counts as a reshape.
"""

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from stages.lib import model

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair as pair
from torch.overrides import TorchFunctionMode


class Layer(NamedTuple):
    """What network.js computes, in numbers for JSON, and the same in PyTorch, of images (n, ...) float32."""

    numbers: dict[str, Any]
    compute: Callable[[Tensor], Tensor]


class UnknownError(Exception):
    """The network is no chain of known layers; its text says what it has, as in "it has …"."""


class Calls(TorchFunctionMode):
    """The calls of PyTorch's functions that return a tensor: each as function, arguments and result."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Tensor], tuple[Any, ...], dict[str, Any], Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call it."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.calls.append((func, args, kwargs or {}, result))
        return result


@torch.no_grad()
def layers(network: nn.Module, images: Tensor) -> list[Layer]:
    """The layers of a network in evaluation, as they are called for images (n, 784) float32, n above 1.

    Raises UnknownError, which says what is in the way, if they are no chain that network.js can compute.
    """
    network.eval()
    with Calls() as made:
        network(images)
    last, found = images, []
    for function, args, kwargs, result in made.calls:
        name = function.__name__.removesuffix("_")
        if not args or args[0] is not last:
            raise UnknownError(f"a part ({name}) that does not take what the one before it gives")
        if len(result) != len(images) or name not in RESHAPES | KNOWN.keys():
            raise UnknownError(f"a part ({name}) that it does not know")
        found.append(layer(function, name, args[1:], kwargs, last, result))
        last = result
    if last.shape[1:] != (model.CLASSES,):
        raise UnknownError(f"results of shape {tuple(last.shape[1:])} for an image")
    return found


def layer(function: Any, name: str, args: Any, kwargs: Any, x: Tensor, y: Tensor) -> Layer:
    """One call, of which `x` and `y` are what it takes and gives."""
    shape = y.shape[1:]
    if name in RESHAPES:
        return Layer({}, lambda x: x.reshape(len(x), *shape))
    return Layer(KNOWN[name](x, y, *args, **kwargs), lambda x: function(x, *args, **kwargs))


# Each takes what PyTorch's function of that name takes, after what goes in and comes out.


def linear(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None = None) -> dict[str, Any]:
    return {"kind": "linear", "terms": weight.shape[1], **weights(weight, bias)}


def convolution(
    x: Tensor, y: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> dict[str, Any]:  # fmt: skip
    kernel, steps = weight.shape[2:], pair(dilation)
    if isinstance(padding, str):
        before = [step * (size - 1) * (padding == "same") // 2 for step, size in zip(steps, kernel, strict=True)]
    else:
        before = pair(padding)
    terms = weight[0].numel()
    places = windows(x, y, kernel, stride, before, steps)
    return {"kind": "convolution", "terms": terms, "groups": groups, **places, **weights(weight, bias)}


def max_pool(
    x: Tensor, y: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> dict[str, Any]:  # fmt: skip
    return {"kind": "maxPool", **windows(x, y, kernel_size, stride or kernel_size, padding, dilation)}


def average_pool(
    x: Tensor, y: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    if ceil_mode:
        raise UnknownError("average pooling with ceil_mode, which it does not know")
    terms = math.prod(pair(kernel_size))
    divisor = divisor_override or terms * count_include_pad
    places = windows(x, y, kernel_size, stride or kernel_size, padding, 1)
    return {"kind": "averagePool", "terms": terms, "divisor": divisor, **places}


def adaptive_average_pool(x: Tensor, y: Tensor, output_size: Any) -> dict[str, Any]:
    rows, columns = (
        [list(range(i * old // new, -(-(i + 1) * old // new))) for i in range(new)]
        for old, new in zip(x.shape[-2:], y.shape[-2:], strict=True)
    )
    size = list(x.shape[-2:])
    return {"kind": "averagePool", "terms": 0, "divisor": 0, "size": size, "rows": rows, "columns": columns}


def of_each(name: str) -> Callable[..., dict[str, Any]]:
    """A function of one number."""
    return lambda *_, **options: {"kind": name}


RESHAPES = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "dropout", "dropout2d"}
KNOWN: dict[str, Callable[..., dict[str, Any]]] = {
    "linear": linear,
    "conv2d": convolution,
    "max_pool2d": max_pool,
    "avg_pool2d": average_pool,
    "adaptive_avg_pool2d": adaptive_average_pool,
    **{name: of_each(name) for name in ("relu", "sigmoid", "tanh")},
}


def windows(
    x: Tensor, y: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> dict[str, list[int] | list[list[int]]]:
    """The size of a channel, and for each row and column of the result those that it sees, -1 where there is none."""
    each = zip(x.shape[-2:], y.shape[-2:], *map(pair, (kernel, stride, padding, dilation)), strict=True)
    rows, columns = (
        [[place if 0 <= place < size else -1 for place in seen(i * step - pad, taps, gap)] for i in range(new)]
        for size, new, taps, step, pad, gap in each
    )
    return {"size": list(x.shape[-2:]), "rows": rows, "columns": columns}


def seen(first: int, taps: int, gap: int) -> range:
    return range(first, first + taps * gap, gap)


def weights(weight: Tensor, bias: Tensor | None) -> dict[str, str]:
    """A weight row by row and its bias for JSON."""
    return {"weight": numbers(weight), "bias": numbers(torch.zeros(len(weight)) if bias is None else bias)}


def numbers(values: Tensor) -> str:
    """Little-endian float32 in base64."""
    return encoded(values.detach().numpy().astype("<f4"))


def encoded(array: np.ndarray) -> str:
    """The bytes of an array in base64."""
    return base64.b64encode(array.tobytes()).decode()


def compute(chain: Sequence[Layer], images: Tensor) -> Tensor:
    """The logits (n, 10) of images (n, 784), layer by layer."""
    for each in chain:
        images = each.compute(images)
    return images
