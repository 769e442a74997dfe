"""Each function that is covered, values and gradients, beside PyTorch's own in float64."""

import itertools
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import samebits
import torch
from samebits import workers
from samebits.marks import flat
from torch import nn
from torch.nn import functional as f

Call = Callable[..., torch.Tensor]


def numbers(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed + len(shape))) * (high - low) + low


X, W, B = numbers(3, 4, 7, 6), numbers(5, 4, 3, 2, seed=1), numbers(5, seed=2)
M, V, P = numbers(5, 4, seed=3), numbers(4, seed=4), numbers(5, 4, seed=5, low=0.1)
UNLIKE = torch.tensor([1e-3, 1.0, 1e5, 30.0]).view(4, 1, 1)
LABELS, ROWS = torch.tensor([0, 3, 1, 1, 2]), torch.tensor([[2, 0, 2], [1, 2, 4]])
MASK = torch.tensor([[True, False, True, True]] * 5)
Q, K, D = numbers(2, 3, 5, 4, seed=6), numbers(2, 3, 6, 4, seed=7), numbers(2, 3, 6, 2, seed=8)
ROWS_SEEN = torch.tensor([[True], [False], [True], [True], [True]]).expand(5, 6)
IMPOSSIBLE = torch.where(torch.tensor([0, 0, 1, 0])[None] * (torch.arange(5) == 3)[:, None] > 0, -torch.inf, M)
SIGNS = torch.tensor([[1, -1, 1, -1], [-1, -1, 1, 1], [1, 1, -1, 1], [1, -1, -1, -1], [-1, 1, 1, 1]])
ones = torch.ones_like


