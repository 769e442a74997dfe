"""Arithmetic that can't round differently: the same bits on every processor, with any number of threads or workers.

A computer rounds every sum, so a + (b + c) differs from (a + b) + c in its last bit. Libraries add in whatever order is
fastest on the machine they find, and training doubles such a difference over and over. Here the order does not matter,
as no sum rounds. README.md says how to use it; grid.py begins to say how it is done.
"""

from samebits.errors import NotExactError, WorkersError
from samebits.exact import exact
from samebits.initial import initialize, normal, uniform
from samebits.losses import probabilities
from samebits.native import native
from samebits.workers import draw, share

__all__ = [
    "NotExactError",
    "WorkersError",
    "draw",
    "exact",
    "initialize",
    "native",
    "normal",
    "probabilities",
    "share",
    "uniform",
]
