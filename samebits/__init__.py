"""Arithmetic that can't round differently: the same bits on every processor, with any number of threads or workers.

A computer rounds every sum, so a + (b + c) differs from (a + b) + c in its last bit. Libraries add in whatever order is
fastest on the machine they find, and training doubles such a difference over and over. Here the order does not matter,
as no sum rounds. README.md says how to use it. How it is done, in an order in which each part stands on those before:

grid                        numbers with so few bits that their sums never round
sums, products, functions   the three kinds of computing of which all is made
losses                      softmax, and the loss of a classifier
formulas, pictures, draws   ordinary PyTorch code in place of its other operations; random numbers
operations                  which of PyTorch's operations is which, and how all else is refused
optimizers, exact           learning rates, and the context
workers, shared             several processes that train together, and tensors of which each has a part
initial                     initial weights
"""

# ruff: noqa: F401
from samebits.draws import normal
from samebits.errors import NotExactError, WorkersError
from samebits.exact import exact
from samebits.initial import initialize
from samebits.losses import probabilities
from samebits.shared import share