def placed(x: torch.Tensor, v: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    y = x * 1
    y[MASK] = -1e3
    y[1:, ::2] = v[1]
    y[:, 3] = b
    y[4] = v[None]
    return y


def added_to_itself(x: torch.Tensor) -> torch.Tensor:
    h = x * 1
    for function in (torch.tanh, torch.sigmoid, torch.exp, torch.expm1):
        h += function(h)
    return h


CASES: dict[str, tuple[Call, tuple[torch.Tensor, ...]]] = {
    "conv1d": (lambda x, w: f.conv1d(x, w, padding=1), (numbers(3, 4, 7), W[..., 0])),
    "conv2d with stride, padding and dilation": (lambda x, w, b: f.conv2d(x, w, b, (2, 1), (1, 2), (2, 1)), (X, W, B)),
    "conv2d with groups": (lambda x, w: f.conv2d(x, w, groups=2), (X, numbers(6, 2, 3, 3))),
    "conv2d of channels": (lambda x, w: f.conv2d(x, w, padding="same", groups=4), (X, numbers(4, 1, 3, 3))),
    "conv2d of one image": (f.conv2d, (X[0], W, B)),
    "conv_transpose2d": (lambda x, w, b: f.conv_transpose2d(x, w, b, 2, 1, 1), (X, numbers(4, 5, 3, 2), B)),
    "conv_transpose2d with groups": (lambda x, w: f.conv_transpose2d(x, w, groups=2), (X, numbers(4, 3, 3, 2))),
    "max_pool1d": (lambda x: f.max_pool1d(x, 3, 2), (X[0],)),
    "max_pool2d and ReLU in place": (lambda x: f.max_pool2d(x, 2).relu_(), (X,)),
    "max_pool2d that overlaps": (lambda x: f.max_pool2d(x, 3, stride=1, padding=1), (X,)),
    "adaptive_max_pool2d": (lambda x: f.adaptive_max_pool2d(x, (3, 4)), (X,)),
    "adaptive_max_pool1d of torch": (lambda x: torch.adaptive_max_pool1d(x, 4)[0], (X[0],)),
    "adaptive_max_pool1d": (lambda x: f.adaptive_max_pool1d(x, 4), (X[0],)),
    "max_pool2d with its places": (lambda x: f.max_pool2d(x, 2, return_indices=True)[0], (X,)),
    "pooling in three dimensions": (lambda x: f.max_pool3d(x, 2) + f.avg_pool3d(x, 2), (X,)),
    "conv_transpose3d": (f.conv_transpose3d, (numbers(2, 4, 3, 3, 2), numbers(4, 2, 2, 1, 3))),
    "avg_pool2d": (lambda x: f.avg_pool2d(x, 2), (X,)),
    "avg_pool2d that overlaps": (lambda x: f.avg_pool2d(x, 3, 1, 1), (X,)),
    "avg_pool2d without padding": (lambda x: f.avg_pool2d(x, 3, 2, 1, count_include_pad=False), (X,)),
    "avg_pool2d that goes beyond": (lambda x: f.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False), (X,)),
    "avg_pool2d that goes beyond the padding": (lambda x: f.avg_pool2d(x, (4, 3), (3, 2), 1, ceil_mode=True), (X,)),
    "avg_pool1d that begins within": (lambda x: f.avg_pool1d(x, 2, 3, 1, ceil_mode=True), (X[0],)),
    "avg_pool1d": (lambda x: f.avg_pool1d(x, 3, 2, 1), (X[0],)),
    "adaptive_avg_pool2d": (lambda x: f.adaptive_avg_pool2d(x, 1), (X,)),
    "adaptive_avg_pool2d of uneven parts": (lambda x: f.adaptive_avg_pool2d(x, (3, 4)), (X,)),
    "interpolate": (lambda x: f.interpolate(x, scale_factor=(2, 0.6)), (X,)),
    "interpolate by nearest-exact": (lambda x: f.interpolate(x, (9, 4), mode="nearest-exact"), (X,)),
    "interpolate by lines": (lambda x: f.interpolate(x[0], 11, mode="linear"), (X,)),
    "interpolate by planes": (lambda x: f.interpolate(x, scale_factor=1.7, mode="bilinear"), (X,)),
    "interpolate from corner to corner": (
        lambda x: f.interpolate(x, (9, 1), mode="bilinear", align_corners=True), (X,)
    ),
    "batch_norm": (lambda x, w, b: f.batch_norm(x, None, None, w, b, True), (X, V, V + 1)),
    "batch_norm of unlike channels": (lambda x: f.batch_norm(x, None, None, training=True), (X * UNLIKE,)),
    "batch_norm of one value": (lambda x: f.batch_norm(x, None, None, training=True), (ones(X) * 1e6 / 7,)),
    "batch_norm of unlike gradients": (lambda x: f.batch_norm(x, None, None, training=True) * UNLIKE.to(x), (X,)),
    "batch_norm and ReLU in place": (lambda x: f.relu(f.batch_norm(x, None, None, training=True), inplace=True), (X,)),
    "batch_norm in evaluation": (lambda x, w, b: f.batch_norm(x, V.to(x), V.to(x).abs() + 1, w, b), (X, V, V + 1)),
    "layer_norm": (lambda x, w, b: f.layer_norm(x, (7, 6), w, b), (X, X[0, 0], X[0, 1])),
    "group_norm": (lambda x, w, b: f.group_norm(x, 2, w, b), (X, V, V + 1)),
    "instance_norm": (f.instance_norm, (X,)),
    "rms_norm": (lambda x, w: f.rms_norm(x, (6,), w), (X, X[0, 0, 0])),
    "embedding": (lambda w: f.embedding(ROWS, w), (M,)),
    "embedding with padding": (lambda w: f.embedding(ROWS, w, padding_idx=2), (M,)),
    "relu": (f.relu, (M,)),
    "leaky_relu": (lambda x: f.leaky_relu(x, 0.2), (M,)),
    "relu6": (f.relu6, (M * 5,)),
    "hardswish": (f.hardswish, (M * 3,)),
    "hardsigmoid": (f.hardsigmoid, (M * 3,)),
    "silu": (f.silu, (M,)),
    "gelu": (f.gelu, (M,)),
    "gelu by tanh": (lambda x: f.gelu(x, approximate="tanh"), (M,)),
    "elu": (lambda x: f.elu(x, 0.7), (M * 60,)),
    "selu": (f.selu, (M,)),
    "softplus": (lambda x: f.softplus(x, 2, 5), (M * 3,)),
    "logsigmoid": (f.logsigmoid, (M * 30,)),
    "mish": (f.mish, (M,)),
    "glu": (f.glu, (M,)),
    "celu": (lambda x: f.celu(x, 0.7), (M,)),
    "softsign, tanhshrink and softmin": (lambda x: f.softsign(x) + f.tanhshrink(x) + f.softmin(x, 1), (M,)),
    "prelu": (f.prelu, (X, V)),
    "softmax": (lambda x: f.softmax(x, 1), (M * 9,)),
    "log_softmax": (lambda x: x.log_softmax(-1), (M * 9,)),
    "logsumexp": (lambda x: torch.logsumexp(x, 1), (M * 9,)),
    "logsumexp of what can't be": (lambda x: torch.logsumexp(torch.cat([x, x[:1].detach() - torch.inf]), 1), (M,)),
    "attention": (f.scaled_dot_product_attention, (Q, K, D)),
    "attention to nothing": (lambda q, k, v: f.scaled_dot_product_attention(q, k, v, ROWS_SEEN), (Q, K, D)),
    "causal attention": (lambda q, k, v: f.scaled_dot_product_attention(q, k, v, is_causal=True), (Q, K, D)),
    "attention with a mask": (f.scaled_dot_product_attention, (Q, K, D, Q[0, 0] @ K[0, 0].T)),
    "attention that ignores": (
        lambda x, w: f.multi_head_attention_forward(
            x, x, x, 4, 2, w, None, None, None, False, 0.0, torch.eye(4).to(x), None, False,
            ROWS_SEEN[:, :3] & (torch.arange(3) == 2), attn_mask=torch.ones(3, 3, dtype=torch.bool).triu(1),
        )[0], (Q[0], numbers(12, 4)),
    ),
    "matmul of vectors": (torch.matmul, (V, V + 1)),
    "matmul of matrix and vector": (torch.matmul, (M, V)),
    "matmul of vector and matrix": (torch.matmul, (V, M.T)),
    "matmul": (lambda a, b: a @ b.mT, (M, M + 1)),
    "matmul of stacks": (lambda a, b: a @ b.mT, (Q, K)),
    "matmul of stretched stacks": (lambda a, b: a @ b.mT, (Q[:, :1], K[0])),
    "matmul of stack and matrix": (torch.matmul, (Q, M.T)),
    "matmul of matrix and stack": (torch.matmul, (M, K.mT)),
    "mm": (lambda a, b: torch.mm(a, b.t()), (M, P)),
    "bmm": (lambda a, b: torch.bmm(a, b.mT), (Q[0], K[0])),
    "addmm": (lambda a, b, c: torch.addmm(a, b, c.t()), (B, M, P)),
    "einsum": (lambda a, b: torch.einsum("bhqd,bhkd->bqhk", a, b), (Q, K)),
    "einsum of three": (lambda a, b, c: torch.einsum("zij, ij, kj", a, b, c), (Q[0], M, P)),
    "einsum of one": (lambda x: torch.einsum("bcij->ijb", x), (X,)),
    "einsum without an index in common": (lambda a, b: torch.einsum("i,jk->kij", a, b), (V, M)),
    "einsum of dots": (lambda a, b: torch.einsum("...ij,...kj->...ik", a, b), (Q, K[0])),
    "einsum of dots in one": (lambda a, b: torch.einsum("b...,bc", a, b), (X, numbers(3, 2))),
    "einsum of diagonals": (lambda a, b: torch.einsum("ii,ij->ij", a, b), (M[:4], P[:4])),
    "einsum of stretched letters": (lambda a, b: torch.einsum("ij,kj->ik", a, b), (M[:, :1], P)),
    "products of two": (lambda a, b: torch.outer(a, b) + torch.trace(a[:, None] * a) + torch.vdot(a, a), (V, B)),
    "baddbmm": (lambda a, b, c: torch.baddbmm(a, b, c.mT, beta=0.5, alpha=2), (numbers(3, 5, 6), Q[0], K[0])),
    "bilinear": (f.bilinear, (M, P, numbers(3, 4, 4), B[:3])),
    "linear of a vector": (f.linear, (V, M, B)),
    "linear by a vector": (f.linear, (M, V)),
    "linear of stacks": (f.linear, (Q, M, B)),
    "sum": (torch.sum, (M,)),
    "cumsum": (lambda x: x.cumsum(0) + torch.cumsum(x, dim=-1), (M,)),
    "scatter_add": (lambda x, y: x.scatter_add(0, ROWS, y[:2, :3]) + ones(x).index_add_(0, LABELS, x), (M, P)),
    "scatter_add in a row": (lambda x, y: x.clone().scatter_add_(1, ROWS % 4, src=y[:2, :3]), (M, P)),
    "index_add": (lambda x, y: x.index_add(1, LABELS[:4] % 4, y, alpha=0.3), (M, P)),
    "sum of dimensions": (lambda x: x.sum((0, -1), keepdim=True), (X,)),
    "sum of no dimensions, which are all": (lambda x: x.sum([]), (M,)),
    "mean": (lambda x: x.mean(1), (X,)),
    "mean as NumPy has it": (lambda x: torch.mean(input=x, axis=1, keepdims=True), (X,)),
    "var": (lambda x: x.var((0, 2)), (X,)),
    "var of all": (lambda x: torch.var(x, unbiased=False), (X,)),
    "std": (lambda x: x.std(1, keepdim=True), (X,)),
    "std of one value": (lambda x: x.std(1) + x.norm(dim=1), (M * 0,)),
    "std and mean": (lambda x: sum(torch.std_mean(x, 1)), (M,)),
    "norm": (lambda x: x.norm(dim=1), (M,)),
    "norms of linalg": (lambda x: torch.linalg.norm(x) + torch.linalg.norm(x, ord=1, dim=1), (M,)),
    "norms of vectors": (lambda x: torch.linalg.vector_norm(x, ord=torch.inf, dim=0), (M,)),
    "norms of matrices": (lambda x: torch.linalg.matrix_norm(x) + torch.linalg.norm(x, "fro", (-2, -1)), (X,)),
    "norms of other orders": (lambda x: x.norm(3, 0) + torch.linalg.vector_norm(x * (V > 0), 1.5, 0), (M,)),
    "distances": (torch.cdist, (M, P)),
    "length and direction": (lambda v, g: torch._weight_norm(v, g, 0), (M, B[:, None])),
    "one length and direction": (lambda v, g: torch._weight_norm(v, g, -1), (M, B[0])),
    "lengths and signs": (lambda v, g: torch._weight_norm(v, g, 0), (V, B[:4])),
    "baddbmm to nothing": (lambda a, b: torch.baddbmm(a.new_tensor(torch.nan), a, batch2=b.mT, beta=0), (Q[0], K[0])),
    "std by other options": (lambda x: torch.std_mean(x, False)[0] + torch.var_mean(x, 0, correction=0)[0], (M,)),
    "powers of 0": (lambda x: 0**x, (M,)),
    "drawn in place": (lambda x: x * x.clone().uniform_(2, to=2), (M,)),
    "normalize": (lambda x: f.normalize(x, dim=1), (M,)),
    "cosine_similarity": (f.cosine_similarity, (M, P)),
    "broadcasting": (lambda x, v, b: (x + v) * v / (b[:, None] * b[:, None] + 1) - v, (M, V, B)),
    "add with alpha": (lambda x, v: torch.add(x, v, alpha=0.3).sub(v, alpha=2), (M, V)),
    "whole powers": (lambda x: x**3 + x.pow(2) + x**-2 + 1 / x, (P,)),
    "a power that is 1": (lambda x: x**0, (M,)),
    "functions that are added to what they are of": (added_to_itself, (M,)),
    "broken powers": (lambda x: x**0.5 + x**1.5 + x**-0.3 + 3.7**x + 2 ** (x - 1), (P,)),
    "broken powers of 0": (lambda x: x**1.5 + x**2.3, (M.clamp(min=0),)),
    "sqrt and rsqrt": (lambda x: x.sqrt() + torch.rsqrt(x), (P,)),
    "index by numbers": (lambda x: x[ROWS] * 2, (M,)),
    "index by a list and a slice": (lambda x: x[[0, 2, 2], :, 1:3], (X[:3],)),
    "index by a mask": (lambda x: x[MASK], (M,)),
    "slices": (lambda x: x[1:, ::2, None] + x[:-1, 1::2, None], (M,)),
    "gather": (lambda x: x.gather(0, ROWS), (M,)),
    "index_select": (lambda x: x.index_select(0, LABELS), (M,)),
    "repeat": (lambda x: x.repeat(2, 3), (M,)),
    "repeat_interleave": (lambda x: x.repeat_interleave(3, 0), (M,)),
    "expand": (lambda x: x.expand(5, 4), (V,)),
    "unfold": (lambda x: x.unfold(1, 3, 1), (M,)),
    "unfold of images": (lambda x: f.unfold(x, 2, padding=(1, 0)), (X,)),
    "pad": (lambda x: f.pad(x, (1, 2)), (M,)),
    "pad by reflection": (lambda x: f.pad(x, (1, 2, 2, 1), mode="reflect"), (X,)),
    "pad by the other end": (lambda x: f.pad(x, (1, 2, 2, 1), mode="circular"), (X,)),
    "cat, stack and where": (lambda x, y: torch.where(MASK, torch.stack([x, y]).sum(0), torch.cat([x, y])[:5]), (M, P)),
    "lerp and addcmul": (lambda x, y: torch.lerp(x, y, 0.3) + torch.addcmul(x, x, y, value=0.5), (M, P)),
    "largest": (lambda x: x.max(1).values, (M,)),
    "largest of two": (lambda x, v, b: torch.max(x, v) + x.min(b[:, None]) + x.clamp(min=v), (M, V, B)),
    "largest of several": (lambda x: x.amax((0, 2)) + x.amin((1, 2, 3)).sum() - x.aminmax().max, (X,)),
    "sorted": (lambda x: x.sort(0, descending=True).values + x.sort(1)[0], (M,)),
    "largest three of equal ones": (lambda x: torch.topk(x.round(), 3, 0)[0] + x.topk(3, 0, False).values, (M,)),
    "named factors": (lambda x, v: torch.addcmul(x, tensor1=x, tensor2=v, value=2), (M, V)),
    "stretched factors": (lambda x, v, b: x.lerp(v, 0.3) + torch.addcdiv(x, v, b[:, None].exp(), value=2), (M, V, B)),
    "put in places": (placed, (M, V, B)),
    "by other names": (lambda x: torch.concatenate([x.clip(-1, 1).fliplr(), x]).ravel().diag().triu(), (M,)),
    "weighted cross_entropy": (lambda x: f.cross_entropy(x, LABELS, V.abs().to(x)), (M,)),
    "smoothed cross_entropy": (lambda x: f.cross_entropy(x, LABELS, label_smoothing=0.2), (M,)),
    "smoothed weighted cross_entropy": (lambda x: f.cross_entropy(x, LABELS, V.abs().to(x), label_smoothing=0.2), (M,)),
    "summed cross_entropy": (lambda x: f.cross_entropy(x, LABELS, reduction="sum"), (M,)),
    "cross_entropy of labels that are bytes": (lambda x: f.cross_entropy(x, LABELS.byte()), (M,)),
    "each cross_entropy": (lambda x: f.cross_entropy(x, LABELS, reduction="none"), (M,)),
    "cross_entropy that ignores": (lambda x: f.cross_entropy(x, LABELS, ignore_index=1), (M,)),
    "cross_entropy that ignores what can't be": (lambda x: f.cross_entropy(x, LABELS, ignore_index=1), (IMPOSSIBLE,)),
    "cross_entropy of probabilities": (lambda x, y: f.cross_entropy(x, y), (M, P)),
    "cross_entropy of pictures": (lambda x: f.cross_entropy(x, torch.full((3, 7, 6), 2)), (X,)),
    "nll_loss": (lambda x: f.nll_loss(x, LABELS), (M,)),
    "nll_loss of one image": (lambda x: f.nll_loss(x, LABELS[1], reduction="none"), (V,)),
    "mse_loss": (f.mse_loss, (M, P)),
    "mse_loss by weights": (lambda x, y: f.mse_loss(x, y, weight=y * y), (M, P)),
    "l1_loss": (f.l1_loss, (M, P)),
    "smooth_l1_loss": (lambda x, y: f.smooth_l1_loss(x, y, beta=0.7), (M, P)),
    "huber_loss": (lambda x, y: f.huber_loss(x, y, delta=0.7), (M, P)),
    "soft_margin_loss": (lambda x: f.soft_margin_loss(x, SIGNS.to(x)), (M,)),
    "hinge_embedding_loss": (lambda x: f.hinge_embedding_loss(x, SIGNS.to(x), margin=0.7), (M,)),
    "margin_ranking_loss": (lambda x, y: f.margin_ranking_loss(x, y, SIGNS.to(x), margin=0.3), (M, P)),
    "cosine_embedding_loss": (lambda x, y: f.cosine_embedding_loss(x, y, SIGNS[:, 0].to(x), margin=0.1), (M, P)),
    "triplet_margin_loss": (lambda x, y, z: f.triplet_margin_loss(x, y, z, swap=True, reduction="sum"), (P, M, M * P)),
    "pairwise_distance": (lambda x, y: f.pairwise_distance(x, y, p=1, keepdim=True), (M, P)),
    "poisson_nll_loss": (f.poisson_nll_loss, (M, P)),
    "poisson_nll_loss of rates": (lambda x, y: f.poisson_nll_loss(x, y, log_input=False), (P, M.abs())),
    "gaussian_nll_loss": (lambda x, y, v: f.gaussian_nll_loss(x, y, v, full=True, reduction="none"), (M, P, B.abs())),
    "gaussian_nll_loss of one variance": (lambda x, y: f.gaussian_nll_loss(x, y, 0.3), (M, P)),
    "kl_div": (lambda x, y: f.kl_div(x, y, reduction="batchmean"), (M, P)),
    "binary_cross_entropy": (f.binary_cross_entropy, (P / 3, M.abs() / 3)),
    "binary_cross_entropy of a saturated sigmoid": (
        lambda x: f.binary_cross_entropy(x.sigmoid(), ones(x)), (torch.tensor([60.0, -3.0, 1.0]),)
    ),
    "binary_cross_entropy_with_logits": (f.binary_cross_entropy_with_logits, (M * 9, P / 3)),
    "the same with weights": (
        lambda x, y: f.binary_cross_entropy_with_logits(x, y, pos_weight=V.abs().to(x)), (M * 9, P / 3)
    ),
}  # fmt: skip


