"""What is made of sums, products and functions of one number: ordinary PyTorch code, which runs in the exact mode.

So each operation in it is exact or refused, like anybody's, and autograd finds the gradients. Signatures are PyTorch's.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from samebits import workers
from torch import Tensor
from torch.nn import functional

Dim = Any  # None, an int or several


# Statistics


def dims_of(x: Tensor, dim: Dim) -> tuple[int, ...]:
    """The dimensions that `dim` names, from 0 on, in order; all of them if it is None or empty."""
    named = range(x.dim()) if dim is None or dim == () else [dim] if isinstance(dim, int) else dim
    return tuple(sorted(d % max(x.dim(), 1) for d in named)) if x.dim() else ()


def count(x: Tensor, dim: Dim) -> int:
    """How many numbers of `x`, of all workers' if it is of their images, are in a sum along `dim`."""
    dims = dims_of(x, dim)
    own = math.prod(x.shape[d] for d in dims)
    return workers.rows(own) if workers.is_of_images(x) and 0 in dims else own


def mean(x: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    return x.sum(dim, keepdim) / count(x, dim)


def var(x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None) -> Tensor:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    centered = x - x.mean(dims_of(x, dim), True)
    return (centered * centered).sum(dim, keepdim) / (count(x, dim) - (unbiased if correction is None else correction))


def std(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return x.var(*args, **kwargs).sqrt()


def var_mean(x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, **kwargs: Any) -> Any:
    return x.var(dim, unbiased, keepdim, **kwargs), x.mean(dim, keepdim)


def norm(x: Tensor, p: Any = 2, dim: Dim = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """Of `p` 1, 2 or infinity; without a gradient where it is 0."""
    if p == math.inf:
        return x.abs().amax(dims_of(x, dim), keepdim)
    if p == 1:
        return x.abs().sum(dim, keepdim)
    if p not in (2, "fro", None):
        raise NotImplementedError(f"a norm of order {p}; 1, 2 and infinity are covered")
    squares = (x * x).sum(dim, keepdim)
    return squares.where(squares > 0, 1).sqrt() * (squares > 0)


def normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Tensor:
    return x / norm(x, p, dim, True).clamp_min(eps)


def cosine_similarity(x: Tensor, y: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    return (x / norm(x, 2, dim, True).clamp_min(eps) * (y / norm(y, 2, dim, True).clamp_min(eps))).sum(dim)


# Normalization


def standardized(x: Tensor, dims: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """`x` less its mean along `dims`, over its standard deviation; and mean and variance, of as many dimensions."""
    middle = x.mean(dims, True)
    centered = x - middle
    variance = (centered * centered).mean(dims, True)
    return centered / (variance + eps).sqrt(), middle, variance


def scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def per_channel(x: Tensor, values: Tensor | None) -> Any:
    """One number for each channel, which are the second dimension of `x`, in the form of `x`."""
    return None if values is None else values.view(1, -1, *[1] * (x.dim() - 2))


def batch_norm(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5, *_: Any,
) -> Tensor:  # fmt: skip
    """In training over the images of all workers."""
    if training or running_mean is None:
        dims = (0, *range(2, x.dim()))
        y, middle, variance = standardized(x, dims, eps)
        if running_mean is not None and running_var is not None:
            n = count(x, dims)
            with torch.no_grad():
                running_mean += (middle.flatten() - running_mean) * momentum
                running_var += (variance.flatten() * n / (n - 1) - running_var) * momentum
    else:
        y = (x - per_channel(x, running_mean)) / (per_channel(x, running_var) + eps).sqrt()
    return scaled(y, per_channel(x, weight), per_channel(x, bias))


def instance_norm(
    x: Tensor, running_mean: Any = None, running_var: Any = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5, *_: Any,
) -> Tensor:  # fmt: skip
    if running_mean is not None:
        raise NotImplementedError("instance_norm with running statistics")
    y = standardized(x, tuple(range(2, x.dim())), eps)[0]
    return scaled(y, per_channel(x, weight), per_channel(x, bias))


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
    *_: Any,
) -> Tensor:  # fmt: skip
    return scaled(standardized(x, dims_of(x, range(-len(shape), 0)), eps)[0], weight, bias)


def rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return scaled(x / ((x * x).mean(dims_of(x, range(-len(shape), 0)), True) + eps).sqrt(), weight, None)


def group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    y = standardized(x.reshape(len(x), groups, math.prod(x.shape[1:]) // groups), (2,), eps)[0].view(x.shape)
    return scaled(y, per_channel(x, weight), per_channel(x, bias))


# Activations


def silu(x: Tensor, inplace: bool = False) -> Tensor:
    return x * x.sigmoid()


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        return x * 0.5 * ((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)).tanh().add(1)
    return x * 0.5 * (x * math.sqrt(0.5)).erf().add(1)


def hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    return (x + 3).clamp(0, 6) / 6


def hardswish(x: Tensor, inplace: bool = False) -> Tensor:
    return x * (x + 3).clamp(0, 6) / 6


def elu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return torch.where(x > 0, x, x.clamp(max=0).expm1() * alpha)


def selu(x: Tensor, inplace: bool = False) -> Tensor:
    return elu(x, 1.6732632423543772) * 1.0507009873554805


def logsigmoid(x: Tensor) -> Tensor:
    return -functional.softplus(-x, threshold=math.inf)


def mish(x: Tensor, inplace: bool = False) -> Tensor:
    return x * functional.softplus(x).tanh()


def glu(x: Tensor, dim: int = -1) -> Tensor:
    first, second = x.chunk(2, dim)
    return first * second.sigmoid()


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * (weight if weight.numel() == 1 else per_channel(x, weight)))


def softmax(x: Tensor, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    exponentials = (x - x.detach().amax(dim, True)).exp()
    return exponentials / exponentials.sum(dim, True)


def log_softmax(x: Tensor, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    shifted = x - x.detach().amax(dim, True)
    return shifted - shifted.exp().sum(dim, True).log()


def logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    most = x.detach().amax(dim, True)
    found = (x - most).exp().sum(dim, True).log() + most
    return found if keepdim else found.squeeze(dim)


# Losses


def reduced(losses: Tensor, reduction: str, divisor: Any = None) -> Tensor:
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / (count(losses, None) if divisor is None else divisor)


def nll_loss(
    logs: Tensor, labels: Tensor, weight: Tensor | None = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    kept = labels != ignore_index
    labels = labels.where(kept, 0)
    weights = kept.float() if weight is None else weight[labels] * kept
    losses = -logs.gather(1, labels.unsqueeze(1)).squeeze(1) * weights
    return reduced(losses, reduction, weights.sum() if reduction == "mean" else None)


def cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, ignore_index: int = -100,
    reduce: Any = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Of labels, or of probabilities of the classes, which are the second dimension of logits, or their only one."""
    if logits.dim() == 1:
        logits, target = logits.unsqueeze(0), target.unsqueeze(0)
    logs, classes = logits.log_softmax(1), logits.shape[1]
    each = None if weight is None else per_channel(logs, weight)
    if target.is_floating_point():
        target = target * (1 - label_smoothing) + label_smoothing / classes
        losses = -scaled(logs * target, each, None).sum(1)
        return reduced(losses, reduction)
    if not label_smoothing:
        return nll_loss(logs, target, weight, None, ignore_index, None, reduction)
    kept = target != ignore_index
    right = nll_loss(logs, target, weight, None, ignore_index, None, "none")
    losses = right * (1 - label_smoothing) - scaled(logs, each, None).sum(1) * kept * (label_smoothing / classes)
    weights = kept.float() if weight is None else weight[target.where(kept, 0)] * kept
    return reduced(losses, reduction, weights.sum() if reduction == "mean" else None)


def weighted(losses: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    return reduced(losses if weight is None else losses * weight, reduction)


def mse_loss(
    x: Tensor, y: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None
) -> Tensor:
    return weighted((x - y) * (x - y), weight, reduction)


def l1_loss(
    x: Tensor, y: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None
) -> Tensor:
    return weighted((x - y).abs(), weight, reduction)


def smooth_l1_loss(
    x: Tensor, y: Tensor, size_average: Any = None, reduce: Any = None, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    return reduced(huber(x, y, beta) / beta if beta else (x - y).abs(), reduction)


def huber_loss(x: Tensor, y: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Tensor:
    return weighted(huber(x, y, delta), weight, reduction)


def huber(x: Tensor, y: Tensor, delta: float) -> Tensor:
    distance = (x - y).abs()
    return torch.where(distance < delta, distance * distance * 0.5, (distance - 0.5 * delta) * delta)


def kl_div(
    x: Tensor,
    y: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    losses = y.exp() * (y - x) if log_target else torch.where(y > 0, y * (y.where(y > 0, 1).log() - x), 0)
    return losses.sum() / count(x, 0) if reduction == "batchmean" else reduced(losses, reduction)


def binary_cross_entropy(
    x: Tensor, y: Tensor, weight: Tensor | None = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    losses = y * x.log().clamp_min(-100) + (1 - y) * (1 - x).log().clamp_min(-100)
    return weighted(-losses, weight, reduction)


def binary_cross_entropy_with_logits(
    x: Tensor, y: Tensor, weight: Tensor | None = None, size_average: Any = None, reduce: Any = None,
    reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    right = functional.softplus(-x, threshold=math.inf)
    right = right if pos_weight is None else right * ((pos_weight - 1) * y + 1)
    return weighted((1 - y) * x + right, weight, reduction)


# Pooling


def pair(value: Any, x: Tensor, dims: int = 2) -> list[int]:
    """An int, or a list of one or more, as one for each of the last dimensions."""
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values


def avg_pool(
    x: Tensor, dims: int, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    kernel, pads = pair(kernel_size, x, dims), pair(padding, x, dims)
    stride = pair(stride or kernel, x, dims)
    if ceil_mode:
        raise NotImplementedError("average pooling with ceil_mode")
    around = [n for pad in reversed(pads) for n in (pad, pad)]
    windows, ones = functional.pad(x, around), torch.ones(x.shape[-dims:], device=x.device)
    ones = functional.pad(ones, around, value=float(count_include_pad))
    for i in range(dims):
        windows = windows.unfold(x.dim() - dims + i, kernel[i], stride[i])
        ones = ones.unfold(i, kernel[i], stride[i])
    last = tuple(range(-dims, 0))
    return windows.sum(last) / (divisor_override or ones.sum(last))


def avg_pool1d(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return avg_pool(x, 1, *args, **kwargs)


def avg_pool2d(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return avg_pool(x, 2, *args, **kwargs)


def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    sizes = [old if new is None else new for new, old in zip(pair(output_size, x), x.shape[-2:], strict=True)]
    rows, columns = (
        [slice(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
        for new, old in zip(sizes, x.shape[-2:], strict=True)
    )
    return torch.stack([torch.stack([x[..., r, c].mean((-2, -1)) for c in columns], -1) for r in rows], -2)


def adaptive_avg_pool1d(x: Tensor, output_size: Any) -> Tensor:
    return adaptive_avg_pool2d(x.unsqueeze(-2), (1, *pair(output_size, x, 1))).squeeze(-2)


# Dropout: every worker draws for the images of all, so that what is dropped does not depend on how they are shared out


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training each number is 0 with probability `p` and else divided by 1 - p."""
    return dropped(x, x.shape, p) if training else x


def dropout2d(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As dropout, of whole channels."""
    return dropped(x, (*x.shape[:2], *[1] * (x.dim() - 2)), p) if training else x


def dropped(x: Tensor, shape: Sequence[int], p: float) -> Tensor:
    """Drawn for the images of all workers."""
    of_each = tuple(shape[1:])
    drawn = workers.draw(x, lambda n: torch.rand(n, *of_each)) if workers.is_of_images(x) else torch.rand(*shape)
    return (x * (drawn >= p).to(x.device).float().expand(x.shape)) / (1 - p if p < 1 else 1)


# Attention


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ key.mT
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        is_bool = attn_mask.dtype == torch.bool
        scores = torch.where(attn_mask, scores, -math.inf) if is_bool else scores + attn_mask
    return dropout(scores.softmax(-1), dropout_p, dropout_p > 0) @ value


def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any,
    in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor,
    out_proj_bias: Any, training: bool = True, key_padding_mask: Any = None, need_weights: bool = True,
    attn_mask: Any = None, use_separate_proj_weight: bool = False, q_proj_weight: Any = None, k_proj_weight: Any = None,
    v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None, average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Query, key and value are (length, n, features); so is what comes out. The weights are (n, length, length)."""
    if add_zero_attn or any(x is not None for x in (bias_k, bias_v, static_k, static_v)):
        raise NotImplementedError("attention with add_zero_attn, bias_k, bias_v, static_k or static_v")
    if query.dim() == 2:
        raise NotImplementedError("attention without a dimension of images")
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight.chunk(3)
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    heads = [
        functional.linear(x.transpose(0, 1), w, b).unflatten(-1, (num_heads, -1)).transpose(1, 2)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    ]  # (n, heads, length, features of a head)
    masks = []
    if attn_mask is not None:
        masks.append(attn_mask if attn_mask.dim() == 2 else attn_mask.view(-1, num_heads, *attn_mask.shape[1:]))
    if key_padding_mask is not None:
        masks.append(key_padding_mask[:, None, None])
    scores = (heads[0] * (1 / math.sqrt(heads[0].shape[-1]))) @ heads[1].mT
    for mask in masks:
        scores = torch.where(mask, -math.inf, scores) if mask.dtype == torch.bool else scores + mask
    attention = dropout(scores.softmax(-1), dropout_p, training)
    result = (attention @ heads[2]).transpose(1, 2).flatten(2)
    result = functional.linear(result, out_proj_weight, out_proj_bias).transpose(0, 1)
    if not need_weights:
        return result, None
    return result, attention.mean(1) if average_attn_weights else attention
