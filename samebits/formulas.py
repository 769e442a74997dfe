"""Formulas, in ordinary PyTorch code, of operations of which PyTorch itself has none, or none that fits.

Of all else it has its own, batch normalization and GELU for example: its compiler needs them. Each operation that a
formula is made of is computed anew. A gradient without a formula is found by autograd, of the formula of what it is
the gradient of.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from samebits.errors import refusal
from samebits.pictures import adaptive, pooled, smoothed
from torch import Tensor
from torch._decomp import decomposition_table
from torch.nn import functional
from torch.overrides import enable_reentrant_dispatch

aten = torch.ops.aten
Call = Callable[..., Any]


def formula(func: Any) -> Call | None:
    """Of an operation: ours or PyTorch's."""
    name = func._schema.name.removeprefix("aten::")
    return FORMULAS.get(name) or decomposition_table.get(func) or (func.decompose if func._can_decompose() else None)


def by_autograd(func: Any) -> Call | None:
    """What finds the gradient that `func` is, by the formula of what it is the gradient of, if there is one.

    Both take arguments of the same names; the first of them are those that the gradients are of.
    """
    name = func._schema.name.removeprefix("aten::")
    base = name.removesuffix("_backward")
    forward: Any = getattr(getattr(aten, f"{base}_forward", None) or getattr(aten, base, None), "default", None)
    function = None if name == base or forward is None else formula(forward)
    names = [argument.name.removeprefix("saved_") for argument in func._schema.arguments]
    if function is None or not names[0].startswith("grad"):
        return None
    wanted, count = [argument.name for argument in forward._schema.arguments], len(func._schema.returns)
    known = [name in names or (name == "self" and "input_size" in names) for name in wanted]
    if not all(known[:count]) or known != sorted(known, reverse=True):
        return None

    def compute(*args: Any, **kwargs: Any) -> Any:
        given, gradient = dict(zip(names, args, strict=False)) | kwargs, args[0]
        if "input_size" in given:
            given["self"] = gradient.new_zeros(given["input_size"])
        values = [given[name] for name in wanted[: sum(known)] if name in given]
        found = gradients(lambda *inputs: function(*inputs, *values[count:]), values[:count], gradient)
        return found if count > 1 else found[0]

    return compute


def gradients(function: Call, inputs: Sequence[Tensor], gradient: Tensor) -> Any:
    """Of the inputs of a function, from that of its result, or of the first of its results."""
    with enable_reentrant_dispatch(), torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        result = function(*leaves)
        first = result if isinstance(result, Tensor) else result[0]
        return torch.autograd.grad(first, leaves, gradient, materialize_grads=True)


# Three of which PyTorch's own would do, were they not slower, other in its other versions, or content with anything