def results(function: Call, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """The result, and the gradients of all inputs, given an uneven one of the result."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    result = function(*leaves)
    weights = (torch.arange(result.numel()).remainder(7) - 2.5).view(result.shape).to(result)
    result.backward(weights)
    return [result.detach(), *(x.grad if x.grad is not None else torch.zeros_like(x) for x in leaves)]


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_float64(name: str) -> None:
    function, inputs = CASES[name]
    with samebits.exact():
        found = results(function, inputs)
    expected = results(function, tuple(x.double() for x in inputs))
    assert all(x.dtype == torch.float32 for x in found)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=3e-5)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "MultiheadAttention": lambda: nn.MultiheadAttention(6, 3),
    "MultiheadAttention, images first": lambda: nn.MultiheadAttention(6, 3, batch_first=True),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True),
    "LSTM": lambda: nn.LSTM(6, 5),
    "LSTM of two layers, both ways, images first": lambda: nn.LSTM(6, 5, 2, True, True, bidirectional=True),
    "GRU without biases": lambda: nn.GRU(6, 5, 2, bias=False),
    "RNN of ReLU": lambda: nn.RNN(6, 5, nonlinearity="relu", batch_first=True),
    "LSTMCell": lambda: nn.LSTMCell(6, 5),
    "GRUCell": lambda: nn.GRUCell(6, 5),
    "BatchNorm2d": lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.BatchNorm2d(2)),
}


def loss_of(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Of all that a layer gives for three texts of four places; of the first, attention ignores the last place."""
    if isinstance(layer, nn.MultiheadAttention):
        x = x if layer.batch_first else x.transpose(0, 1)
        found = layer(x, x, x, key_padding_mask=torch.arange(12).view(3, 4) == 3)
    else:
        found = layer(x[0] if isinstance(layer, nn.RNNCellBase) else x)
    everything = torch.cat([part.flatten() for part in flat([found])])
    return (everything * everything * (torch.arange(len(everything)) + 1)).mean()  # in their order


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_their_parameters_and_buffers_are_those_of_float64(name: str) -> None:
    def trained(arithmetic: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        network = LAYERS[name]()
        samebits.initialize(network, torch.Generator().manual_seed(3))
        network.to(dtype)
        with arithmetic:
            loss_of(network, numbers(3, 4, 6).to(dtype)).backward()
        gradients = {key: value.grad for key, value in network.named_parameters() if value.grad is not None}
        return {**gradients, **dict(network.named_buffers())}

    found = trained(samebits.exact(), torch.float32)
    expected = trained(samebits.native(), torch.float64)
    assert found.keys() == expected.keys() and found
    for key, value in found.items():
        torch.testing.assert_close(value.double(), expected[key].double(), rtol=1e-3, atol=1e-3, msg=key)


def test_in_evaluation_an_image_s_result_depends_on_that_image_alone() -> None:
    convolutions = nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.GELU(), nn.AvgPool2d(2), nn.Flatten())
    attention = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(42, 2, 8, batch_first=True), nn.Softmax(-1))
    images = X * torch.tensor([1e-6, 1.0, 300.0]).view(3, 1, 1, 1)
    for network in (convolutions, attention):
        samebits.initialize(network, torch.Generator().manual_seed(3))
        network.eval()
        with torch.no_grad(), samebits.exact():
            together = network(images)
            alone = torch.cat([network(images[i : i + 1]) for i in range(3)])
        assert torch.equal(together, alone)


