"""What is covered: functions with inputs, and draws; their results are to be the same everywhere."""

import hashlib
from collections.abc import Callable, Iterator

import samebits
import torch
from torch import nn
from torch.distributions import Beta, Categorical, Dirichlet, Gamma, Normal, kl_divergence
from torch.nn import functional as f
from torch.utils.data import WeightedRandomSampler

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
SAID = torch.tensor([[1, 2, 2, 3], [4, 1, 0, 0], [1, 3, 1, 0]])
ones = torch.ones_like


def placed(x: torch.Tensor, v: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    y = x * 1
    y[MASK] = -1e3
    y[1:, ::2] = v[1]
    y[:, 3] = b
    y[4] = v[None]
    return y


def turned(x: torch.Tensor, theta: torch.Tensor, align_corners: bool = False, **options: str) -> torch.Tensor:
    grid = f.affine_grid(theta, [3, 4, 5, 8], align_corners=align_corners)
    return f.grid_sample(x, grid, align_corners=align_corners, **options)


def likelihood(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    normal, other = Normal(x, p), Normal(p, 2)
    chosen = Categorical(logits=x)
    return normal.log_prob(p) + kl_divergence(normal, other) + (chosen.log_prob(LABELS % 4) + chosen.entropy())[:, None]


CASES: dict[str, tuple[Call, tuple[torch.Tensor, ...]]] = {
    "conv1d": (lambda x, w: f.conv1d(x, w, padding=1), (numbers(3, 4, 7), W[..., 0])),
    "conv2d with stride, padding and dilation": (lambda x, w, b: f.conv2d(x, w, b, (2, 1), (1, 2), (2, 1)), (X, W, B)),
    "conv2d with groups": (lambda x, w: f.conv2d(x, w, groups=2), (X, numbers(6, 2, 3, 3))),
    "conv2d of channels": (lambda x, w: f.conv2d(x, w, padding="same", groups=4), (X, numbers(4, 1, 3, 3))),
    "conv_transpose2d": (lambda x, w, b: f.conv_transpose2d(x, w, b, 2, 1, 1), (X, numbers(4, 5, 3, 2), B)),
    "conv_transpose2d with groups": (lambda x, w: f.conv_transpose2d(x, w, groups=2), (X, numbers(4, 3, 3, 2))),
    "max_pool2d and ReLU in place": (lambda x: f.max_pool2d(x, 2).relu_(), (X,)),
    "max_pool2d that overlaps": (lambda x: f.max_pool2d(x, 3, stride=1, padding=1), (X,)),
    "max_unpool": (
        lambda x: torch.cat([
            f.max_unpool2d(*f.max_pool2d(x, 2, return_indices=True), 2, output_size=(7, 6)).tanh().flatten(),
            f.max_unpool1d(*f.max_pool1d(x[0], 3, 1, 1, return_indices=True), 3, 1, 1).flatten(),
            f.max_unpool3d(*f.max_pool3d(x[None], 2, return_indices=True), 2, output_size=(4, 7, 6)).flatten(),
        ]), (X,)
    ),
    "adaptive_max_pool2d": (lambda x: f.adaptive_max_pool2d(x, (3, 4)), (X,)),
    "adaptive_max_pool1d": (lambda x: f.adaptive_max_pool1d(x, 4), (X[0],)),
    "pooling in three dimensions": (lambda x: f.max_pool3d(x, 2) + f.avg_pool3d(x, 2), (X,)),
    "conv_transpose3d": (f.conv_transpose3d, (numbers(2, 4, 3, 3, 2), numbers(4, 2, 2, 1, 3))),
    "avg_pool2d that overlaps": (lambda x: f.avg_pool2d(x, 3, 1, 1), (X,)),
    "avg_pool2d without padding": (lambda x: f.avg_pool2d(x, 3, 2, 1, count_include_pad=False), (X,)),
    "avg_pool2d that goes beyond": (lambda x: f.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False), (X,)),
    "avg_pool2d that goes beyond the padding": (lambda x: f.avg_pool2d(x, (4, 3), (3, 2), 1, ceil_mode=True), (X,)),
    "avg_pool1d that begins within": (lambda x: f.avg_pool1d(x, 2, 3, 1, ceil_mode=True), (X[0],)),
    "adaptive_avg_pool2d of uneven parts": (lambda x: f.adaptive_avg_pool2d(x, (3, 4)), (X,)),
    "interpolate": (lambda x: f.interpolate(x, scale_factor=(2, 0.6)), (X,)),
    "interpolate by nearest-exact": (lambda x: f.interpolate(x, (9, 4), mode="nearest-exact"), (X,)),
    "interpolate by lines": (lambda x: f.interpolate(x[0], 11, mode="linear"), (X,)),
    "interpolate by planes": (lambda x: f.interpolate(x, scale_factor=1.7, mode="bilinear"), (X,)),
    "interpolate from corner to corner": (
        lambda x: f.interpolate(x, (9, 1), mode="bilinear", align_corners=True), (X,)
    ),
    "adaptive pooling in one and three dimensions": (
        lambda x: f.adaptive_avg_pool1d(x[0], 4)[:, 1] + f.adaptive_avg_pool3d(x, (4, 3, 4))[0, :, 1], (X[:, :4],)
    ),
    "interpolate by cubics": (lambda x: f.interpolate(x, (9, 4), mode="bicubic"), (X,)),
    "interpolate by cubics from corner to corner": (
        lambda x: f.interpolate(x, (3, 11), mode="bicubic", align_corners=True), (X,)
    ),
    "interpolate without aliases": (lambda x: f.interpolate(x, (3, 9), mode="bilinear", antialias=True), (X,)),
    "the same by cubics": (lambda x: f.interpolate(x, scale_factor=0.4, mode="bicubic", antialias=True), (X,)),
    "turned pictures": (turned, (X, numbers(3, 2, 3))),
    "turned pictures with their corners, to the border": (
        lambda x, t: turned(x, t, align_corners=True, padding_mode="border"), (X, numbers(3, 2, 3))
    ),
    "turned pictures by the nearest": (lambda x: turned(x, numbers(3, 2, 3).to(x), mode="nearest"), (X,)),
    "fold": (lambda x: f.fold(x, (4, 5), (2, 3), dilation=(2, 1), padding=1, stride=(1, 2)), (numbers(2, 12, 12),)),
    "bags": (lambda w: f.embedding_bag(ROWS, w), (M,)),
    "bags by frequency": (lambda w: f.embedding_bag(ROWS, w, mode="sum", scale_grad_by_freq=True), (M,)),
    "conv2d without padding, of one stride": (lambda x, w: f.conv2d(x, w, None, (2,), "valid", (1,)), (X, W)),
    "conv_transpose2d of one stride": (
        lambda x, w: f.conv_transpose2d(x, w, None, (2,), (1,)), (X, numbers(4, 5, 3, 2))
    ),
    "avg_pool2d of one size": (lambda x: f.avg_pool2d(x, (3,), (2,), (1,)), (X,)),
    "bags that begin somewhere": (
        lambda w, v: f.embedding_bag(LABELS, w, torch.tensor([0, 3, 3]), mode="sum", per_sample_weights=v), (M, B)
    ),
    "means of bags": (
        lambda w: f.embedding_bag(LABELS, w, torch.tensor([0, 2, 4, 5]), padding_idx=1, include_last_offset=True), (M,)
    ),
    "products of matrices": (lambda a, b: torch.linalg.multi_dot([a, torch.eye(4).to(a), b.mT, a]), (M, P)),
    "products along the last dimensions": (lambda a, b: torch.inner(a, b[:4]) @ torch.tensordot(b.T, a, 1), (M, P)),
    "products with vectors": (lambda a, v, b: torch.addmv(b, a, v, alpha=2)[:, None] + torch.addr(a, b, v), (M, V, B)),
    "products": (lambda x: x.cumprod(0) + torch.prod(x, 1, keepdim=True) + x[:3, :2].prod(), (M,)),
    "in order": (lambda x: x.median() + x.median(1)[0] + x.kthvalue(2, 1).values + torch.quantile(x, 0.3, 1), (M,)),
    "without those that are no numbers": (
        lambda x: (y := torch.where(ROWS_SEEN[:, :4], x, torch.nan)).nansum(0) + torch.nanmean(y, 0), (M,)
    ),
    "logaddexp": (lambda x, v: torch.logaddexp(x, v), (M * 9, V)),
    "put in places, added up": (lambda x, v: x.index_put((LABELS % 4, LABELS % 2), v, accumulate=True), (M, B)),
    "put in one row": (lambda x, v: x.index_copy(1, torch.tensor([2]), v[:, None]), (M, B)),
    "functions in place": (lambda x: x.mul(0.5).tanh_().mul(0.9).arcsin().mul(0.8).erfinv_(), (M,)),
    "powers and their like in place": (
        lambda x: (x * 2).pow_(2).sin_().sub_(0.1).sign_() * (x + 3).cumsum_(0).square_().log_(), (M,)
    ),
    "odds": (lambda x, y: torch.logit(x / 3, 0.1) + torch.xlogy(y.relu(), x) + torch.dist(x, y), (P, M)),
    "multi_margin_loss": (lambda x: f.multi_margin_loss(x, LABELS, 2, 0.7, V.abs().to(x)), (M,)),
    "multilabel_soft_margin_loss": (lambda x, y: f.multilabel_soft_margin_loss(x, y / 3), (M, P)),
    "triplet loss by an own distance": (
        lambda x, y, z: f.triplet_margin_with_distance_loss(x, y, z, distance_function=f.l1_loss), (P, M, M * P)
    ),
    "distributions": (likelihood, (M, P)),
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
    "embedding of limited length": (lambda w: f.embedding(ROWS, w.clone(), max_norm=0.9), (M,)),
    "embedding with padding": (lambda w: f.embedding(ROWS, w, padding_idx=2), (M,)),
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
    "prelu": (f.prelu, (X, V)),
    "softmax": (lambda x: f.softmax(x, 1), (M * 9,)),
    "log_softmax": (lambda x: x.log_softmax(-1), (M * 9,)),
    "logsumexp": (lambda x: torch.logsumexp(x, 1), (M * 9,)),
    "logsumexp of what can't be": (lambda x: torch.logsumexp(torch.cat([x, x[:1].detach() - torch.inf]), 1), (M,)),
    "attention to nothing": (lambda q, k, v: f.scaled_dot_product_attention(q, k, v, ROWS_SEEN), (Q, K, D)),
    "causal attention": (lambda q, k, v: f.scaled_dot_product_attention(q, k, v, is_causal=True), (Q, K, D)),
    "attention with a mask": (f.scaled_dot_product_attention, (Q, K, D, numbers(5, 6, seed=9))),
    "matmul of vectors": (torch.matmul, (V, V + 1)),
    "matmul of matrix and vector": (torch.matmul, (M, V)),
    "matmul of stacks": (lambda a, b: a @ b.mT, (Q, K)),
    "mm": (lambda a, b: torch.mm(a, b.t()), (M, P)),
    "addmm": (lambda a, b, c: torch.addmm(a, b, c.t()), (B, M, P)),
    "einsum": (lambda a, b: torch.einsum("bhqd,bhkd->bqhk", a, b), (Q, K)),
    "einsum of three": (lambda a, b, c: torch.einsum("zij, ij, kj", a, b, c), (Q[0], M, P)),
    "einsum of diagonals": (lambda a, b: torch.einsum("ii,ij->ij", a, b), (M[:4], P[:4])),
    "products of two": (lambda a, b: torch.outer(a, b) + torch.trace(a[:, None] * a) + torch.vdot(a, a), (V, B)),
    "baddbmm": (lambda a, b, c: torch.baddbmm(a, b, c.mT, beta=0.5, alpha=2), (numbers(3, 5, 6), Q[0], K[0])),
    "bilinear": (f.bilinear, (M, P, numbers(3, 4, 4), B[:3])),
    "linear of stacks": (f.linear, (Q, M, B)),
    "sum": (torch.sum, (M,)),
    "cumsum": (lambda x: x.cumsum(0) + torch.cumsum(x, dim=-1), (M,)),
    "scatter_add": (lambda x, y: x.scatter_add(0, ROWS, y[:2, :3]) + ones(x).index_add_(0, LABELS, x), (M, P)),
    "scatter_add in a row": (lambda x, y: x.clone().scatter_add_(1, ROWS % 4, src=y[:2, :3]), (M, P)),
    "index_add": (lambda x, y: x.index_add(1, LABELS[:4] % 4, y, alpha=0.3), (M, P)),
    "sum of dimensions": (lambda x: x.sum((0, -1), keepdim=True), (X,)),
    "sum of no dimensions, which are all": (lambda x: x.sum([]), (M,)),
    "mean": (lambda x: x.mean(1), (X,)),
    "var": (lambda x: x.var((0, 2)), (X,)),
    "var of all": (lambda x: torch.var(x, unbiased=False), (X,)),
    "std": (lambda x: x.std(1, keepdim=True), (X,)),
    "std of one value": (lambda x: x.std(1) + x.norm(dim=1), (M * 0,)),
    "std and mean": (lambda x: sum(torch.std_mean(x, 1)), (M,)),
    "norms of linalg": (lambda x: torch.linalg.norm(x) + torch.linalg.norm(x, ord=1, dim=1), (M,)),
    "norms of vectors": (lambda x: torch.linalg.vector_norm(x, ord=torch.inf, dim=0), (M,)),
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
    "broken powers": (lambda x: x**0.5 + x**1.5 + x**-0.3 + 3.7**x + 2 ** (x - 1), (P,)),
    "powers of two tensors": (
        lambda x, y, v: (x**y - torch.pow(x, v) + (-x) ** torch.tensor([2, 3, 0, 1]).to(x)), (P, M, V)
    ),
    "a power of two numbers": (lambda x, y: x.mean() ** y.mean(), (P, M)),
    "scatter_reduce": (
        lambda x, y: torch.stack([
            (x + 0.25 * (not own)).scatter_reduce(0, ROWS[:, [0, 1, 2, 1]], y[:2], reduce=way, include_self=own)
            for way in ("sum", "mean", "amax", "amin") for own in (True, False)
        ]), (M.round(), (P * 2).round())
    ),
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
    "unfold": (lambda x: x.unfold(1, 3, 1), (M,)),
    "unfold of images": (lambda x: f.unfold(x, 2, padding=(1, 0)), (X,)),
    "pad": (lambda x: f.pad(x, (1, 2)), (M,)),
    "pad by reflection": (lambda x: f.pad(x, (1, 2, 2, 1), mode="reflect"), (X,)),
    "pad by the edge": (lambda x: f.pad(x, (1, 2, 2, 1), mode="replicate"), (X,)),
    "pad by the other end": (lambda x: f.pad(x, (1, 2, 2, 1), mode="circular"), (X,)),
    "cat, stack and where": (lambda x, y: torch.where(MASK, torch.stack([x, y]).sum(0), torch.cat([x, y])[:5]), (M, P)),
    "lerp and addcmul": (lambda x, y: torch.lerp(x, y, 0.3) + torch.addcmul(x, x, y, value=0.5), (M, P)),
    "largest": (lambda x: x.max(1).values, (M,)),
    "largest of two": (lambda x, v, b: torch.max(x, v) + x.min(b[:, None]) + x.clamp(min=v), (M, V, B)),
    "largest of several": (lambda x: x.amax((0, 2)) + x.amin((1, 2, 3)).sum(), (X,)),
    "sorted": (lambda x: x.sort(0, descending=True).values + x.sort(1)[0], (M,)),
    "largest three of equal ones": (lambda x: torch.topk(x.round(), 3, 0)[0] + x.topk(3, 0, False).values, (M,)),
    "stretched factors": (lambda x, v, b: x.lerp(v, 0.3) + torch.addcdiv(x, v, b[:, None].exp(), value=2), (M, V, B)),
    "put in places": (placed, (M, V, B)),
    "by other names": (lambda x: torch.concatenate([x.clip(-1, 1).fliplr(), x]).ravel().diag().triu(), (M,)),
    "smoothed weighted cross_entropy": (lambda x: f.cross_entropy(x, LABELS, V.abs().to(x), label_smoothing=0.2), (M,)),
    "summed cross_entropy": (lambda x: f.cross_entropy(x, LABELS, reduction="sum"), (M,)),
    "cross_entropy of labels that are bytes": (lambda x: f.cross_entropy(x, LABELS.byte()), (M,)),
    "each cross_entropy": (lambda x: f.cross_entropy(x, LABELS, reduction="none"), (M,)),
    "cross_entropy that ignores": (lambda x: f.cross_entropy(x, LABELS, ignore_index=1), (M,)),
    "cross_entropy that ignores what can't be": (lambda x: f.cross_entropy(x, LABELS, ignore_index=1), (IMPOSSIBLE,)),
    "cross_entropy of probabilities": (lambda x, y: f.cross_entropy(x, y), (M, P)),
    "cross_entropy of pictures": (lambda x: f.cross_entropy(x, torch.full((3, 7, 6), 2)), (X,)),
    "nll_loss of one image": (lambda x: f.nll_loss(x, LABELS[1], reduction="none"), (V,)),
    "mse_loss": (f.mse_loss, (M, P)),
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
    "gaussian_nll_loss": (lambda x, y, v: f.gaussian_nll_loss(x, y, v, full=True, reduction="none"), (M, P, B.abs())),
    "multilabel_margin_loss": (lambda x: f.multilabel_margin_loss(x, torch.tensor([[2, 0, -1, 1]] * 5)), (M,)),
    "multilabel_margin_loss of one image": (
        lambda x: f.multilabel_margin_loss(x, torch.tensor([3, -1, 0, -1]), reduction="sum"), (V,)
    ),
    "ctc_loss": (lambda x: f.ctc_loss(x.log_softmax(2), SAID, (9, 7, 8), (4, 2, 3)), (numbers(9, 3, 6) * 2,)),
    "ctc_loss in one row, of what can't be said": (
        lambda x: f.ctc_loss(x.log_softmax(2), SAID.view(-1)[:8], torch.tensor([9, 2, 8]), torch.tensor([4, 3, 1]),
                             blank=5, reduction="sum", zero_infinity=True), (numbers(9, 3, 6) * 2,)
    ),
    "ctc_loss of nothing": (
        lambda x: f.ctc_loss(x.log_softmax(2), SAID.where(SAID > 0, -1), (0, 7, 0), (0, 2, 1), zero_infinity=True),
        (numbers(9, 3, 6),)
    ),
    "ctc_loss where nothing is to be said": (
        lambda x: f.ctc_loss(x.log_softmax(2), SAID[:, :0], (9, 7, 1), (0, 0, 0), reduction="none"), (numbers(9, 3, 6),)
    ),
    "ctc_loss of one text": (
        lambda x: f.ctc_loss(x.log_softmax(1), SAID[0, :3], torch.tensor(8), torch.tensor(3), reduction="none"),
        (numbers(9, 6) * 2,),
    ),
    "kl_div": (lambda x, y: f.kl_div(x, y, reduction="batchmean"), (M, P)),
    "binary_cross_entropy": (f.binary_cross_entropy, (P / 3, M.abs() / 3)),
    "binary_cross_entropy of a saturated sigmoid": (
        lambda x: f.binary_cross_entropy(x.sigmoid(), ones(x)), (torch.tensor([60.0, -3.0, 1.0]),)
    ),
    "binary_cross_entropy_with_logits": (f.binary_cross_entropy_with_logits, (M * 9, P / 3)),
}  # fmt: skip


def results(function: Call, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """The result, and the gradients of all inputs, given an uneven one of the result."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    result = function(*leaves)
    weights = (torch.arange(result.numel()).remainder(7) - 2.5).view(result.shape).to(result)
    result.backward(weights)
    return [result.detach(), *(x.grad if x.grad is not None else torch.zeros_like(x) for x in leaves)]


EVEN = torch.arange(-(2**14), 2**14 + 1) / 2**14
SPREAD: dict[str, Callable[[], torch.Tensor]] = {
    "magnitudes of randn": lambda: torch.randn(40_000).abs(),
    "weights of a layer": lambda: nn.Linear(200, 200).weight.detach() * 200**0.5,
    "exponential": lambda: EVEN.clone().exponential_(2.0),
    "normal": lambda: torch.normal(EVEN + 1, 0.5),
    "bernoulli": lambda: torch.bernoulli(EVEN.abs()),
    "multinomial": lambda: torch.tensor([*WeightedRandomSampler([0.1, 0, 0.2, 0.7], 40_000)]).float(),
    "multinomial without replacement": lambda: torch.multinomial(P.repeat(8_000, 1), 2)[:, 1].float(),
    "gamma": lambda: Gamma(P.flatten() * 2, 1.5).sample((2_000,)),
    "beta": lambda: Beta(0.4, 0.7).sample((40_000,)),
    "dirichlet of small shapes": lambda: Dirichlet(torch.tensor([0.01, 0.02, 0.05])).sample((20_000,)) @ V[:3],
    "gumbel": lambda: f.gumbel_softmax(P.repeat(8_000, 1), tau=0.7) @ V,
    "alpha_dropout": lambda: f.alpha_dropout(EVEN, 0.3, training=True),
    "rrelu": lambda: f.rrelu(EVEN, training=True),
}


def digests() -> Iterator[str]:
    """For each its name and a hash of its results and gradients, or of what it draws."""
    for name, (function, inputs) in CASES.items():
        with samebits.exact():
            yield f"{name}: {hashed(results(function, inputs))}"
    for name, draw in SPREAD.items():
        torch.manual_seed(3)
        with samebits.exact():
            yield f"{name}: {hashed([draw()])}"


def hashed(tensors: list[torch.Tensor]) -> str:
    return hashlib.sha256(b"".join(x.contiguous().numpy().tobytes() for x in tensors)).hexdigest()
