"""Initial weights: drawn from a seed, layer by layer, the same bits everywhere.

PyTorch's own draws round as the machine does: uniform_(-a, a) multiplies and adds in one expression, normal_ takes
logarithms and cosines of vectors. Here a generator draws whole multiples of 2**-24, and each operation is rounded once.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import torch
from samebits import workers
from samebits.errors import refusal
from samebits.functions import nearest
from samebits.native import OF_ALL
from torch import Tensor, nn

Shape = torch.Size | tuple[int, ...]


def uniform(shape: Shape, bound: float, generator: torch.Generator) -> Tensor:
    """float32 numbers, evenly between -bound and bound."""
    return torch.rand(shape, generator=generator).mul_(2 * bound).sub_(bound)


def normal(shape: Shape, deviation: float, generator: torch.Generator) -> Tensor:
    """float32 numbers of a normal distribution around 0, by the polar method of Marsaglia and Bray (1964).

    Of a point u, v in the unit circle, at the squared distance s, u * sqrt(-2 * ln(s) / s) is normally distributed.
    """
    with torch._C.DisableTorchFunction():  # float64, which the exact mode leaves to those who know its errors
        return _normal(math.prod(shape), generator).mul_(deviation).view(shape)


def _normal(count: int, generator: torch.Generator) -> Tensor:
    found = torch.empty(0)
    while len(found) < count:
        u, v = torch.rand(2, 2 * count + 8, generator=generator, dtype=torch.float32).double() * 2 - 1
        s = u * u + v * v  # exact, as are u and v: they have 24 bits
        u, s = (x[(s > 0) & (s < 1)] for x in (u, s))
        values = u * torch.sqrt(-2 * s.log() / s)
        points = list(zip(u.tolist(), s.tolist(), strict=True))
        found = torch.cat([found, nearest(values, lambda index, points=points: polar(*points[index[0]]))])  # type: ignore[misc]
    return found[:count]


def polar(u: float, s: float) -> Decimal:
    """u * sqrt(-2 * ln(s) / s)."""
    return Decimal(u) * (-2 * Decimal(s).ln() / Decimal(s)).sqrt()


# In place of PyTorch's own, for what is drawn in the exact mode


def filled(x: Tensor, drawn: Tensor) -> Tensor:
    """`x` with numbers that were drawn on the CPU."""
    if workers.are_sizes_of_images(x.shape):
        raise refusal("a draw", OF_ALL)
    if not x.is_floating_point():
        raise refusal("a draw", "only floats are drawn so")
    with torch.set_grad_enabled(torch.is_grad_enabled() and not x.is_leaf):  # what it was made of gets no gradient
        return x.copy_(drawn)


def uniform_(
    x: Tensor, a: float = 0.0, b: float = 1.0, generator: torch.Generator | None = None, **method: float
) -> Tensor:
    """Fill `x` with numbers evenly between a and b, which the method of that name calls `from` and `to`."""
    a, b = method.get("from", a), method.get("to", b)
    return filled(x, torch.rand(x.shape, generator=generator) * (b - a) + a)


def normal_(x: Tensor, mean: float = 0.0, std: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Fill `x` with normally distributed numbers."""
    return filled(x, normal(x.shape, std, generator or torch.default_generator) + mean)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: Any = "fan_in", nonlinearity: Any = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """Fill it evenly, as He et al. (2015)."""
    if not tensor.numel():
        return tensor
    deviation = nn.init.calculate_gain(nonlinearity, a) / math.sqrt(nn.init._calculate_correct_fan(tensor, mode))
    return uniform_(tensor, -math.sqrt(3) * deviation, math.sqrt(3) * deviation, generator)


def randn(*size: Any, generator: torch.Generator | None = None, **options: Any) -> Tensor:
    """Normally distributed numbers around 0, with deviation 1."""
    return normal_(torch.empty(*size, **options), generator=generator)


def randn_like(x: Tensor, **options: Any) -> Tensor:
    """In the shape of `x`."""
    return normal_(torch.empty_like(x, **options))