def test_the_nearest_pixel_is_the_one_that_pytorch_takes() -> None:
    for old, new in itertools.product(range(1, 20), range(1, 110, 3)):
        pixels = torch.arange(float(old)).view(1, 1, old)
        with samebits.exact():
            found = f.interpolate(pixels, new), f.interpolate(pixels, scale_factor=new / old)
        assert torch.equal(found[0], f.interpolate(pixels, new))
        assert torch.equal(found[1], f.interpolate(pixels, scale_factor=new / old))


def test_a_network_may_move_within_the_context() -> None:
    network = nn.Linear(4, 3)
    before = network.weight.detach().clone()
    with samebits.exact():
        network.to(torch.float64).to("cpu", torch.float32)
    assert torch.equal(network.weight, before)


@pytest.mark.filterwarnings("ignore:Implicit dimension")
def test_softmax_of_no_named_dimension_is_over_classes() -> None:
    with samebits.exact():
        found = nn.Softmax()(M), nn.LogSoftmax()(M), nn.Softmax()(X[0])
    for one, other in zip(found, (M.softmax(1), M.log_softmax(1), X[0].softmax(0)), strict=True):
        torch.testing.assert_close(one, other)


def test_a_row_of_zeros_takes_no_gradient_from_others() -> None:
    x = M * torch.tensor([1.0, 0, 1, 1, 1])[:, None]
    for function in (lambda x: f.normalize(x) * P, lambda x: f.cosine_similarity(x, P)):
        with samebits.exact():
            _, found = results(lambda w, function=function: function(x @ w), (numbers(4, 4),))  # type: ignore[misc]
        _, expected = results(lambda w, function=function: function(x @ w), (numbers(4, 4),))  # type: ignore[misc]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def draws() -> list[torch.Tensor]:
    torch.manual_seed(5)
    layers = [nn.Linear(5, 4), nn.Conv2d(2, 3, 3), nn.LSTM(5, 3), nn.Embedding(7, 3), nn.MultiheadAttention(6, 2)]
    own = [nn.init.xavier_normal_(torch.empty(3, 4)), nn.init.uniform_(torch.empty(5), -3, 1), torch.randn(2, 3)]
    return [*(p.detach() for layer in layers for p in layer.parameters()), *own, torch.randn_like(M)]


