"""Normalization, activations, attention; and what puts numbers in rows and places."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from samebits.composed.noise import dropout
from samebits.composed.reductions import count, norm
from samebits.moments import standardized
from samebits.sums import dims_of, reduced_at
from torch import Tensor
from torch.nn import functional

# Numbers in a row, and in places


def linspace(start: Any, end: Any, steps: int, **options: Any) -> Tensor:
    """Each number on its own, in Python's floats, which IEEE 754 rounds."""
    first, last, most = float(start), float(end), max(steps - 1, 1)
    return torch.tensor([(first * (most - i) + last * i) / most for i in range(steps)], **options)


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    each = tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
    shape = torch.broadcast_shapes(*(x.shape for x in each))
    return tuple(x.expand(shape) for x in each)


def index_put_(x: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    if accumulate:
        places = torch.arange(x.numel(), device=x.device).view(x.shape)[tuple(indices)]
        values = values.expand(places.shape).reshape(-1)
        return x.copy_(x.reshape(-1).index_add(0, places.flatten(), values).view(x.shape))
    x[tuple(indices)] = values
    return x


def index_copy_(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    if index.numel() != source.shape[dim] or source.movedim(dim, 0).shape[1:] != x.movedim(dim, 0).shape[1:]:
        raise IndexError(f"index_copy: a source of size {[*source.shape]} for {index.numel()} indices along {dim}")
    x.movedim(dim, 0)[index] = source.movedim(dim, 0)
    return x


def scatter_reduce(
    x: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Equal ones that are the largest or smallest share the gradient; what is not included has no part in that."""
    if not x.is_floating_point() or reduce not in ("sum", "mean", "amax", "amin"):
        return reduced_at(x, dim, index, src, reduce, include_self)
    src = src[tuple(map(slice, index.shape))]
    is_kept = torch.zeros_like(x).scatter(dim, index, 1.0) == 0 if not include_self else torch.ones_like(x) > 0
    if reduce in ("sum", "mean"):
        total = torch.where(is_kept, x, 0).scatter_add(dim, index, src)
        return total if reduce == "sum" else total / is_kept.float().scatter_add(dim, index, torch.ones_like(src))
    most = reduced_at(x, dim, index, src, reduce, include_self)
    is_most, is_own = src == most.gather(dim, index), is_kept & (x == most)
    count = is_own.float().scatter_add(dim, index, is_most.float())
    moved = gradient_of(src, is_most) / count.gather(dim, index)
    return (most + gradient_of(x, is_own) / count).scatter_add(dim, index, moved)


def gradient_of(x: Tensor, where: Tensor) -> Tensor:
    """0 with the gradient of `x`, where it is to have one and is finite."""
    return torch.where(where & (x.abs() != math.inf), x - x.detach(), 0)


def clamp(x: Tensor, min: Tensor | None = None, max: Tensor | None = None) -> Tensor:
    """Limited by tensors; what equals a limit shares its gradient with it."""
    x = x if min is None else torch.maximum(x, min)
    return x if max is None else torch.minimum(x, max)


def embedding_bag(
    index: Tensor, weight: Tensor, offsets: Any = None, max_norm: Any = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """Sums or means of rows of `weight`, by bags of one size (n, size), or that begin at `offsets`; or the largest."""
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"expected mode sum, mean or max, found {mode}")
    rows = functional.embedding(index, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    kept = torch.ones_like(index) if padding_idx is None else index != padding_idx % len(weight)
    rows = scaled(rows, None if per_sample_weights is None else per_sample_weights.unsqueeze(-1))
    if mode == "max":
        if offsets is not None or padding_idx is not None:
            raise NotImplementedError("embedding_bag of the largest with offsets or padding_idx")
        return rows.amax(1)
    rows = torch.where(kept.bool().unsqueeze(-1), rows, 0)
    if offsets is None:
        sums, counts = rows.sum(1), kept.sum(1)
    else:
        starts = offsets[:-1] if include_last_offset else offsets
        if (starts.diff() < 0).any():
            raise NotImplementedError("offsets that are not in order")
        bags = torch.bucketize(torch.arange(len(index), device=index.device), starts, right=True) - 1
        sums = torch.zeros(len(starts), weight.shape[1], device=rows.device).index_add(0, bags, rows)
        counts = torch.zeros_like(starts).index_add(0, bags, kept.to(starts))
    return sums / counts.clamp(min=1).unsqueeze(1) if mode == "mean" else sums


# Normalization


def normalize(x: Tensor, p: Any = 2, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """What is all 0 has no gradient here: with PyTorch's, the result's over eps, all others would be lost beside it."""
    length = norm(x, p, dim, True)
    return x.where(length.detach() > 0, x.detach()) / length.clamp_min(eps)


def norm_except_dim(x: Tensor, pow: Any = 2, dim: int = 0) -> Tensor:
    """Of all that `dim` numbers, which stays; -1 is none, so that `x` has one norm."""
    if dim == -1:
        return norm(x, pow)
    dims = [d for d in range(x.dim()) if d != dim % x.dim()]
    return norm(x, pow, dims, True) if dims else x.abs()


def weight_norm(x: Tensor, length: Tensor, dim: int = 0) -> Tensor:
    """`x` with such lengths of all that `dim` numbers."""
    return x * (length / norm_except_dim(x, 2, dim))


def scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def per_channel(x: Tensor, values: Tensor | None) -> Any:
    """One number for each channel, which are the second dimension of `x`, in the form of `x`."""
    return None if values is None else values.view(1, -1, *[1] * (x.dim() - 2))


def batch_norm(
    x: Tensor, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """In training over the images of all workers; raises ValueError, as PyTorch does, if a channel has one number."""
    if training or running_mean is None:
        dims = (0, *range(2, x.dim()))
        if training and (n := count(x, dims)) == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
        y, middle, variance = standardized(x, dims, eps, per_channel(x, weight), per_channel(x, bias))
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean += (middle.flatten() - running_mean) * momentum
                running_var += (variance.flatten() * n / (n - 1) - running_var) * momentum
        return y
    y = (x - per_channel(x, running_mean)) / (per_channel(x, running_var) + eps).sqrt()
    return scaled(y, per_channel(x, weight), per_channel(x, bias))


def instance_norm(
    x: Tensor, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    if running_mean is not None:
        raise NotImplementedError("instance_norm with running statistics")
    return group_norm(x, x.shape[1], weight, bias, eps)


def group_norm(x: Tensor, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Tensor:
    y = standardized(x.reshape(len(x), groups, math.prod(x.shape[1:]) // groups), (2,), eps)[0].view(x.shape)
    return scaled(y, per_channel(x, weight), per_channel(x, bias))


def last_of(x: Tensor, shape: Sequence[int]) -> tuple[int, ...]:
    """The dimensions that have this shape."""
    if tuple(x.shape[-len(shape) :]) != tuple(shape):
        raise RuntimeError(f"expected input of shape [*, {', '.join(map(str, shape))}], found {list(x.shape)}")
    return dims_of(x, range(-len(shape), 0))


def layer_norm(x: Tensor, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Tensor:
    return scaled(standardized(x, last_of(x, shape), eps)[0], weight, bias)


def rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return scaled(x / ((x * x).mean(last_of(x, shape), True) + eps).sqrt(), weight)


# Activations


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        return x * 0.5 * ((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)).tanh().add(1)
    return x * 0.5 * (x * math.sqrt(0.5)).erf().add(1)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return torch.where(x > 0, x, x.clamp(max=0).expm1() * alpha)


def glu(x: Tensor, dim: int = -1) -> Tensor:
    first, second = x.chunk(2, dim)
    return first * second.sigmoid()


def softmax(x: Tensor, dim: Any = None) -> Tensor:
    dim = dim if dim is not None else int(x.dim() not in (0, 1, 3))  # as PyTorch has it for older code
    exponentials = (x.contiguous() - x.detach().amax(dim, True)).exp()
    return exponentials / exponentials.sum(dim, True)


def log_softmax(x: Tensor, dim: Any = None) -> Tensor:
    dim = dim if dim is not None else int(x.dim() not in (0, 1, 3))
    shifted = x.contiguous() - x.detach().amax(dim, True)
    return shifted - shifted.exp().sum(dim, True).log()


# Attention


def masked(scores: Tensor, mask: Tensor | None, keeps: bool = True) -> Tensor:
    """A mask of floats is added to scores; one of truth values keeps those where it is true, or else the others."""
    if mask is None or mask.dtype != torch.bool:
        return scaled(scores, None, mask)
    return torch.where(mask if keeps else ~mask, scores, -math.inf)


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ key.mT
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    scores = masked(scores, attn_mask)
    nothing = scores.detach().amax(-1, True) == -math.inf  # is attended to
    weights = scores.masked_fill(nothing, 0.0).softmax(-1).masked_fill(nothing, 0.0)
    return dropout(weights, dropout_p, dropout_p > 0) @ value


def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, features: int, num_heads: int, weights: Any, biases: Any, bias_k: Any,
    bias_v: Any, add_zero_attn: bool, dropout_p: float, out_weight: Tensor, out_bias: Any, training: bool = True,
    key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None, average_attn_weights: bool = True,
    static_k: Any = None, static_v: Any = None, is_causal: bool = False, use_separate_proj_weight: bool = False,
    **separate: Any,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Query, key and value are (length, n, features); so is what comes out. The weights are (n, length, length)."""
    if add_zero_attn or any(x is not None for x in (bias_k, bias_v, static_k, static_v)):
        raise NotImplementedError("attention with add_zero_attn, bias_k, bias_v, static_k or static_v")
    if query.dim() == 2:
        raise NotImplementedError("attention without a dimension of images")
    weights = [separate[f"{x}_proj_weight"] for x in "qkv"] if use_separate_proj_weight else weights.chunk(3)
    biases = [None] * 3 if biases is None else biases.chunk(3)
    queries, keys, values = (
        functional.linear(x.transpose(0, 1), weight, bias).unflatten(-1, (num_heads, -1)).transpose(1, 2)
        for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )  # (n, heads, length, features of a head)
    if attn_mask is not None and attn_mask.dim() > 2:
        attn_mask = attn_mask.view(-1, num_heads, *attn_mask.shape[1:])
    scores = masked((queries * (1 / math.sqrt(queries.shape[-1]))) @ keys.mT, attn_mask, keeps=False)
    if key_padding_mask is not None:
        scores = masked(scores, key_padding_mask[:, None, None], keeps=False)
    attention = dropout(scores.softmax(-1), dropout_p, training)
    result = functional.linear((attention @ values).transpose(1, 2).flatten(2), out_weight, out_bias)
    seen = attention.mean(1) if average_attn_weights else attention
    return result.transpose(0, 1).contiguous(), seen if need_weights else None


NAMES = (
    "linspace broadcast_tensors index_put_ index_copy_ scatter_reduce embedding_bag normalize norm_except_dim "
    "batch_norm instance_norm group_norm layer_norm rms_norm gelu elu glu softmax log_softmax "
    "scaled_dot_product_attention multi_head_attention_forward"
)
FUNCTIONS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in NAMES.split()} | {
    "_weight_norm": weight_norm,
    "index_put": lambda x, *args, **kwargs: index_put_(x.clone(), *args, **kwargs),
    "index_copy": lambda x, *args, **kwargs: index_copy_(x.clone(), *args, **kwargs),
    "cosine_similarity": lambda x, y, dim=1, eps=1e-8: (
        functional.normalize(x, 2, dim, eps) * functional.normalize(y, 2, dim, eps)
    ).sum(dim),
    "prelu": lambda x, w: torch.where(x > 0, x, x * (w if w.numel() == 1 else per_channel(x, w))),
    "logit": lambda x, eps=None: ((y := x if eps is None else x.clamp(eps, 1 - eps)) / (1 - y)).log(),
    "xlogy": lambda x, other: torch.where(x == 0, 0, x * other.where(x != 0, 1).log()),
    "silu": lambda x: x * x.sigmoid(),
    "celu": lambda x, alpha=1.0: torch.where(x > 0, x, (x.clamp(max=0) / alpha).expm1() * alpha),
    "hardsigmoid": lambda x: (x + 3).clamp(0, 6) / 6,
    "hardswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "selu": lambda x: elu(x, 1.6732632423543772) * 1.0507009873554805,
    "logsigmoid": lambda x: -functional.softplus(-x, threshold=math.inf),
    "mish": lambda x: x * functional.softplus(x).tanh(),
}
