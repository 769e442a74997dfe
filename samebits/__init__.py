"""Arithmetic that can't round differently: the same bits on every processor, with any number of threads or workers.

A computer rounds every sum, so a + (b + c) differs from (a + b) + c in its last bit. Libraries add in whatever order is
fastest on the machine they find, and training doubles such a difference over and over. Here the order does not matter,
as no sum rounds. README.md says how to use it. How it is done, in an order in which each part stands on those before:

grid                        numbers with so few bits that their sums never round
sums, products, functions   the three kinds of computing of which all is made
moments, softmax            what is rounded once as a whole: normalization, the loss of a classifier
draws, initial              random numbers, and initial weights
composed                    a folder of ordinary PyTorch code, which runs in the exact mode as anybody's does
optimizers                  steps and learning rates
tables, computed, mode      which function of PyTorch is which, what computes it, and how all else is refused
exact, watch                the context, and a look at what PyTorch really executes
workers, marks, native      several processes that train together
"""

# ruff: noqa: F401
from samebits.draws import normal, uniform
from samebits.errors import NotExactError, WorkersError
from samebits.exact import exact
from samebits.initial import initialize
from samebits.native import native
from samebits.softmax import probabilities
from samebits.workers import draw, share