def test_what_is_drawn_within_it_is_spread_as_pytorch_spreads_it() -> None:
    torch.manual_seed(6)
    with samebits.exact():
        many = torch.randn(40_000), nn.Linear(200, 200).weight.detach().flatten()
        found, again = draws(), draws()
        assert nn.Linear(0, 3).weight.numel() == 0
        assert len(torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")) == 2
    assert all(map(torch.equal, found, again))
    for one, other in zip(found, draws(), strict=True):
        assert one.shape == other.shape and not one.requires_grad
    for one, expected in zip(many, (torch.randn(40_000), nn.Linear(200, 200).weight.detach().flatten()), strict=True):
        places = torch.linspace(0.01, 0.99, 15)
        torch.testing.assert_close(one.quantile(places), expected.quantile(places), atol=0.1 * expected.std(), rtol=0)


@pytest.mark.parametrize(
    ("function", "weight"),
    [
        (f.linear, torch.ones(2, 4)),
        (f.conv1d, torch.ones(2, 1, 3)),
        (f.conv_transpose1d, torch.ones(1, 2, 3)),
        (torch.bmm, torch.ones(1, 4, 3)),
    ],
)
def test_a_sum_of_products_that_are_all_minus_0_is_0(function: Call, weight: torch.Tensor) -> None:
    """Its sign is the library's choice: it may begin with 0, or with the first product."""
    x = -torch.ones(1, 1, 4)
    with samebits.exact():
        y = function(x * 0, -weight)
        _, *gradients = results(lambda x, weight: function(x, weight) * 0, (x, -weight))
    assert not any(part.signbit().any() for part in (y, *gradients))


def test_to_such_a_sum_a_bias_of_minus_0_adds_nothing() -> None:
    with samebits.exact():
        y = f.conv1d(torch.zeros(2, 1, 5), -torch.ones(4, 1, 1), torch.full((4,), -0.0))
    assert not y.signbit().any()


def test_dropout_drops_whole_channels() -> None:
    torch.manual_seed(1)
    with samebits.exact():
        found = nn.Dropout2d(0.5)(ones(X))
    assert set(found.flatten(2).sum(2).flatten().tolist()) == {0.0, 84.0}


@pytest.mark.parametrize(
    "function",
    [
        f.relu, f.relu6, f.softshrink, torch.relu_, lambda x: x.clamp(0, 1), lambda x: x.clamp_min(0), torch.amax,
        lambda x: torch.maximum(x, -x), lambda x: x.max(0)[0], torch.max, lambda x: torch.stack([*x.aminmax()]),
    ],
)  # fmt: skip
def test_the_larger_of_zeros_is_plus_0(function: Call) -> None:
    """Of -0 and +0, processors and threads take one or the other."""
    with samebits.exact():
        assert not function(torch.tensor([0.0, -0.0] * 9)[1:]).signbit().any()


def test_columns_have_grids_of_their_own() -> None:
    scales = torch.tensor([1e5, 1.0, 1e-5, 3.0])
    with samebits.exact():
        found = torch.stack([M.mul(scales).std(0), M.mul(scales).norm(dim=0), M.mul(scales).norm(4, dim=0)]) / scales
    expected = torch.stack([M.double().std(0), M.double().norm(dim=0), M.double().norm(4, dim=0)])
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize(
    ("function", "shape", "dimension"),
    [
        (lambda x: x.mean(0), (7, 3, 5), 1),
        (lambda x: x.var(0).cumsum(1), (7, 3, 5), 1),
        (lambda x: torch.zeros(3, 5).index_add(0, torch.arange(6) // 2, x.flatten(0, 1)), (3, 2, 5), 0),
        (lambda x: (numbers(4, 5) @ x.t()).t(), (3, 5), 0),
        (lambda x: torch.einsum("ebi,eio->beo", x, numbers(7, 5, 4)), (7, 3, 5), 1),
    ],
)
def test_it_does_so_wherever_images_are(function: Call, shape: tuple[int, ...], dimension: int) -> None:
    x = numbers(*shape, seed=9).transpose(0, dimension) * torch.tensor([1e-6, 1.0, 300.0]).view(
        3, *[1] * (len(shape) - 1)
    )
    first = x * torch.tensor([1.0, 0.0, 0.0]).view(3, *[1] * (len(shape) - 1))
    with torch.no_grad(), samebits.exact():
        together, alone = (function(images.transpose(0, dimension))[0] for images in (x, first))
    assert torch.equal(together, alone) and together.any()


@pytest.mark.parametrize(
    ("error", "wrong"),
    [
        (ValueError, lambda: f.binary_cross_entropy(P[:, :1] / 3, P[:, 0] / 3)),
        (ValueError, lambda: f.binary_cross_entropy_with_logits(M[:, :1], P[:, 0] / 3)),
        (RuntimeError, lambda: f.binary_cross_entropy(P, P)),
        (ValueError, lambda: f.cross_entropy(M, LABELS[:3])),
        (ValueError, lambda: f.nll_loss(M, LABELS[:3])),
        (ValueError, lambda: f.cross_entropy(M, M[:1])),
        (ValueError, lambda: f.mse_loss(M, P, reduction="avg")),
        (RuntimeError, lambda: f.layer_norm(M, (3,))),
        (RuntimeError, lambda: M.index_add(0, LABELS[:3], M)),
        (ValueError, lambda: f.dropout(M, 1.5)),
    ],
)
def test_sizes_and_options_that_pytorch_refuses_are_refused(error: type[Exception], wrong: Call) -> None:
    for arithmetic in (samebits.native(), samebits.exact()):
        with arithmetic, pytest.raises(error):
            wrong()


def test_a_target_that_would_be_stretched_gets_a_warning() -> None:
    for loss in (f.mse_loss, f.l1_loss, f.huber_loss, f.smooth_l1_loss):
        with samebits.exact(), pytest.warns(UserWarning, match=r"target of size \(5,\) for input of size \(5, 1\)"):
            loss(M[:, :1], M[:, 0])


@pytest.mark.parametrize(
    "layer", [nn.LSTM(4, 6), nn.GRU(4, 6), nn.MultiheadAttention(4, 2), nn.LayerNorm(4), nn.Softmax(-1)], ids=repr
)
def test_what_pytorch_makes_contiguous_is_so(layer: nn.Module) -> None:
    with samebits.exact():
        x = numbers(3, 5, 4).transpose(0, 1)
        result = layer(x, x, x) if isinstance(layer, nn.MultiheadAttention) else layer(x)
    assert (result[0] if isinstance(result, tuple) else result).is_contiguous()


def test_of_one_image_dropout_drops_channels_too() -> None:
    for layer, shape in ((nn.Dropout1d(), (40, 30)), (nn.Dropout3d(), (20, 5, 6, 7))):
        with samebits.exact():
            found = layer(torch.ones(shape)).flatten(1)
        assert found.shape[0] == shape[0] and set(found.sum(1).tolist()) == {0.0, 2.0 * found.shape[1]}


def test_errors_of_pytorch_s_remain() -> None:
    with samebits.exact(), pytest.raises(ValueError, match="negative"):
        f.gaussian_nll_loss(M, P, -P)
    with samebits.exact(), pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm1d(4)(M[:1])
    for bad in (torch.nan, torch.inf, 3e20):
        weight = nn.Parameter(torch.ones(2))
        weight.grad = torch.tensor([bad, 1.0])
        with samebits.exact(), pytest.raises(RuntimeError, match="non-finite"):
            nn.utils.clip_grad_norm_([weight], 1.0, error_if_nonfinite=True)


def test_whole_floats_are_right_beyond_those_that_float32_has() -> None:
    with samebits.exact():
        found = torch.arange(0, 10**8, 333, dtype=torch.float32)
    assert torch.equal(found, torch.arange(0, 10**8, 333).float())


def test_a_sum_of_another_type_is_of_numbers_of_that_type() -> None:
    for numbers_, dtype in ((M, torch.int64), (ROWS, torch.int32), (ROWS, torch.float32), (MASK, None)):
        with samebits.exact():
            found = numbers_.sum(1, dtype=dtype)
        torch.testing.assert_close(found, numbers_.sum(1, dtype=dtype))
    with samebits.exact(), pytest.raises(samebits.NotExactError, match=r"sum .*complex64"):
        M.sum(dtype=torch.complex64)


def test_it_is_entered_again_within_itself_and_by_other_threads() -> None:
    def enter(context: Any) -> None:
        with context:
            M.sum()
        with samebits.exact(), pytest.raises(samebits.NotExactError):
            M.cumprod(0)

    exact = samebits.exact()
    with exact, ThreadPoolExecutor(1) as pool:
        for context in (exact, samebits.exact()):
            enter(context)
        with pytest.raises(samebits.NotExactError):
            M.cumprod(0)
        pool.submit(enter, samebits.exact()).result()


def test_tiny_numbers_are_kept_even_if_this_thread_flushes_them() -> None:
    threads, tiny = torch.get_num_threads(), torch.full((3,), 1e-39)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        with samebits.exact():
            kept = (tiny * 1).view(torch.int32)  # as floats they would equal 0
        lost = (tiny * 1).view(torch.int32)
        assert torch.equal(kept, tiny.view(torch.int32)) and not lost.any()
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def test_threads_that_flush_tiny_numbers_are_refused() -> None:
    program = (
        "import torch, samebits; torch.set_num_threads(2); torch.set_flush_denormal(True); torch.ones(10**6).mul(2)\n"
        "with samebits.exact(): pass"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "can't promise the same bits with PyTorch's threads" in done.stderr


@pytest.mark.parametrize("bad", [torch.float64, torch.float16, torch.int64])
def test_other_types_are_refused_by_name(bad: torch.dtype) -> None:
    with samebits.exact(), pytest.raises(samebits.NotExactError, match=f"linear .*it is of {str(bad)[6:]}"):
        f.linear(M.to(bad), P)


@pytest.mark.parametrize("arithmetic", [samebits.exact, samebits.native])
def test_a_worker_without_images_may_have_the_rest_of_their_shape_found(arithmetic, monkeypatch):
    monkeypatch.setattr(workers, "size", lambda: 2)
    none = torch.empty(0, 2, 3)
    with arithmetic():
        assert none.view(0, -1).shape == none.reshape((0, -1)).shape == torch.reshape(none, (0, -1)).shape == (0, 6)
        assert none.view(0, 3, -1).shape == (0, 3, 2)
        assert none.view(torch.int32).dtype == torch.int32
