"""Losses; but the mean cross-entropy of labels, which nearly everybody takes, is rounded once only: ../softmax.py."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from samebits.composed.layers import per_channel, scaled
from samebits.composed.reductions import count, norm
from torch import Tensor, nn
from torch.nn import functional


def reduced(losses: Tensor, reduction: str, divisor: Any = None) -> Tensor:
    if reduction == "none":
        return losses
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return losses.sum() if reduction == "sum" else losses.sum() / (count(losses, None) if divisor is None else divisor)


def check_sizes(target: Tensor, expected: torch.Size) -> None:
    if target.shape != expected:
        raise ValueError(f"expected a target of size {tuple(expected)}, found {tuple(target.shape)}")


def stretched(x: Tensor, y: Tensor) -> Tensor:
    """The difference of x and y; with a warning, as PyTorch has it, if one of them must be stretched for that."""
    if x.shape != y.shape:
        told = f"a target of size {tuple(y.shape)} for input of size {tuple(x.shape)} is stretched to it, or it to that"
        warnings.warn(f"{told}: see that you mean it", stacklevel=2)
    return x - y


def nll_loss(
    logs: Tensor, labels: Tensor, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Of logarithms (n, classes, ...) of probabilities; with smoothing also of the classes that are not the label."""
    if logs.dim() == 1:
        one = logs.unsqueeze(0), labels.unsqueeze(0)
        return nll_loss(*one, weight, ignore_index, reduction, label_smoothing).squeeze(0)
    check_sizes(labels, torch.Size([*logs.shape[:1], *logs.shape[2:]]))
    kept = labels != ignore_index
    labels = labels.where(kept, 0).long()
    weights = kept.float() if weight is None else weight[labels] * kept
    losses = torch.where(kept, -logs.gather(1, labels.unsqueeze(1)).squeeze(1) * weights, 0.0)
    if label_smoothing:
        all_classes = scaled(logs, per_channel(logs, weight)).sum(1) * kept
        losses = losses * (1 - label_smoothing) - all_classes * (label_smoothing / logs.shape[1])
    return reduced(losses, reduction, weights.sum() if reduction == "mean" else None)


