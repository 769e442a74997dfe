"""What PyTorch writes in Python, of functions that the exact mode computes: its own code, which runs in the mode."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from torch.nn import functional

NAMES = (
    "gumbel_softmax local_response_norm lp_pool1d lp_pool2d lp_pool3d max_unpool1d max_unpool2d max_unpool3d softmin "
    "softsign tanhshrink multilabel_soft_margin_loss triplet_margin_with_distance_loss"
)
# By which such a function asks whether someone else computes it.
QUESTIONS = "has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"


def own_code(function: Any) -> Callable[..., Any]:
    """The function's code, which is told that nobody else computes it."""
    names = function.__globals__ | dict.fromkeys(QUESTIONS, lambda *_: False)
    found = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    found.__kwdefaults__ = function.__kwdefaults__
    return found


FUNCTIONS = {name: own_code(getattr(functional, name)) for name in NAMES.split()}
