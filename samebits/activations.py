"""Activations that PyTorch computes in one operation, and their gradients, made of functions and single operations."""

import math
from collections.abc import Callable
from typing import Any

import torch
from samebits.functions import FUNCTIONS
from samebits.grid import over
from torch import Tensor

exp, expm1, log1p, erf, tanh, sigmoid = (
    FUNCTIONS[name] for name in ["exp", "expm1", "log1p", "erf", "tanh", "sigmoid"]
)


def elu(x: Tensor, alpha: float = 1, scale: float = 1, inner: float = 1) -> Tensor:
    """As SELU and CELU."""
    return torch.where(x > 0, x, expm1(x.clamp(max=0).add_(0.0) * inner) * alpha) * scale


def elu_backward(g: Tensor, alpha: float, scale: float, inner: float, is_result: bool, x: Tensor) -> Tensor:
    """From x or the result."""
    below = over(x, scale) + alpha if is_result else exp(x.clamp(max=0) * inner) * alpha
    return torch.where(x > 0, g, g * below * inner) * scale


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """x times the probability that a normally distributed number is less."""
    return x * (gate(x, approximate) + 1) * 0.5


def gate(x: Tensor, approximate: str) -> Tensor:
    """Twice that probability, less 1."""
    if approximate == "none":
        return erf(x * math.sqrt(0.5))
    return tanh((x * x * x * 0.044715 + x) * math.sqrt(2 / math.pi))


def gelu_backward(g: Tensor, x: Tensor, *, approximate: str = "none") -> Tensor:
    """From x."""
    y = gate(x, approximate)
    if approximate == "none":
        slope = exp(x * x * -0.5) * math.sqrt(2 / math.pi)
    else:
        slope = (1 - y * y) * ((x * x * (3 * 0.044715) + 1) * math.sqrt(2 / math.pi))
    return g * ((y + 1) * 0.5 + x * slope * 0.5)


def softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """ln(1 + exp(beta * x)) / beta, and x itself where beta * x is above the threshold."""
    scaled = x * beta
    soft = log1p(exp(-scaled.abs())) + scaled.clamp(min=0)
    return torch.where(scaled > threshold, x, over(soft, beta))


def silu_backward(g: Tensor, x: Tensor) -> Tensor:
    """From x."""
    s = sigmoid(x)
    return g * s * (x * (1 - s) + 1)


def mish_backward(g: Tensor, x: Tensor) -> Tensor:
    """From x."""
    y, s = tanh(softplus(x, 1, math.inf)), sigmoid(x)
    return g * (x * s * (1 - y * y) + y)


def glu_backward(g: Tensor, x: Tensor, dim: int) -> Tensor:
    """From both halves of x."""
    first, second = x.chunk(2, dim)
    s = sigmoid(second)
    return torch.cat([g * s, g * first * s * (1 - s)], dim)


def log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    """ln(sigmoid(x)), and what PyTorch keeps for the gradient."""
    kept = exp(-x.abs())
    return x.clamp(max=0) - log1p(kept), kept


COMPUTED: dict[str, Callable[..., Any]] = {
    "sigmoid_backward": lambda g, y: (1 - y).mul_(y).mul_(g),
    "tanh_backward": lambda g, y: (1 - y * y).mul_(g),
    "elu": elu,
    "elu_backward": elu_backward,
    "gelu": gelu,
    "gelu_backward": gelu_backward,
    "softplus": softplus,
    "softplus_backward": lambda g, x, beta, threshold: torch.where(x * beta > threshold, g, g * sigmoid(x * beta)),
    "silu": lambda x: x * sigmoid(x),
    "silu_backward": silu_backward,
    "mish": lambda x: x * tanh(softplus(x, 1, math.inf)),
    "mish_backward": mish_backward,
    "glu": lambda x, dim=-1: x.chunk(2, dim)[0] * sigmoid(x.chunk(2, dim)[1]),
    "glu_backward": glu_backward,
    "log_sigmoid_forward": log_sigmoid,
    "log_sigmoid_backward": lambda g, x, kept: g * torch.where(x < 0, 1 - kept / (kept + 1), kept / (kept + 1)),
    "hardsigmoid": lambda x: over((x + 3).clamp(0, 6), 6),
    "hardswish": lambda x: over(x * (x + 3).clamp(0, 6), 6),
}
