"""Each function that is covered, values and gradients, beside PyTorch's own in float64."""

import itertools
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import samebits
import torch
from samebits import losses
from samebits.shared import tensors_of
from samebits.tests import cases
from samebits.tests.cases import CASES, LABELS, MASK, ROWS, SPREAD, Call, M, P, V, X, numbers, results
from torch import nn
from torch.nn import functional as f


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_float64(name: str) -> None:
    function, inputs = CASES[name]
    with samebits.exact():
        found = results(function, inputs)
    expected = results(function, tuple(x.double() for x in inputs))
    assert all(x.dtype == torch.float32 for x in found)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=3e-5)


def penalized(function: Call, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """The gradients by all inputs of the cubes of the gradients by them."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    result = function(*leaves)
    weights = (torch.arange(result.numel()).remainder(7) - 2.5).view(result.shape).to(result)
    firsts = torch.autograd.grad(result, leaves, weights, create_graph=True, allow_unused=True)
    parts = [(x * x * x).sum() for x in firsts if x is not None and x.grad_fn is not None]
    sum(parts, sum(x.sum() * 0 for x in leaves)).backward()
    return [x.grad for x in leaves]  # type: ignore[misc]


# Of which PyTorch has no gradients of gradients, or another than of the same function written out, or an infinite one.
WITHOUT = (
    *("bags that begin somewhere", "hardsigmoid", "multi_margin_loss", "multilabel_margin_loss"),
    *("multilabel_margin_loss of one image", "length and direction", "lengths and signs", "std of one value"),
    *("norms of other orders", "powers of 0", "broken powers of 0"),
    *(name for name in CASES if name.startswith("ctc_loss")),
)


@pytest.mark.parametrize("name", [name for name in CASES if name not in WITHOUT])
def test_gradients_of_gradients_are_those_of_float64(name: str) -> None:
    function, inputs = CASES[name]
    with samebits.exact():
        found = penalized(function, inputs)
    for one, other in zip(found, penalized(function, tuple(x.double() for x in inputs)), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-4 * max(1.0, other.abs().max().item()))


@pytest.mark.filterwarnings("ignore:Using backward")  # which keeps a graph in each gradient
@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Sigmoid()])
def test_hooks_see_a_gradient_once_that_is_to_have_one(layer: nn.Module) -> None:
    x, seen = numbers(5, 4).requires_grad_(), list[torch.Tensor]()
    with samebits.exact():
        h = x * 2
        h.register_hook(lambda gradient: [seen.append(gradient), -gradient][1])
        h.retain_grad()
        (layer(h) ** 3).mean().backward(create_graph=True)
    (gradient,) = seen
    assert torch.equal(h.grad, -gradient) and torch.equal(x.grad, -gradient * 2)  # type: ignore[arg-type, operator]


@pytest.mark.parametrize("name", [name for name in dir(f) if name.endswith("_loss")])
def test_every_loss_of_pytorch_is_covered(name: str) -> None:
    assert f"f.{name}" in Path(cases.__file__).read_text(encoding="utf-8")


def squares(*found: Any) -> torch.Tensor:
    """The mean of all numbers' squares, by weights that are in their order."""
    everything = torch.cat([part.flatten() for part in tensors_of(found)])
    return (everything * everything * (torch.arange(len(everything)) + 1)).mean()


def of_all(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Of all that a layer gives for three texts of four places; of the first, attention ignores the last place."""
    if isinstance(layer, nn.MultiheadAttention):
        x = x if layer.batch_first else x.transpose(0, 1)
        return squares(layer(x, x, x, key_padding_mask=torch.arange(12).view(3, 4) == 3))
    return squares(layer(x[0] if isinstance(layer, nn.RNNCellBase) else x))


def packed(layer: nn.RNNBase, x: torch.Tensor) -> torch.Tensor:
    """Of texts of unlike lengths."""
    texts = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([2, 4, 1]), batch_first=True, enforce_sorted=False)
    found, last = layer(texts)
    return squares(nn.utils.rnn.pad_packed_sequence(found)[0], last)


def slope_of_slopes(network: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """As where a network is to solve a differential equation: the gradient of this is a third derivative."""
    h = network[:-1](x)
    centered = h - h.mean(1, keepdim=True)  # as layer_norm, of which PyTorch's third derivatives are wrong
    normalized = centered / ((centered * centered).mean(1, keepdim=True) + 1e-5).sqrt()
    loss = f.cross_entropy(network[-1](normalized), LABELS[1:4] % 3)
    (first,) = torch.autograd.grad(loss, x, create_graph=True)
    (second,) = torch.autograd.grad((first * first).sum(), x, create_graph=True)
    return (second * second).sum()


LAYERS: dict[str, tuple[Callable[[], nn.Module], Call]] = {
    "MultiheadAttention": (lambda: nn.MultiheadAttention(6, 3), of_all),
    "MultiheadAttention, images first": (lambda: nn.MultiheadAttention(6, 3, batch_first=True), of_all),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True), of_all),
    "LSTM of two layers, both ways, images first": (lambda: nn.LSTM(6, 5, 2, True, True, bidirectional=True), of_all),
    "LSTM with projections": (lambda: nn.LSTM(6, 5, 2, bidirectional=True, proj_size=3), of_all),
    "GRU without biases": (lambda: nn.GRU(6, 5, 2, bias=False), of_all),
    "RNN of ReLU": (lambda: nn.RNN(6, 5, nonlinearity="relu", batch_first=True), of_all),
    "LSTMCell": (lambda: nn.LSTMCell(6, 5), of_all),
    "GRUCell": (lambda: nn.GRUCell(6, 5), of_all),
    "BatchNorm2d": (lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.BatchNorm2d(2)), of_all),
    "packed LSTM": (lambda: nn.LSTM(6, 5, 2, bidirectional=True), packed),
    "packed GRU": (lambda: nn.GRU(6, 5, 2, bidirectional=True), packed),
    "packed RNN": (lambda: nn.RNN(6, 5, 2, bidirectional=True), packed),
    "third derivatives": (
        lambda: nn.Sequential(
            *(nn.Conv1d(4, 4, 2, padding=1, groups=2), nn.SiLU(), nn.ConvTranspose1d(4, 3, 2, 2), nn.Tanh()),
            *(nn.Flatten(), nn.Linear(42, 3)),
        ),
        slope_of_slopes,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_their_parameters_and_buffers_are_those_of_float64(name: str) -> None:
    make, loss = LAYERS[name]

    def trained(arithmetic: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        network, x = make(), numbers(3, 4, 6).to(dtype).requires_grad_()
        samebits.initialize(network, torch.Generator().manual_seed(3))
        network.to(dtype)
        with arithmetic:
            loss(network, x).backward()
        gradients = {key: value.grad for key, value in (("x", x), *network.named_parameters())}
        return gradients | dict(network.named_buffers())  # type: ignore[return-value]

    found = trained(samebits.exact(), torch.float32)
    expected = trained(nullcontext(), torch.float64)
    assert found.keys() == expected.keys()
    for key, value in found.items():
        other = expected[key].double()
        torch.testing.assert_close(value.double(), other, rtol=1e-3, atol=1e-3 * min(1, other.abs().max()), msg=key)


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
        for how in ({"size": new}, {"scale_factor": new / old}):
            with samebits.exact():
                found = f.interpolate(pixels, **how)
            assert torch.equal(found, f.interpolate(pixels, **how))


ODD = torch.tensor([[1.0, torch.nan, 3.0], [4.0, 5.0, 2.0]])
INFINITE = torch.tensor([torch.inf, -torch.inf, 1.0])
ADAPTIVE = nn.AdaptiveLogSoftmaxWithLoss(4, 20, [5, 10], div_value=2.0)  # of whose clusters one has one label only
SMOOTH = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 4), nn.Sigmoid())
WHOLE, PLACES = torch.tensor([2**24 + 1, 2, 3]), torch.tensor([0, 0, 1])


@pytest.mark.parametrize(
    "function",
    [
        lambda: torch.cat(ODD.median(1)),
        lambda: torch.tensor(1.5).mean(0) + torch.tensor(1.5).var(0, correction=0),
        lambda: torch.stack(
            [ODD.median(), ODD.quantile(0.3), torch.tensor(2.0).prod(0), torch.tensor(3.0).median(-1)[0]]
        ),
        lambda: torch.arange(1, 6).cumprod(0, dtype=torch.float32),
        lambda: torch.arange(1.5, 4, 0.7, dtype=torch.int64),
        lambda: M.cumsum(0, dtype=torch.int64),
        lambda: torch.linspace(start=0, end=3, steps=4, dtype=torch.float32),
        lambda: torch.logaddexp(INFINITE, INFINITE),
        lambda: torch.stack([INFINITE[::2].sum(), INFINITE[1:].mean(), INFINITE[::2].norm(), INFINITE.sum()]),
        lambda: torch.cat([M[:0].logsumexp(0), M[:0].cumprod(0)[:, 0], f.group_norm(X[:0], 2).flatten()]),
        lambda: M[:0].scatter_add(1, torch.zeros_like(M[:0], dtype=torch.int64), M[:0]),
        lambda: torch.pow(V, 2, out=torch.empty(4)) + torch.gt(V, 0.5, out=torch.empty(4)),
        lambda: torch.cat([f.rrelu(M), nn.CrossMapLRN2d(3)(X)[0, 0, :5, :4]]),
        lambda: torch.normal(0.0, 1.0, (2,), dtype=torch.float32, device="cpu") * 0,
        lambda: torch.tensor(2.0).prod(0, keepdim=True),
        lambda: ADAPTIVE(M, torch.tensor([1, 7, 12, 19, 4])).output,
        lambda: torch.func.jacrev(SMOOTH)(V),
        lambda: torch.func.jacrev(torch.func.jacrev(lambda x: SMOOTH(x).sum()))(V),
        lambda: torch.arange(3).clamp(min=torch.tensor([0.5, 0.5, 3.5])),
        lambda: torch.addmv(ODD[:, 1], M[:2], M[2], beta=0),
        lambda: f.embedding_bag(torch.tensor([[0, 1]]), torch.stack([INFINITE, ODD[1]]), mode="sum", padding_idx=0)[
            :, 2
        ],
        lambda: f.interpolate(X, (1, 3), mode="bilinear", antialias=True, align_corners=True),
        lambda: f.interpolate(X, scale_factor=(1.5, 1.3), mode="bilinear"),
        lambda: torch.stack([ODD[1], f.interpolate(ODD[1:, None], 3)[0, 0].neg_(), ODD[1]]),
        lambda: torch.tensor([1.0, 2.0]).square_().eq_(4),
        lambda: f.adaptive_avg_pool2d(X, (None, 0)),
        lambda: torch.addmv(M[:, 0], mat=M, vec=M[0]),
        lambda: torch.norm_except_dim(M, 2, 1),
        lambda: torch.cat([each.flatten() for each in (nn.Softmax()(M), nn.LogSoftmax()(M), nn.Softmax()(X[0]))]),
        *(partial(WHOLE.scatter_reduce, 0, PLACES, WHOLE + 3, way) for way in ("sum", "mean", "amax", "amin", "prod")),
        *(partial(M.sum, 1, dtype=torch.int64), partial(ROWS.sum, 1, dtype=torch.int32)),
        *(partial(ROWS.sum, 1, dtype=torch.float32), partial(MASK.sum, 1)),
    ],
)
@pytest.mark.filterwarnings("ignore:Implicit dimension")
def test_of_odd_numbers_and_sizes_it_gives_what_pytorch_gives(function: Callable[[], torch.Tensor]) -> None:
    with samebits.exact():
        found = function()
    torch.testing.assert_close(found, function(), equal_nan=True)


def test_a_network_may_move_within_the_context() -> None:
    network = nn.Linear(4, 3)
    before = network.weight.detach().clone()
    with samebits.exact():
        network.to(torch.float64).to("cpu", torch.float32)
    assert torch.equal(network.weight, before)


def drawn() -> list[torch.Tensor]:
    torch.manual_seed(5)
    layers = [nn.Linear(5, 4), nn.Conv2d(2, 3, 3), nn.LSTM(5, 3), nn.Embedding(7, 3), nn.MultiheadAttention(6, 2)]
    own = [nn.init.xavier_normal_(torch.empty(3, 4)), nn.init.uniform_(torch.empty(5), -3, 1), torch.randn(2, 3)]
    return [*(p.detach() for layer in layers for p in layer.parameters()), *own, torch.randn_like(M)]


def test_what_is_drawn_within_it_has_pytorch_s_form_and_depends_on_the_seed() -> None:
    with samebits.exact():
        found, again = drawn(), drawn()
    assert all(map(torch.equal, found, again))
    assert [(x.shape, x.requires_grad) for x in found] == [(x.shape, x.requires_grad) for x in drawn()]


@pytest.mark.parametrize("name", SPREAD)
def test_draws_have_the_moments_of_pytorch_s(name: str) -> None:
    def moments(arithmetic: Any) -> torch.Tensor:
        torch.manual_seed(7)
        with arithmetic:
            drawn = SPREAD[name]()
        return torch.stack([(drawn**power).mean() for power in (1, 2, 3)])

    found = moments(samebits.exact())
    assert torch.equal(found, moments(samebits.exact()))
    torch.testing.assert_close(found, moments(nullcontext()), rtol=0.05, atol=0.01)


@pytest.mark.parametrize("size", [3e38, 1e-45])
def test_what_has_no_probability_is_not_drawn(size: float) -> None:
    with samebits.exact():
        found = torch.multinomial(torch.tensor([0.0, size, size, 0.0]), 999, replacement=True)
    assert set(found.tolist()) == {1, 2}


def test_what_is_drawn_of_no_number_is_none() -> None:
    with samebits.exact():
        found = torch._standard_gamma(torch.tensor([torch.nan, -3.0, 0.0, torch.inf, 2.0]))
    assert found.isnan().tolist() == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("function", "weight"),
    [
        (f.linear, torch.ones(2, 4)),
        (f.conv1d, torch.ones(2, 1, 3)),
        (f.conv_transpose1d, torch.ones(1, 2, 3)),
        (torch.bmm, torch.ones(1, 4, 3)),
        (lambda x, weight: f.conv1d(x, weight, torch.full((2,), -0.0)), torch.ones(2, 1, 3)),
    ],
)
def test_a_sum_of_products_that_are_all_minus_0_is_0(function: Call, weight: torch.Tensor) -> None:
    """Its sign is the library's choice: it may begin with 0, or with the first product."""
    x = -torch.ones(1, 1, 4)
    with samebits.exact():
        y = function(x * 0, -weight)
        _, *gradients = results(lambda x, weight: function(x, weight) * 0, (x, -weight))
    assert not any(part.signbit().any() for part in (y, *gradients))


def test_equal_ones_stay_in_their_order() -> None:
    """Which one comes first would depend on the processor's instructions."""
    x = torch.arange(4000.0).remainder(7).view(2, -1)
    with samebits.exact():
        found = x.sort(1)[1], x.argsort(1), x.topk(2000, 1, largest=False)[1], x.long().sort(1)[1]
    expected = x.sort(dim=1, stable=True)[1]
    assert all(torch.equal(one, expected) for one in found)


def test_of_many_probabilities_few_are_worked_out_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As each would take a tenth of a millisecond."""
    anew = list[int]()
    true_value = losses.log_share
    monkeypatch.setattr(losses, "log_share", lambda *where: [anew.append(1), true_value(*where)][1])
    with samebits.exact():
        numbers(60_000, 10).softmax(1)
    assert len(anew) < 30


@pytest.mark.parametrize(
    ("layer", "shape", "channels"),
    [(nn.Dropout2d(), X.shape, 12), (nn.Dropout1d(), (40, 30), 40), (nn.Dropout3d(), (20, 5, 6, 7), 20)],
)
def test_dropout_drops_whole_channels_also_of_one_image(
    layer: nn.Module, shape: tuple[int, ...], channels: int
) -> None:
    torch.manual_seed(1)
    with samebits.exact():
        found = layer(torch.ones(shape)).view(channels, -1)
    assert set(found.sum(1).tolist()) == {0.0, 2.0 * found.shape[1]}


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


@pytest.mark.parametrize(
    ("function", "shape", "dimension"),
    [
        (lambda x: x.mean(0) + x.norm(dim=0) + x.norm(4, dim=0), (7, 3, 5), 1),
        (lambda x: x.var(0).cumsum(1), (7, 3, 5), 1),
        (lambda x: torch.zeros(3, 5).index_add(0, torch.arange(6) // 2, x.flatten(0, 1)), (3, 2, 5), 0),
        (lambda x: (numbers(4, 5) @ x.t()).t(), (3, 5), 0),
        (lambda x: torch.einsum("ebi,eio->beo", x, numbers(7, 5, 4)), (7, 3, 5), 1),
    ],
)
def test_images_have_own_grids_wherever_they_are(function: Call, shape: tuple[int, ...], dimension: int) -> None:
    x = numbers(*shape, seed=9).transpose(0, dimension) * torch.tensor([1e-6, 1.0, 300.0]).view(
        3, *[1] * (len(shape) - 1)
    )
    first = x * torch.tensor([1.0, 0.0, 0.0]).view(3, *[1] * (len(shape) - 1))
    with torch.no_grad(), samebits.exact():
        together, alone = (function(images.transpose(0, dimension))[0] for images in (x, first))
    assert torch.equal(together, alone) and together.any()


@pytest.mark.parametrize("images", [1, 5_000])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.zeros(len(x)).index_add(0, torch.arange(x.numel()) // 3, x.flatten()),
        lambda x: f.fold(torch.diag_embed(x).flip(1), (1, 5), (1, 3))[:, 0, 0, 2],
        lambda x: f.embedding_bag(torch.arange(x.numel()), x.reshape(-1, 1), torch.arange(0, x.numel(), 3), mode="sum"),
    ],
)
def test_a_sum_of_three_numbers_keeps_51_bits_however_many_sums_there_are(function: Call, images: int) -> None:
    with samebits.exact():
        found = function(torch.tensor([[1.0, 2.0**-24, 2.0**-40]]).expand(images, 3))
    assert found.flatten()[0].item() == 1 + 2.0**-23  # less would be halfway between two float32


@pytest.mark.parametrize(
    ("error", "wrong"),
    [
        (RuntimeError, lambda: torch.arange(5, 0)),
        (RuntimeError, lambda: torch.arange(0, 5, 0)),
        (IndexError, lambda: M.sum(2)),
        (IndexError, lambda: V.softmax(1)),
        (RuntimeError, lambda: f.cross_entropy(M, P[:, 0])),
        (RuntimeError, lambda: f.binary_cross_entropy(P, P)),
        (RuntimeError, lambda: f.binary_cross_entropy(P * torch.nan, P)),
        (RuntimeError, lambda: f.layer_norm(M, (3,))),
        (RuntimeError, lambda: M.index_add(0, LABELS[:3], M)),
        (RuntimeError, lambda: torch.multinomial(M * 0, 3)),
        (RuntimeError, lambda: torch.multinomial(P / 0, 3, replacement=True)),
        (RuntimeError, lambda: torch.multinomial(-P, 3, replacement=True)),
        (RuntimeError, lambda: M.clone().normal_(0, -1)),
        (RuntimeError, lambda: M.clone().exponential_(0)),
        (RuntimeError, lambda: M.clone().uniform_(2, 1)),
        (RuntimeError, lambda: torch.bernoulli(P * 9)),
        (RuntimeError, lambda: torch.normal(M, -P)),
        (RuntimeError, lambda: M.kthvalue(0)),
        ((IndexError, RuntimeError), lambda: M.index_copy(0, LABELS, M[:3])),
        (RuntimeError, lambda: f.affine_grid(X[0, :2, :2, :3], [3, 1, 4, 4], align_corners=False)),
        (RuntimeError, lambda: f.fold(X[:, 0], (4, 5), (2, 2))),
        (RuntimeError, lambda: f.ctc_loss(X[0], ROWS.new_ones(7, 4), [5] * 7, [1] * 7)),
        (RuntimeError, lambda: f.ctc_loss(X[0], ROWS.new_ones(7, 4), [4] * 7, [5] * 7)),
    ],
)
def test_sizes_and_options_that_pytorch_refuses_are_refused(error: type[Exception], wrong: Call) -> None:
    for arithmetic in (nullcontext(), samebits.exact()):
        with arithmetic, pytest.raises(error):
            wrong()


@pytest.mark.parametrize(
    "layer", [nn.LSTM(4, 6), nn.GRU(4, 6), nn.MultiheadAttention(4, 2), nn.LayerNorm(4), nn.Softmax(-1)], ids=repr
)
def test_what_pytorch_makes_contiguous_is_so(layer: nn.Module) -> None:
    with samebits.exact():
        x = numbers(3, 5, 4).transpose(0, 1)
        result = layer(x, x, x) if isinstance(layer, nn.MultiheadAttention) else layer(x)
    assert (result[0] if isinstance(result, tuple) else result).is_contiguous()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 3e20])
def test_a_norm_that_is_not_finite_is_an_error_where_it_is_to_be_one(bad: float) -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([bad, 1.0])
    with samebits.exact(), pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_([weight], 1.0, error_if_nonfinite=True)


def test_whole_floats_are_right_beyond_those_that_float32_has() -> None:
    with samebits.exact():
        found = torch.arange(0, 10**8, 333, dtype=torch.float32)
    assert torch.equal(found, torch.arange(0, 10**8, 333).float())


def test_it_may_be_entered_again_within_itself() -> None:
    exact = samebits.exact()
    with exact:
        for context in (exact, samebits.exact()):
            with context:
                M.sum()
            with pytest.raises(samebits.NotExactError):
                torch.linalg.inv(M[:4])


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
    with samebits.exact(), pytest.raises(samebits.NotExactError, match=f"it is of .*{str(bad)[6:]}"):
        f.linear(M.to(bad), P)
