"""What is refused, in a message that names the line of the caller's code."""

import sys
from pathlib import Path
from typing import Any

import torch

HERE, TORCH = str(Path(__file__).parent), str(Path(torch.__file__).parent)


class NotExactError(Exception):
    """A computation that might give other bits elsewhere; its text says which, where and why."""


class WorkersError(Exception):
    """Workers that can't train together; its text says why."""


def refusal(name: str, reason: str) -> NotExactError:
    """The error for the function of that name, called where the caller's code is now."""
    return NotExactError(f"can't promise the same bits with {name}{caller()}: {reason}")


def check_float32(function: str, *tensors: Any) -> None:
    """Raise NotExactError for tensors of another type."""
    for x in tensors:
        if isinstance(x, torch.Tensor) and x.dtype != torch.float32:
            raise refusal(function, f"it is of {str(x.dtype).removeprefix('torch.')}; only of float32 is it exact")


def caller() -> str:
    """` in line N of FILE`: the innermost frame that is neither PyTorch's nor this package's; or nothing."""
    frame = sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]
        name = frame.f_code.co_filename
        if not name.startswith((TORCH, "<")) and str(Path(name).parent) != HERE:
            return f" in line {frame.f_lineno} of {Path(name).name}"
    return ""
