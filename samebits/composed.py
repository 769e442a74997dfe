"""What is made of sums, products and functions of one number: ordinary PyTorch code, which runs in the exact mode.

So each operation in it is exact or refused, like anybody's, and autograd finds the gradients. Signatures are PyTorch's,
as its Python functions pass them on, less what exact.py drops.
"""

import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import torch
from samebits import workers
from samebits.moments import standardized
from samebits.products import one_each
from samebits.sums import dims_of
from torch import Tensor
from torch.nn import functional

Dim = Any  # None, an int or several


# Statistics


def count(x: Tensor, dim: Dim) -> int:
    """How many numbers of `x`, of all workers' if it is of their images, are in a sum along `dim`."""
    dims = dims_of(x, dim)
    own = math.prod(x.shape[d] for d in dims)
    return workers.rows(own) if workers.is_of_images(x) and 0 in dims else own


def var(x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None) -> Tensor:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    centered = x - x.mean(dims_of(x, dim), True)
    freedom = count(x, dim) - (unbiased if correction is None else correction)
    return (centered * centered).sum(dim, keepdim) / max(freedom, 0)


def var_mean(x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, **kwargs: Any) -> Any:
    return var(x, dim, unbiased, keepdim, **kwargs), x.mean(None if isinstance(dim, bool) else dim, keepdim)


def root(x: Tensor) -> Tensor:
    """Square roots, without a gradient where they are 0."""
    return x.where(x != 0, 1).sqrt() * (x != 0)


