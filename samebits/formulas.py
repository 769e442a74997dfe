"""Formulas, in ordinary PyTorch code, of operations of which PyTorch itself has none: each of theirs is computed anew.

A gradient that is not here either is found by autograd, of the formula of what it is the gradient of.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from samebits.errors import refusal
from samebits.pictures import INTERPOLATIONS, adaptive, largest, pooled
from torch import Tensor
from torch._decomp import decomposition_table
from torch.nn import functional
from torch.overrides import enable_reentrant_dispatch

aten = torch.ops.aten
Call = Callable[..., Any]


def gradients(function: Call, inputs: tuple[Tensor, ...], gradient: Tensor) -> Any:
    """Of the inputs of a function, from that of its result."""
    with enable_reentrant_dispatch(), torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        result = function(*leaves)
        return torch.autograd.grad(result, leaves, gradient, materialize_grads=True)


def gradient(function: Call, x: Tensor, of_result: Tensor) -> Tensor:
    """Of the one input of a function."""
    found: Tensor = gradients(function, (x,), of_result)[0]
    return found


def formula(name: str) -> Call:
    """PyTorch's own of an operation."""
    found: Call = decomposition_table[getattr(aten, name).default]
    return found


# Numbers in a row, which float64 has before they are rounded


def arange(*ends: float, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
    """From the first on, 0 if there is but one, by steps of the third, 1 if there is none, before the second."""
    start, end, step = (0, *ends, 1) if len(ends) == 1 else (*ends, 1)[:3]
    dtype = dtype or (torch.int64 if all(isinstance(x, int) for x in ends) else torch.get_default_dtype())
    if step == 0 or (end - start) / step < 0:
        raise RuntimeError(f"arange expected a step that leads from {start} to {end}, found {step}")
    row = torch.ones(math.ceil((end - start) / step), dtype=torch.int64).cumsum(0) - 1
    if not dtype.is_floating_point:
        start, step = int(start), int(step)
    return (row.to(torch.float64 if dtype.is_floating_point else dtype) * step + start).to(device, dtype)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
    """From the first to the last at equal distances."""
    row = torch.ones(steps, dtype=torch.int64).cumsum(0) - 1
    most = max(steps - 1, 1)
    numbers = ((most - row).double() * start + row.double() * end) / most
    return numbers.to(device, dtype or torch.get_default_dtype())


# Products and powers


def prod(x: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Half of the numbers by the other half, until one is left."""
    x = x if dtype is None else x.to(dtype)
    x = x.reshape(-1) if dim is None else x.movedim(dim, -1) if x.dim() else x.unsqueeze(0)
    while (n := x.shape[-1]) > 1:
        half = x[..., : n // 2] * x[..., n // 2 : n // 2 * 2]
        x = torch.cat([half, x[..., n - 1 :]], -1) if n % 2 else half
    x = x.squeeze(-1) if x.shape[-1] else x.new_ones(x.shape[:-1])
    return x.unsqueeze(dim) if keepdim and dim is not None else x


def cumprod(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """One number after the other."""
    x = x if dtype is None else x.to(dtype)
    found = list(x.unbind(dim) if x.dim() else [x])
    for i in range(1, len(found)):
        found[i] = found[i - 1] * found[i]
    return torch.stack(found, dim) if x.dim() and found else x.clone()


def trilinear(a: Tensor, b: Tensor, c: Tensor, of_a: Any, of_b: Any, of_c: Any, summed: Any, unroll: int = 1) -> Tensor:
    """Products of three, each stretched along dimensions of its own."""
    for x, dims in ((0, of_a), (1, of_b), (2, of_c)):
        for dim in sorted(dims):
            a, b, c = (y.unsqueeze(dim) if i == x else y for i, y in enumerate((a, b, c)))
    return (a * b * c).sum(summed) if summed else a * b * c


def distances(x: Tensor, y: Tensor, p: float = 2.0, *_: Any) -> Tensor:
    """Of each row of `x` from each of `y`."""
    return torch.linalg.vector_norm(x.unsqueeze(-2) - y.unsqueeze(-3), p, -1)


def renorm(x: Tensor, p: float, dim: int, most: float) -> Tensor:
    """What is longer than `most` along `dim` made as short."""
    length = torch.linalg.vector_norm(x, p, [d for d in range(x.dim()) if d != dim % x.dim()], True)
    return x * torch.where(length > most, most / (length + 1e-7), 1)


def embedding_renorm(weight: Tensor, index: Tensor, most: float, p: float) -> Tensor:
    """The rows that have these numbers made as short."""
    rows = index.unique()
    return weight.index_copy(0, rows, renorm(weight[rows], p, 0, most))


def logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """Less the largest, unless that is infinite."""
    most = x.amax(dim, True) if x.numel() else x.sum(dim, True)
    most = most.where(most.abs() != math.inf, 0)
    total = (x - most).exp().sum(dim, True)
    logs = total.where(total != 0, 1).log()  # whose gradient is not NaN
    found = torch.where(total == 0, -math.inf, logs + most)
    return found if keepdim else found.squeeze(dim)


def logaddexp(x: Tensor, y: Tensor) -> Tensor:
    """Of two numbers."""
    distance = torch.where(x == y, 0, x - y)  # of infinities, too
    return torch.maximum(x, y) + (-distance.abs()).exp().log1p()


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Salimans and Kingma (2016): directions `v` with lengths `g`."""
    length = (
        torch.linalg.vector_norm(v, 2, [d for d in range(v.dim()) if d != dim % v.dim()], True)
        if v.dim() > 1
        else v.abs()
    )
    return v * (g / length), length


# Embeddings, bags of them, and texts


def embedding_gradient(g: Tensor, index: Tensor, rows: int, padding: int, by_frequency: bool) -> Tensor:
    """Of the weight, so many rows, from that of what was taken of it; of one row 0."""
    g = torch.where((index == padding).unsqueeze(-1), 0, g).flatten(0, -2)
    g = g / torch.bincount(index.flatten(), minlength=rows)[index.flatten()].unsqueeze(1) if by_frequency else g
    return g.new_zeros(rows, g.shape[-1]).index_add(0, index.flatten(), g)


def bags(weight: Tensor, index: Tensor, bag: Tensor, count: int, mode: int, weights: Any, padding: int) -> Tensor:
    """Sums (mode 0) or means (1) of rows of `weight`, the numbers of which are `index`, each in one of `count` bags."""
    kept = index != padding
    rows = weight[index[kept]] if weights is None else weight[index[kept]] * weights[kept].unsqueeze(1)
    sums = weight.new_zeros(count, weight.shape[1]).index_add(0, bag[kept], rows)
    return sums / torch.bincount(bag[kept], minlength=count).clamp(min=1).unsqueeze(1) if mode == 1 else sums


def embedding_bag(
    weight: Tensor, index: Tensor, offsets: Tensor, by_frequency: bool = False, mode: int = 0, sparse: bool = False,
    weights: Tensor | None = None, has_last: bool = False, padding: int = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Bags begin at `offsets`. Also which bag each number is in, how many a bag has, and which are the largest."""
    starts = offsets[:-1] if has_last else offsets
    bag = torch.bucketize(torch.arange(len(index), device=index.device), starts, right=True) - 1
    sizes = torch.bincount(bag, minlength=len(starts))
    if mode == 2:
        raise refusal("embedding_bag", "the largest of a bag is not covered")
    return bags(weight, index, bag, len(starts), mode, weights, padding), bag, sizes, bag.new_zeros(0)


def ctc(logs: Tensor, labels: Tensor, steps: Any, counts: Any, blank: int = 0) -> Tensor:
    """Of logarithms (steps, n, classes) of probabilities: Graves et al. (2006). Labels are (n, most) or in one row."""
    steps, counts = (torch.as_tensor(lengths, device=logs.device).view(-1) for lengths in (steps, counts))
    if logs.dim() == 2:
        return ctc(logs.unsqueeze(1), labels.view(1, -1), steps, counts, blank).squeeze(0)
    if labels.dim() == 1:
        labels = torch.nn.utils.rnn.pad_sequence(labels.split(counts.tolist()), batch_first=True)
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
        paths = torch.where(steps.unsqueeze(1) > step, logsumexp(ways, 0) + said[step], paths)
    ends = torch.where((place + 1) // 2 == counts.unsqueeze(1), paths, -math.inf)
    return -logsumexp(ends, 1)


def ctc_loss(
    logs: Tensor, labels: Tensor, steps: Any, counts: Any, blank: int = 0, zero_infinity: bool = False
) -> tuple[Tensor, Tensor]:
    """The losses, twice, as PyTorch has a second result."""
    losses = ctc(logs, labels, steps, counts, blank)
    losses = losses.where(losses < math.inf, 0) if zero_infinity else losses
    return losses, losses.clone()


def margins(x: Tensor, labels: Tensor, reduction: int) -> tuple[Tensor, Tensor]:
    """multilabel_margin_loss of scores (n, classes), and what PyTorch keeps; labels are those before a negative one."""
    scores, labels = (value if value.dim() == 2 else value.view(1, -1) for value in (x, labels))
    kept = (labels < 0).cumsum(1) == 0
    classes = torch.arange(scores.shape[1], device=x.device)
    others = ~((labels.unsqueeze(2) == classes) & kept.unsqueeze(2)).any(1)
    above = (scores.unsqueeze(1) - scores.gather(1, labels.clamp(min=0)).unsqueeze(2) + 1).clamp_min(0)
    losses = torch.where(kept.unsqueeze(2) & others.unsqueeze(1), above, 0).sum((1, 2)) / scores.shape[1]
    losses = losses if x.dim() == 2 else losses.squeeze(0)
    return (losses, losses.mean(), losses.sum())[reduction], torch.zeros_like(x)


FORMULAS: dict[str, Call] = {
    "arange": arange,
    "linspace": linspace,
    "prod": prod,
    "cumprod": cumprod,
    "renorm": renorm,
    "embedding_renorm": embedding_renorm,
    "logsumexp": logsumexp,
    "logaddexp": logaddexp,
    "_trilinear": trilinear,
    "_cdist_forward": distances,
    "_weight_norm_interface": weight_norm,
    **INTERPOLATIONS,
    "avg_pool2d": pooled,
    "avg_pool3d": pooled,
    "_adaptive_avg_pool2d": adaptive,
    "_adaptive_avg_pool3d": adaptive,
    "embedding_dense_backward": embedding_gradient,
    "_embedding_bag": embedding_bag,
    "_embedding_bag_forward_only": embedding_bag,
    "_ctc_loss": ctc_loss,
    "multilabel_margin_loss_forward": margins,
}


def padded(name: str) -> Call:
    """The gradient of a padding, from the sizes on each side."""
    return lambda g, x, sizes: gradient(lambda x: formula(name)(x, sizes), x, g)


def scaled(function: Call) -> Call:
    """The gradient of an interpolation, from the sizes after and before it."""
    return lambda g, new, old, *how: gradient(lambda x: function(x, new, *how), g.new_zeros(old), g)


# Of each operation the gradients, by the arguments that PyTorch has for them.
GRADIENTS: dict[str, Call] = {
    "_cdist_backward": lambda g, x, y, p, _: gradient(lambda x: distances(x, y, p), x, g),
    "_weight_norm_interface_backward": lambda g, v, length, _, dim: gradients(
        lambda v, length: weight_norm(v, length, dim)[0], (v, length), g
    ),
    "avg_pool2d_backward": lambda g, x, *how: gradient(lambda x: pooled(x, *how), x, g),
    "avg_pool3d_backward": lambda g, x, *how: gradient(lambda x: pooled(x, *how), x, g),
    "_adaptive_avg_pool2d_backward": lambda g, x: gradient(lambda x: adaptive(x, g.shape[-2:]), x, g),
    "_adaptive_avg_pool3d_backward": lambda g, x: gradient(lambda x: adaptive(x, g.shape[-3:]), x, g),
    "max_pool2d_with_indices_backward": lambda g, x, *how: gradient(lambda x: largest(x, how[-1], 2), x, g),
    "max_pool3d_with_indices_backward": lambda g, x, *how: gradient(lambda x: largest(x, how[-1], 3), x, g),
    "adaptive_max_pool2d_backward": lambda g, x, places: gradient(lambda x: largest(x, places, 2), x, g),
    "adaptive_max_pool3d_backward": lambda g, x, places: gradient(lambda x: largest(x, places, 3), x, g),
    **{f"replication_pad{n}d_backward": padded(f"replication_pad{n}d") for n in (1, 2, 3)},
    "grid_sampler_2d_backward": lambda g, x, grid, *how: gradients(
        lambda x, grid: formula("grid_sampler_2d")(x, grid, *how[:-1]), (x, grid), g
    ),
    "multi_margin_loss_backward": lambda g, x, *how: gradient(lambda x: formula("multi_margin_loss")(x, *how), x, g),
    "multilabel_margin_loss_backward": lambda g, x, y, how, _: gradient(lambda x: margins(x, y, how)[0], x, g),
    "_ctc_loss_backward": lambda g, logs, labels, steps, counts, loss, _, blank, zero_infinity=False: gradient(
        lambda logs: ctc(logs, labels, steps, counts, blank), logs, g.where(loss < math.inf, 0) if zero_infinity else g
    ),
    "_embedding_bag_backward": lambda g, index, _, bag, sizes, __, rows, ___, mode, ____, weights, padding=-1: gradient(
        lambda weight: bags(weight, index, bag, len(sizes), mode, weights, padding), g.new_zeros(rows, g.shape[1]), g
    ),
    "_embedding_bag_per_sample_weights_backward": lambda g, weight, index, _, bag, mode, padding=-1: gradient(
        lambda weights: bags(weight, index, bag, len(g), mode, weights, padding), weight.new_zeros(len(index)), g
    ),
    **{f"{name}_backward": scaled(function) for name, function in INTERPOLATIONS.items()},
}