def bernoulli_(x: Tensor, p: float = 0.5, *, generator: Any = None) -> Tensor:
    """1 with probability p, else 0; for this worker's images they are drawn for all."""
    if not workers.are_sizes_of_images(x.shape):
        return x.copy_(torch.rand(x.shape, generator=generator) < p)
    drawn = workers.draw(x, lambda n: torch.rand(n, *x.shape[1:], generator=generator))
    return workers.of_images(x.copy_(drawn < p))


DRAWS = "randn", "randn_like", "uniform_", "normal_", "kaiming_uniform_", "bernoulli_"


# Layer by layer


def of_fan_in(layer: Any, draw: torch.Generator) -> None:
    """Linear layers and convolutions: evenly within 1 / sqrt(numbers that an output is a sum of), weight, then bias."""
    for parameter in layer.parameters(recurse=False):
        parameter.data = uniform(parameter.shape, 1 / math.sqrt(layer.weight[0].numel()), draw)


def of_one(layer: Any, draw: torch.Generator) -> None:
    """Normalizations: they leave what they have normalized as it is."""
    for name, parameter in layer.named_parameters(recurse=False):
        nn.init.constant_(parameter, float(name == "weight"))
    if hasattr(layer, "reset_running_stats"):
        layer.reset_running_stats()


def of_embedding(layer: Any, draw: torch.Generator) -> None:
    """Normally distributed with deviation 1; 0 at padding_idx."""
    layer.weight.data = normal(layer.weight.shape, 1.0, draw)
    if layer.padding_idx is not None:
        layer.weight.data[layer.padding_idx] = 0


def of_hidden_size(layer: Any, draw: torch.Generator) -> None:
    """Recurrent layers: evenly within 1 / sqrt(hidden units)."""
    for parameter in layer.parameters(recurse=False):
        parameter.data = uniform(parameter.shape, 1 / math.sqrt(layer.hidden_size), draw)


def of_attention(layer: Any, draw: torch.Generator) -> None:
    """The projections evenly, as Glorot and Bengio (2010); their biases 0."""
    for parameter in layer.parameters(recurse=False):
        bound = math.sqrt(6 / sum(parameter.shape)) if parameter.dim() == 2 else 0.0
        parameter.data = uniform(parameter.shape, bound, draw) if bound else torch.zeros(parameter.shape)


def of_last_projection(layer: Any, draw: torch.Generator) -> None:
    """That of attention: as a linear layer, but its bias is 0."""
    of_fan_in(layer, draw)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


LAYERS: dict[Any, Callable[[nn.Module, torch.Generator], Any]] = {
    nn.modules.linear.NonDynamicallyQuantizableLinear: of_last_projection,  # before Linear, as it is one, too
    (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d): of_fan_in,
    (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.RMSNorm): of_one,
    nn.Embedding: of_embedding,
    (nn.RNNBase, nn.RNNCellBase): of_hidden_size,
    nn.MultiheadAttention: of_attention,
    nn.PReLU: lambda layer, draw: nn.init.constant_(layer.weight, 0.25),  # type: ignore[arg-type]
}


@torch.no_grad()
def initialize(network: nn.Module, generator: torch.Generator, own: dict[str, Tensor] | None = None) -> None:
    """Draw all parameters of a network, on the CPU, as the documentation of each layer describes them.

    own: values of parameters that belong to no layer of PyTorch's, by their names in the network.
    Raises ValueError, which names them, for others, since they would not depend on the seed.
    """
    own, drawn = own or {}, set()
    for prefix, layer in network.named_modules():
        names = {f"{prefix}.{name}".lstrip("."): value for name, value in layer.named_parameters(recurse=False)}
        waiting = [name for name, value in names.items() if id(value) not in drawn]  # weights may be tied
        draw = next((draw for kinds, draw in LAYERS.items() if isinstance(layer, kinds)), None)
        if draw and waiting:
            draw(layer, generator)
        elif unknown := [name for name in waiting if name not in own]:
            raise ValueError(f"no initial values for {', '.join(unknown)} of {type(layer).__name__}")
        for name in own.keys() & names.keys():
            names[name].copy_(own[name])
        drawn |= {id(value) for value in names.values()}