def batch_norm(
    x: Tensor, weight: Any, bias: Any, running_mean: Any, running_variance: Any, training: bool, momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Ioffe and Szegedy (2015): in training by the moments of the batch, which move the running ones; else by those."""
    mean, variance = running_mean, running_variance
    if training:
        variance, mean = torch.var_mean(x, (0, *range(2, x.dim())), correction=0)
        n = x.numel() // max(x.shape[1], 1)
        for running, new in ((running_variance, variance * (n / max(n - 1, 1))), (running_mean, mean)):
            if running is not None:
                running.copy_(running * (1 - momentum) + new * momentum)
    scale = torch.rsqrt(variance + eps)
    y = (x - of_channels(mean, x)).mul_(of_channels(scale, x))
    y = y if weight is None else y.mul_(of_channels(weight, x))
    y = y if bias is None else y.add_(of_channels(bias, x))
    return y, *((mean, scale) if training else (x.new_zeros(0), x.new_zeros(0)))


def batch_norm_gradient(
    gradient: Tensor, x: Tensor, weight: Any, running_mean: Any, running_variance: Any, mean: Any, scale: Any,
    training: bool, eps: float, mask: list[bool],
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Of the input, the weight and the bias; those that `mask` does not name are None."""
    mean, scale = (mean, scale) if training else (running_mean, torch.rsqrt(running_variance + eps))
    y = (x - of_channels(mean, x)).mul_(of_channels(scale, x))
    sums, n = [part.sum((0, *range(2, x.dim()))) for part in (gradient * y, gradient)], x.numel() // max(x.shape[1], 1)
    by_y, by_one = (of_channels(part / n, x) for part in sums)
    for_x = (gradient - by_one).sub_(y.mul_(by_y)) if training else gradient
    for_x = for_x * of_channels(scale if weight is None else scale * weight, x)
    return tuple(part if wanted else None for part, wanted in zip((for_x, *sums), mask, strict=True))


def of_channels(y: Tensor, x: Tensor) -> Tensor:
    """A number for each channel, the second dimension of `x`."""
    return y.view(-1, *[1] * (x.dim() - 2))


def binary_cross_entropy(x: Tensor, *how: Any) -> Any:
    """Of probabilities, as is checked here."""
    if not ((x >= 0) & (x <= 1)).all():
        raise RuntimeError("all elements of input should be between 0 and 1")
    return decomposition_table[aten.binary_cross_entropy.default](x, *how)


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


# Products and powers


def prod(x: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Half of the numbers by the other half, until one is left."""
    x = x if dtype is None else x.to(dtype)
    dim = dim if x.dim() else None
    x = x.reshape(-1) if dim is None else x.movedim(dim, -1)
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


def embedding_renorm(weight: Tensor, index: Tensor, most: float, p: float) -> Tensor:
    """The rows that have these numbers, if they are longer than `most`, made as short."""
    rows = index.unique()
    return weight.index_copy(0, rows, torch.renorm(weight[rows], p, 0, most))


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Salimans and Kingma (2016): directions `v` with lengths `g`."""
    dims = [d for d in range(v.dim()) if d != dim % v.dim()]
    length = torch.linalg.vector_norm(v, 2, dims, True) if dims else v.abs()
    return v * (g / length), length


# Embeddings, bags of them, and texts


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


def bags_gradient(
    gradient: Tensor, index: Tensor, offsets: Tensor, bag: Tensor, sizes: Tensor, largest: Any, rows: int,
    by_frequency: bool, mode: int, sparse: bool, weights: Any, padding: int = -1,
) -> Tensor:  # fmt: skip
    """Of the weight, which has so many rows; of each divided by how often it was taken, if that is asked for."""
    zeros = gradient.new_zeros(rows, gradient.shape[1])
    found = gradients(lambda weight: bags(weight, index, bag, len(sizes), mode, weights, padding), [zeros], gradient)[0]
    return found / torch.bincount(index, minlength=rows).clamp(min=1).unsqueeze(1) if by_frequency else found


def log_of_sum(x: Tensor, dim: int) -> Tensor:
    """logsumexp, of which the gradient is 0, and not NaN, where all are -inf."""
    most = x.detach().amax(dim, True)
    most = most.where(most > -math.inf, 0)
    total = (x - most).exp().sum(dim)
    return torch.where(total == 0, -math.inf, total.where(total != 0, 1).log() + most.squeeze(dim))


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
        paths = torch.where(steps.unsqueeze(1) > step, log_of_sum(ways, 0) + said[step], paths)
    ends = torch.where((place + 1) // 2 == counts.unsqueeze(1), paths, -math.inf)
    return -log_of_sum(ends, 1)


def ctc_loss(
    logs: Tensor, labels: Tensor, steps: Any, counts: Any, blank: int = 0, zero_infinity: bool = False
) -> tuple[Tensor, Tensor]:
    """The losses, twice, as PyTorch has a second result."""
    losses = ctc(logs, labels, steps, counts, blank)
    losses = losses.where(losses < math.inf, 0) if zero_infinity else losses
    return losses, losses.clone()


LARGEST = ("max_pool{}d_with_indices", "adaptive_max_pool{}d", "fractional_max_pool{}d")


def put_back(dims: int, gradient: Tensor, x: Tensor, *how: Any) -> Tensor:
    """Of `x` (..., dims) of which the largest of windows were taken, from their places in it, the last argument."""
    found = torch.zeros_like(x).flatten(-dims)
    return found.scatter_add(-1, how[-1].flatten(-dims), gradient.flatten(-dims)).view(x.shape)


FORMULAS: dict[str, Call] = {
    "native_batch_norm": batch_norm,
    "native_batch_norm_backward": batch_norm_gradient,
    "binary_cross_entropy": binary_cross_entropy,
    "arange": arange,
    "prod": prod,
    "cumprod": cumprod,
    "embedding_renorm": embedding_renorm,
    "_trilinear": trilinear,
    "_cdist_forward": distances,
    "_weight_norm_interface": weight_norm,
    "avg_pool2d": partial(pooled, 2),
    "avg_pool3d": partial(pooled, 3),
    **dict.fromkeys(("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), adaptive),
    "_adaptive_avg_pool2d_backward": lambda g, x: gradients(lambda x: adaptive(x, g.shape[-2:]), [x], g)[0],
    "_adaptive_avg_pool3d_backward": lambda g, x: gradients(lambda x: adaptive(x, g.shape[-3:]), [x], g)[0],
    **{f"{name.format(dims)}_backward": partial(put_back, dims) for name in LARGEST for dims in (2, 3)},
    "_upsample_bilinear2d_aa": partial(smoothed, False),
    "_upsample_bicubic2d_aa": partial(smoothed, True),
    "_embedding_bag": embedding_bag,
    "_embedding_bag_forward_only": embedding_bag,
    "_embedding_bag_backward": bags_gradient,
    "_embedding_bag_per_sample_weights_backward": lambda g, weight, index, _, bag, mode, padding=-1: gradients(
        lambda weights: bags(weight, index, bag, len(g), mode, weights, padding), [weight.new_zeros(len(index))], g
    )[0],
    "_ctc_loss": ctc_loss,
}
