"""What is refused, in a message that names the line of the caller's code."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

INSTEAD = "compose it of what samebits/README.md lists, or compute it outside of samebits.exact()"
HERE, TORCH = str(Path(__file__).parent), str(Path(torch.__file__).parent)
COMPOSED = str(Path(HERE) / "composed")  # which is like anybody's code


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


def check_l1_loss(function: Any) -> None:
    """Raise NotExactError for weights of l1_loss, which PyTorch 2.14 does not hand to modes like these."""
    frame: Any = sys._getframe(1)
    while frame and function is functional.l1_loss:
        if frame.f_code is functional.l1_loss.__code__ and frame.f_locals.get("weight") is not None:
            raise refusal("weights of l1_loss", "PyTorch does not hand them on; multiply by them")
        frame = frame.f_back


def caller() -> str:
    """` in line N of FILE`: the innermost frame that is neither PyTorch's nor this package's; or nothing."""
    frame = sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]
        name = frame.f_code.co_filename
        if not name.startswith((TORCH, "<")) and str(Path(name).parent) not in (HERE, COMPOSED):
            return f" in line {frame.f_lineno} of {Path(name).name}"
    return ""
