"""What is refused, in a message that names the line of the caller's code."""

import sys
from pathlib import Path

import torch

HERE, TORCH = str(Path(__file__).parent), str(Path(torch.__file__).parent)


class NotExactError(Exception):
    """A computation that might give other bits elsewhere; its text says which, where and why."""


class WorkersError(Exception):
    """Workers that can't train together; its text says why."""


def refusal(name: object, reason: str) -> NotExactError:
    """The error for an operation of that name, which the caller's code, or the gradient of it, executes now."""
    node = torch._C._current_autograd_node()
    gradient = f", the gradient of {node.name()}," if node is not None else ""
    return NotExactError(f"can't promise the same bits with {name}{gradient}{caller()}: {reason}")


def caller() -> str:
    """` in line N of FILE`: the innermost frame that is neither PyTorch's nor this package's; or nothing."""
    frame = sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]
        name = frame.f_code.co_filename
        if not name.startswith((TORCH, "<")) and str(Path(name).parent) != HERE:
            return f" in line {frame.f_lineno} of {Path(name).name}"
    return ""
