"""The loss of a classifier, and the probabilities, each rounded once."""

import math
from decimal import Decimal
from typing import Any

import torch
from samebits import workers
from samebits.errors import check_float32
from samebits.functions import ERROR, Index, apply, nearest, settled
from samebits.grid import divisor, fixed, term_bits
from samebits.sums import stretched, summed
from torch.nn import functional

LOSS_BITS = 26  # after the point, of an image's loss; fewer if more than 2**17 images are summed
LOSS_LIMIT = 10  # bits before the point
LOSS_MOST = 700  # nats


class Softmax:
    """The probabilities of float32 logits (n, classes), as the library has them in float64."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits
        self.values = logits.double().softmax(1)
        # The library adds up the exponentials in its own order, at half a unit in the last place for each.
        self.error = ERROR + logits.shape[1] * 2.0**-53

    def nearest(self) -> torch.Tensor:
        """The float32 nearest to each probability, (n, classes). To be called last: it changes the values."""
        return nearest(self.values, self._true_value, self.error)

    def losses(self, labels: torch.Tensor, images: int) -> torch.Tensor:
        """-ln(probability of the label) of each image in nats, (n, 1), on a grid so that `images` add up exactly.

        It is infinite from LOSS_MOST on: float64 has fewer bits for probabilities below exp(-708).
        """
        bits = min(LOSS_BITS, term_bits(images) - LOSS_LIMIT)
        logs = self.values.gather(1, labels.unsqueeze(1)).log_()
        error = self.error + LOSS_MOST * 2.0**-50  # of the probability, and 4 last places of its logarithm
        logs = settled(
            fixed(logs - error, bits),
            fixed(logs + error, bits),
            lambda x: fixed(x, bits),
            lambda index: self._true_value((index[0], int(labels[index[0]]))).ln(),
        )
        return torch.threshold_(logs, -LOSS_MOST, -math.inf).neg_()

    def _true_value(self, index: Index) -> Decimal:
        row = [Decimal(z) for z in self.logits[index[0]].tolist()]
        exponentials = [(z - max(row)).exp() for z in row]
        return exponentials[index[1]] / sum(exponentials)


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """The float32 nearest to each of the probabilities, (n, classes), of float32 logits of that shape."""
    return Softmax(logits).nearest()


class CrossEntropy(torch.autograd.Function):
    """The mean of -ln(softmax(logits)[label]) over the images, if `shared` of all workers: float32 in nats."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor, shared: bool) -> torch.Tensor:
        """The loss, and its gradient (softmax - one_hot(label)) / n."""
        n = workers.rows(labels.shape[0]) if shared else labels.shape[0]
        softmax = Softmax(logits)
        loss = softmax.losses(labels, n).sum()
        if shared:
            (loss,) = workers.total(loss)
        differences = softmax.nearest().scatter_(1, labels.unsqueeze(1), -1, reduce="add")
        ctx.n, ctx.shared, ctx.logits, ctx.version = n, shared, logits, logits._version
        ctx.save_for_backward(differences.div_(divisor(n, differences)), labels)
        return loss.div_(divisor(n, loss)).float()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """The gradient of the logits; none of the labels."""
        (for_logits, labels), logits = ctx.saved_tensors, ctx.logits
        if torch.is_grad_enabled():  # which is to have a gradient
            if logits._version != ctx.version:
                raise RuntimeError("the logits of a loss have been modified by an inplace operation after it")
            exponentials = apply("exp", logits - logits.detach().amax(1, keepdim=True))
            probabilities = exponentials / stretched(summed(exponentials, (1,), False), logits.shape, False)
            differences = probabilities - functional.one_hot(labels, logits.shape[1])
            for_logits = differences / divisor(ctx.n, differences)
            gradient = stretched(gradient, logits.shape, ctx.shared)
        return for_logits * gradient, None, None


def cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, weight: Any = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> torch.Tensor | None:  # fmt: skip
    """The mean over all images of labels, which is rounded once; None if it is another, or of more than LOSS_MOST."""
    is_plain = weight is size_average is reduce is None and reduction == "mean" and label_smoothing == 0
    if not is_plain or logits.dim() != 2 or target.shape != logits.shape[:1] or target.is_floating_point():
        return None
    if ignore_index != -100 or (target.numel() and int(target.amin()) < 0):  # some are ignored
        return None
    check_float32("cross_entropy", logits)
    loss = CrossEntropy.apply(logits, target.long(), workers.is_of_images(logits))
    if loss.item() == math.inf:
        largest = logits.abs().max().item() if logits.numel() else 0.0
        return loss if math.isinf(workers.largest(largest)) else None
    return loss