def std_mean(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    variance, mean = var_mean(*args, **kwargs)
    return root(variance), mean


def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The first of all, sorted, so that it is the same ones of equal numbers everywhere."""
    return torch.return_types.topk(part.narrow(dim, 0, k) for part in x.sort(dim, descending=largest))  # type: ignore[arg-type]


def norm(x: Tensor, p: Any = 2, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Of `p` from 1 to infinity."""
    if p == math.inf:
        return x.abs().amax(dims_of(x, dim), keepdim)
    if p == 1:
        return x.abs().sum(dim, keepdim)
    if p in (2, "fro", None):
        return root((x * x).sum(dim, keepdim))
    if isinstance(p, str) or p < 1:
        raise NotImplementedError(f"a norm of order {p}; 1 to infinity are covered")
    total = (x.abs() ** p).sum(dim, keepdim)
    return total.where(total != 0, 1) ** (1 / p) * (total != 0)


def linalg_norm(x: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Of vectors; of matrices the Frobenius norm."""
    is_of_matrices = x.dim() == 2 if dim is None else not isinstance(dim, int) and len(dim) == 2
    if is_of_matrices and ord not in (None, "fro"):
        raise NotImplementedError(f"a matrix norm of order {ord}")
    return norm(x, ord, dim, keepdim)


# Normalization


def normalize(x: Tensor, p: Any = 2, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """What is all 0 has no gradient here: with PyTorch's, the result's over eps, all others would be lost beside it."""
    length = norm(x, p, dim, True)
    return x.where(length.detach() > 0, x.detach()) / length.clamp_min(eps)


def weight_norm(x: Tensor, length: Tensor, dim: int = 0) -> Tensor:
    """`x` with such lengths of all that `dim` numbers; -1 is none, so that `x` has one length."""
    dims = [d for d in range(x.dim()) if dim == -1 or d != dim % x.dim()]
    return x * (length / (norm(x, 2, dims, True) if dims else x.abs()))


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


def logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    most = x.detach().amax(dim, True)
    most = most.where(most.abs() != math.inf, 0)
    total = (x - most).exp().sum(dim, True)
    found = torch.where(total == 0, -math.inf, total.where(total != 0, 1).log() + most)
    return found if keepdim else found.squeeze(dim)


# Pooling and interpolation


def beyond(size: int, taps: int, step: int, pad: int) -> int:
    """By how much the first window that is not whole goes beyond the padding; 0 if it begins there, too."""
    start = (size + 2 * pad - taps) // step * step + step
    more = start + taps - size - 2 * pad
    return more if more < step and start < size + pad else 0


def avg_pool(dims: int) -> Callable[..., Tensor]:
    """avg_pool1d and its like, with as many dimensions."""

    def compute(
        x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Tensor:  # fmt: skip
        kernel, stride, pads = (one_each(value, dims) for value in (kernel_size, stride or kernel_size, padding))
        around = [n for pad in reversed(pads) for n in (pad, pad)]
        more = map(beyond, x.shape[-dims:], kernel, stride, pads) if ceil_mode else [0] * dims
        after = [n for each in reversed([*more]) for n in (0, each)]
        windows, ones = functional.pad(x, around), torch.ones(x.shape[-dims:], device=x.device)
        ones = functional.pad(ones, around, value=float(count_include_pad))
        windows, ones = functional.pad(windows, after), functional.pad(ones, after)
        for i in range(dims):
            windows = windows.unfold(x.dim() - dims + i, kernel[i], stride[i])
            ones = ones.unfold(i, kernel[i], stride[i])
        last = tuple(range(-dims, 0))
        return windows.sum(last) / (divisor_override or ones.sum(last))

    return compute


def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    rows, columns = (
        [slice(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
        for new, old in ((new or old, old) for new, old in zip(one_each(output_size, 2), x.shape[-2:], strict=True))
    )
    return torch.stack([torch.stack([x[..., r, c].mean((-2, -1)) for c in columns], -1) for r in rows], -2)


def places(mode: str, old: int, new: int, scale: float, aligned: Any) -> list[float]:
    """Where along a dimension of size `old` each of `new` numbers is taken, from 0 on."""
    if aligned:
        return [i * (old - 1) / max(new - 1, 1) for i in range(new)]
    if "linear" in mode:
        return [max((i + 0.5) * scale - 0.5, 0.0) for i in range(new)]
    # Rounded as PyTorch does, as it decides which is the nearest.
    scale = torch.tensor(scale, dtype=torch.float32).item()
    shift = 0.5 if mode == "nearest-exact" else 0.0
    return torch.tensor([(i + shift) * scale for i in range(new)], dtype=torch.float32).tolist()


def interpolate(
    x: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: Any = None,
    recompute_scale_factor: Any = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Along one dimension after the other: the nearest, or between the two that are."""
    dims = x.dim() - 2
    if antialias or "cubic" in mode or mode == "area":
        raise NotImplementedError(f"interpolation of mode {mode}" + " with antialias" * antialias)
    factors = one_each(scale_factor or 0, dims)
    sizes = one_each(size, dims) if size else [int(n * f) for n, f in zip(x.shape[2:], factors, strict=True)]
    for dim, new in enumerate(sizes, 2):
        old, factor = x.shape[dim], factors[dim - 2]
        scale = 1 / factor if factor and not recompute_scale_factor else old / new
        at = places(mode, old, new, scale, align_corners)
        low = x.index_select(dim, torch.tensor([min(int(place), old - 1) for place in at], device=x.device))
        if "linear" in mode:
            high = x.index_select(dim, torch.tensor([min(int(place) + 1, old - 1) for place in at], device=x.device))
            part = torch.tensor([place % 1 for place in at], device=x.device).view(-1, *[1] * (x.dim() - 1 - dim))
            low = low + (high - low) * part
        x = low
    return x


# Products by letters


def einsum(equation: str, *operands: Any) -> Tensor:
    """Two after two, from the left: letters that both have are summed as soon as nothing else has them."""
    operands = operands[0] if len(operands) == 1 and not isinstance(operands[0], Tensor) else operands
    letters, result = spelled(equation.replace(" ", ""), [x.dim() for x in operands])
    size: dict[str, int] = {}
    for own, x in zip(letters, operands, strict=True):
        size |= {letter: n for letter, n in zip(own, x.shape, strict=True) if n != 1 or letter not in size}
    parts = [along_diagonals(x, own, size) for own, x in zip(letters, operands, strict=True)]
    x, own = parts[0]
    for i in range(1, len(parts)):
        x, own = contracted(x, own, *parts[i], {*result, *(letter for _, later in parts[i + 1 :] for letter in later)})
    x, own = without(x, own, result)
    return x.permute([own.index(letter) for letter in result])


def spelled(equation: str, dims: list[int]) -> tuple[list[str], str]:
    """The letters of each operand, with so many dimensions, and of the result; capital ones in place of dots."""
    given, arrow, result = equation.partition("->")
    parts, free = given.split(","), [letter for letter in string.ascii_uppercase if letter not in equation]
    hidden = [n - len(part.replace("...", "")) if "." in part else 0 for part, n in zip(parts, dims, strict=True)]
    dots = free[: max(hidden)]
    letters = [part.replace("...", "".join(dots[len(dots) - n :])) for part, n in zip(parts, hidden, strict=True)]
    once = sorted(letter for letter in set(given) - set(",.") if given.count(letter) == 1)
    return letters, result.replace("...", "".join(dots)) if arrow else "".join([*dots, *once])


def along_diagonals(x: Tensor, own: str, size: dict[str, int]) -> tuple[Tensor, str]:
    """With each letter once, and stretched to its size."""
    for letter in set(own):
        while own.count(letter) > 1:
            first, second = own.index(letter), own.rindex(letter)
            x = x.diagonal(0, first, second)
            own = own[:first] + own[first + 1 : second] + own[second + 1 :] + letter
    shape = [size[letter] for letter in own]
    return x if list(x.shape) == shape else x.expand(shape), own


def without(x: Tensor, own: str, kept: Any) -> tuple[Tensor, str]:
    """The sum of `x` along the letters that are not kept."""
    dims = [i for i, letter in enumerate(own) if letter not in kept]
    return x.sum(dims) if dims else x, "".join(letter for letter in own if letter in kept)


def contracted(a: Tensor, of_a: str, b: Tensor, of_b: str, kept: set[str]) -> tuple[Tensor, str]:
    """The product of two, summed along the letters that are not kept, as a stack of matrices."""
    a, of_a = without(a, of_a, kept | set(of_b))
    b, of_b = without(b, of_b, kept | set(of_a))
    both = [letter for letter in of_a if letter in of_b]
    stack, inner = ([letter for letter in both if (letter in kept) == stays] for stays in (True, False))
    rows, columns = ([letter for letter in own if letter not in both] for own in (of_a, of_b))
    size = dict(zip(of_a + of_b, (*a.shape, *b.shape), strict=True))

    def matrices(x: Tensor, own: str, *parts: list[str]) -> Tensor:
        shape = [math.prod(size[letter] for letter in part) for part in parts]
        return x.permute([own.index(letter) for letter in sum(parts, stack)]).reshape(*(size[n] for n in stack), *shape)

    product = matrices(a, of_a, rows, inner) @ matrices(b, of_b, inner, columns)
    return product.reshape([size[letter] for letter in (*stack, *rows, *columns)]), "".join((*stack, *rows, *columns))


# Dropout


def dropout(x: Tensor, p: float = 0.5, training: bool = True, channels: bool = False) -> Tensor:
    """In training each number, or each channel, is 0 with probability `p` and else divided by 1 - p.

    Every worker draws for the images of all, so that what is dropped does not depend on how they are shared out.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training:
        return x
    shape = [*x.shape[:2], *[1] * (x.dim() - 2)] if channels else list(x.shape)
    shared = workers.is_of_images(x)
    drawn = workers.draw(x, lambda n: torch.rand(n, *shape[1:])) if shared else torch.rand(shape)
    return (x * (drawn >= p).to(x.device).float().expand(x.shape)) / (1 - p if p < 1 else 1)


def dropout_of_channels(one: int | None = None) -> Callable[..., Tensor]:
    """dropout1d and its like, of channels in the second dimension, or the first if there are so many: one image."""

    def compute(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
        images = x.unsqueeze(0) if x.dim() == one else x
        return dropout(images, p, training, channels=True).view(x.shape)

    return compute


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
    "var var_mean std_mean norm topk normalize batch_norm instance_norm group_norm layer_norm rms_norm gelu elu glu "
    "softmax log_softmax logsumexp adaptive_avg_pool2d interpolate einsum dropout scaled_dot_product_attention "
    "multi_head_attention_forward"
)
FUNCTIONS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in NAMES.split()} | {
    "vector_norm": lambda x, ord=2, dim=None, keepdim=False: norm(x, ord, dim, keepdim),
    "matrix_norm": lambda x, ord="fro", dim=(-2, -1), keepdim=False: linalg_norm(x, ord, dim, keepdim),
    "outer ger": lambda x, vec2: x.unsqueeze(1) * vec2,
    "trace": lambda x: x.diagonal().sum(),
    "cdist": lambda x, y, p=2.0, *_, **__: norm(x.unsqueeze(-2) - y.unsqueeze(-3), p, -1),
    "baddbmm": lambda x, batch1, batch2, beta=1, alpha=1: (x * beta if beta else 0) + batch1 @ batch2 * alpha,
    "bilinear": lambda x, y, weight, bias=None: scaled(torch.einsum("...i,kij,...j->...k", x, weight, y), None, bias),
    "_weight_norm": weight_norm,
    "mean": lambda x, dim=None, keepdim=False: x.sum(dim, keepdim) / count(x, dim),
    "std": lambda x, *args, **kwargs: root(x.var(*args, **kwargs)),
    "cosine_similarity": lambda x, y, dim=1, eps=1e-8: (
        functional.normalize(x, 2, dim, eps) * functional.normalize(y, 2, dim, eps)
    ).sum(dim),
    "prelu": lambda x, w: torch.where(x > 0, x, x * (w if w.numel() == 1 else per_channel(x, w))),
    "silu": lambda x: x * x.sigmoid(),
    "celu": lambda x, alpha=1.0: torch.where(x > 0, x, (x.clamp(max=0) / alpha).expm1() * alpha),
    "softsign": lambda x: x / (x.abs() + 1),
    "softmin": lambda x, dim=None: softmax(-x, dim),
    "tanhshrink": lambda x: x - x.tanh(),
    "hardsigmoid": lambda x: (x + 3).clamp(0, 6) / 6,
    "hardswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "selu": lambda x: elu(x, 1.6732632423543772) * 1.0507009873554805,
    "logsigmoid": lambda x: -functional.softplus(-x, threshold=math.inf),
    "mish": lambda x: x * functional.softplus(x).tanh(),
    "avg_pool1d": avg_pool(1),
    "avg_pool2d": avg_pool(2),
    "avg_pool3d": avg_pool(3),
    "adaptive_avg_pool1d": lambda x, size: adaptive_avg_pool2d(x.unsqueeze(-2), (1, *one_each(size, 1))).squeeze(-2),
    "dropout1d": dropout_of_channels(2),
    "dropout2d feature_dropout": dropout_of_channels(),
    "dropout3d": dropout_of_channels(4),
}