def cross_entropy(
    logits: Tensor, target: Tensor, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Of labels, or of probabilities of the classes, which are the second dimension of logits, or their only one."""
    if logits.dim() == 1:
        one = logits.unsqueeze(0), target.unsqueeze(0)
        return cross_entropy(*one, weight, ignore_index, reduction, label_smoothing).squeeze(0)
    logs = logits.log_softmax(1)
    if not target.is_floating_point():
        return nll_loss(logs, target, weight, ignore_index, reduction, label_smoothing)
    check_sizes(target, logits.shape)
    target = target * (1 - label_smoothing) + label_smoothing / logits.shape[1]
    return reduced(-scaled(logs * target, per_channel(logs, weight)).sum(1), reduction)


def kl_div(x: Tensor, y: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    losses = y.exp() * (y - x) if log_target else torch.where(y > 0, y * (y.where(y > 0, 1).log() - x), 0)
    return losses.sum() / count(x, 0) if reduction == "batchmean" else reduced(losses, reduction)


def square(x: Tensor, y: Tensor) -> Tensor:
    difference = stretched(x, y)
    return difference * difference


def huber(x: Tensor, y: Tensor, delta: float = 1.0) -> Tensor:
    distance = stretched(x, y).abs()
    return torch.where(distance < delta, distance * distance * 0.5, (distance - 0.5 * delta) * delta)


def binary(x: Tensor, y: Tensor) -> Tensor:
    check_sizes(y, x.shape)
    if ((x < 0) | (x > 1)).sum() > 0:
        raise RuntimeError("all elements of input should be between 0 and 1")
    return -(y * limited_log(x) + (1 - y) * limited_log(1 - x))


def limited_log(x: Tensor) -> Tensor:
    """-100 of 0, without a gradient."""
    return torch.where(x > 0, x.where(x > 0, 1).log(), -100.0)


def logistic(x: Tensor, y: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    check_sizes(y, x.shape)
    right = functional.softplus(-x, threshold=math.inf)
    return (1 - y) * x + (right if pos_weight is None else right * ((pos_weight - 1) * y + 1))


def multi_margin(
    x: Tensor, labels: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Of scores (n, classes), or of one image's: what others have above the label's less the margin, to the power p."""
    x, labels = (x, labels) if x.dim() == 2 else (x.unsqueeze(0), labels.view(1))
    above = (x - x.gather(1, labels.unsqueeze(1)) + margin).clamp_min(0) ** p
    others = torch.arange(x.shape[1], device=x.device) != labels.unsqueeze(1)
    losses = torch.where(others, above, 0).sum(1) / x.shape[1]
    return reduced(scaled(losses, None if weight is None else weight[labels]), reduction)


def multilabel_margin(x: Tensor, labels: Tensor) -> Tensor:
    """Of scores (n, classes), or of one image's; the labels of each are those before the first that is negative."""
    if x.dim() == 1:
        return multilabel_margin(x.unsqueeze(0), labels.unsqueeze(0)).squeeze(0)
    check_sizes(labels, x.shape)
    kept = (labels < 0).cumsum(1) == 0
    classes = torch.arange(x.shape[1], device=x.device)
    others = ~((labels.unsqueeze(2) == classes) & kept.unsqueeze(2)).any(1)
    above = (x.unsqueeze(1) - x.gather(1, labels.clamp(min=0)).unsqueeze(2) + 1).clamp_min(0)
    return torch.where(kept.unsqueeze(2) & others.unsqueeze(1), above, 0).sum((1, 2)) / x.shape[1]


def ctc_loss(
    logs: Tensor, labels: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """Of logarithms (steps, n, classes) of probabilities: Graves et al. (2006). Labels are (n, most) or in one row."""
    if logs.dim() == 2:
        logs, labels = logs.unsqueeze(1), labels.unsqueeze(0)
        steps, counts = (torch.as_tensor(lengths).view(1) for lengths in (input_lengths, target_lengths))
        losses = ctc_loss(logs, labels, steps, counts, blank, reduction, zero_infinity)
        return losses.squeeze(0) if reduction == "none" else losses
    steps, counts = (torch.as_tensor(lengths, device=logs.device) for lengths in (input_lengths, target_lengths))
    if labels.dim() == 1:
        labels = nn.utils.rnn.pad_sequence(labels.split(counts.tolist()), batch_first=True)
    if (steps > len(logs)).any() or (counts > labels.shape[1]).any():
        raise RuntimeError(f"expected lengths up to {len(logs)} and {labels.shape[1]}, found {steps} and {counts}")
    labels = labels.where(torch.arange(labels.shape[1], device=logs.device) < counts.unsqueeze(1), blank)
    # Before, between and behind the labels there may be blanks.
    states = torch.full((len(labels), 2 * labels.shape[1] + 1), blank, device=logs.device)
    states[:, 1::2] = labels
    is_new = functional.pad(states[:, 2:] != states[:, :-2], (2, 0), value=True)[:, : states.shape[1]]
    is_new &= states != blank
    said = logs.gather(2, states.long().expand(len(logs), -1, -1))
    place = torch.arange(states.shape[1], device=logs.device)
    paths = torch.where(place == 0, torch.zeros_like(said[0]), -math.inf)
    for step in range(len(logs)):
        from_last, from_before = (functional.pad(paths, (n, 0), value=-math.inf)[:, :-n] for n in (1, 2))
        ways = torch.stack([paths, from_last, torch.where(is_new, from_before, -math.inf)])
        paths = torch.where(steps.unsqueeze(1) > step, ways.logsumexp(0) + said[step], paths)
    ends = torch.where((place + 1) // 2 == counts.unsqueeze(1), paths, -math.inf)
    losses = -ends.logsumexp(1)
    if zero_infinity:
        losses = torch.where(losses == math.inf, 0, losses)
    return reduced(losses / counts.clamp(min=1) if reduction == "mean" else losses, reduction)


def cosine_distance(x: Tensor, y: Tensor, target: Tensor, margin: float = 0.0) -> Tensor:
    cosine = functional.cosine_similarity(x, y, -1)
    return torch.where(target == 1, 1 - cosine, (cosine - margin).clamp_min(0))


def triplet(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: Any = 2, eps: float = 1e-6,
    swap: bool = False,
) -> Tensor:  # fmt: skip
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = far.minimum(pairwise_distance(positive, negative, p, eps))
    return (pairwise_distance(anchor, positive, p, eps) - far + margin).clamp_min(0)


def pairwise_distance(x: Tensor, y: Tensor, p: Any = 2, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    return norm(x - y + eps, p, -1, keepdim)


def poisson(x: Tensor, y: Tensor, log_input: bool = True, full: bool = False, eps: float = 1e-8) -> Tensor:
    if full:
        raise NotImplementedError("poisson_nll_loss with full=True")
    return x.exp() - y * x if log_input else x - y * (x + eps).log()


def gaussian(x: Tensor, y: Tensor, variance: Any, full: bool = False, eps: float = 1e-6) -> Tensor:
    variance = torch.as_tensor(variance, dtype=x.dtype)
    if (variance < 0).sum() > 0:
        raise ValueError("var has negative entry/entries")
    variance = (
        variance.unsqueeze(-1) if variance.dim() == x.dim() - 1 else variance
    )  # one for all of an image's numbers
    variance = variance + (variance.detach().clamp_min(eps) - variance.detach())  # whose gradient is the same
    return (variance.log() + (x - y) * (x - y) / variance) * 0.5 + (math.log(2 * math.pi) / 2 if full else 0)


def each(losses: Callable[..., Tensor], *, by_weight: bool = False) -> Callable[..., Tensor]:
    """The function that reduces such losses, one of each number; `by_weight`: a mean is over the sum of the weights."""

    def compute(*tensors: Tensor, weight: Any = None, reduction: str = "mean", **options: Any) -> Tensor:
        divisor = weight.sum() if by_weight and weight is not None else None
        return reduced(scaled(losses(*tensors, **options), weight), reduction, divisor)

    return compute


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "nll_loss": nll_loss,
    "cross_entropy": cross_entropy,
    "kl_div": kl_div,
    "multi_margin_loss": multi_margin,
    "ctc_loss": ctc_loss,
    "multilabel_margin_loss": each(multilabel_margin),
    "pairwise_distance": pairwise_distance,
    "mse_loss": each(square, by_weight=True),
    "l1_loss": each(lambda x, y: stretched(x, y).abs()),
    "huber_loss": each(huber),
    "smooth_l1_loss": each(lambda x, y, beta=1.0: huber(x, y, beta) / beta if beta else stretched(x, y).abs()),
    "binary_cross_entropy": each(binary),
    "binary_cross_entropy_with_logits": each(logistic),
    "soft_margin_loss": each(lambda x, y: functional.softplus(-x * y, threshold=math.inf)),
    "hinge_embedding_loss": each(lambda x, y, margin=1.0: torch.where(y == 1, x, (margin - x).clamp_min(0))),
    "margin_ranking_loss": each(lambda x, y, target, margin=0.0: (margin - target * (x - y)).clamp_min(0)),
    "cosine_embedding_loss": each(cosine_distance),
    "triplet_margin_loss": each(triplet),
    "poisson_nll_loss": each(poisson),
    "gaussian_nll_loss": each(gaussian),
}
