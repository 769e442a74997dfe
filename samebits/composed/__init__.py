"""What is composed of sums, products and functions of one number: ordinary PyTorch code, which runs in the exact mode.

So each operation in it is exact or refused, like anybody's, and autograd finds the gradients: nothing here needs a
bound or a proof. Signatures are PyTorch's, as its Python functions pass them on, less what mode.py drops.

reductions     one number of many: means, norms, products, ranks
noise          dropout, and draws by other distributions
layers         normalization, activations, attention
contractions   products along any dimensions
losses         all but the mean cross-entropy of labels, which nearly everybody takes: ../softmax.py
pictures       pooling by means, and pictures of another size or form
recurrent      LSTM, GRU and simple recurrent layers
written        what PyTorch itself writes in Python
"""

from collections.abc import Callable
from typing import Any

from samebits.composed import contractions, layers, losses, noise, pictures, recurrent, reductions, written

# By the names that they have in PyTorch, of which several may stand in one.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **reductions.FUNCTIONS,
    **layers.FUNCTIONS,
    **contractions.FUNCTIONS,
    **losses.FUNCTIONS,
    **noise.FUNCTIONS,
    **pictures.FUNCTIONS,
    **recurrent.FUNCTIONS,
    **written.FUNCTIONS,
}
