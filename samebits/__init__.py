"""Arithmetic that can't round differently: the same bits on every processor, with any number of threads or workers.

A computer rounds every sum, so a + (b + c) differs from (a + b) + c in its last bit. Libraries add in whatever order is
fastest on the machine they find, and training doubles such a difference over and over. Here the order does not matter,
as no sum rounds. README.md says how to use it; grid.py begins to say how it is done.
"""

# ruff: noqa: F401
from samebits.errors import NotExactError, WorkersError
from samebits.exact import exact
from samebits.initial import initialize, normal, uniform
from samebits.native import native
from samebits.softmax import probabilities
from samebits.workers import draw, share
