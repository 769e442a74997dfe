"""The optimizers' steps against NumPy's float32, one operation at a time; and what is refused, unseen."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from stages.lib import numerics, steps
from stages.lib.errors import PipelineError

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

F = np.float32
Steps = Iterator[np.ndarray]


def sgd(
    w: np.ndarray, gradients: list[np.ndarray], lr: float, momentum: float = 0, weight_decay: float = 0,
    nesterov: bool = False,
) -> Steps:  # fmt: skip
    velocity = None
    for g in gradients:
        g = g + w * F(weight_decay) if weight_decay else g
        if momentum:
            velocity = g if velocity is None else velocity * F(momentum) + g
            g = g + velocity * F(momentum) if nesterov else velocity
        w = w + g * F(-lr)
        yield w


def adam(
    w: np.ndarray, gradients: list[np.ndarray], lr: float, weight_decay: float = 0, amsgrad: bool = False,
    decoupled: bool = False,
) -> Steps:  # fmt: skip
    mean, square, largest, products = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w), [1.0, 1.0]
    for g in gradients:
        if decoupled:
            w = w * F(1 - lr * weight_decay)
        elif weight_decay:
            g = g + w * F(weight_decay)
        mean = mean + (g - mean) * F(1 - 0.9)
        square = square * F(0.999) + (g * g) * F(1 - 0.999)
        products = [products[0] * 0.9, products[1] * 0.999]
        largest = np.maximum(largest, square) if amsgrad else square
        denominator = np.sqrt(largest) / F(math.sqrt(1 - products[1])) + F(1e-8)
        w = w + (mean / denominator) * F(-(lr / (1 - products[0])))
        yield w


def adamw(
    w: np.ndarray, gradients: list[np.ndarray], lr: float, weight_decay: float = 0.01, amsgrad: bool = False
) -> Steps:
    return adam(w, gradients, lr, weight_decay, amsgrad, decoupled=True)


REFERENCES: dict[type[torch.optim.Optimizer], Callable[..., Steps]] = {
    torch.optim.SGD: sgd, torch.optim.Adam: adam, torch.optim.AdamW: adamw,
}  # fmt: skip


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (torch.optim.SGD, {}),
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.SGD, {"momentum": 0.7, "nesterov": True}),
        (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.03}),
        (torch.optim.SGD, {"weight_decay": 0.1}),
        (torch.optim.Adam, {}),
        (torch.optim.Adam, {"weight_decay": 0.03}),
        (torch.optim.Adam, {"amsgrad": True}),
        (torch.optim.AdamW, {}),
        (torch.optim.AdamW, {"weight_decay": 0.3, "amsgrad": True}),
    ],
    ids=str,
)
def test_steps_are_one_operation_at_a_time(optimizer: Any, options: dict[str, Any]) -> None:
    draw = torch.Generator().manual_seed(1)
    w = torch.randn(40, 31, generator=draw)
    gradients = [torch.randn(40, 31, generator=draw).mul_(scale) for scale in (0.3, 0.001, 0.2)]  # where amsgrad counts
    expected = REFERENCES[optimizer](w.numpy(), [g.numpy() for g in gradients], 0.07, **options)
    parameter = nn.Parameter(w.clone())
    made = optimizer([parameter], lr=0.07, foreach=False, **options)
    with numerics.Exact(1).steps():
        for g, step in zip(gradients, expected, strict=True):
            parameter.grad = g.clone()
            made.step()
            np.testing.assert_array_equal(parameter.detach(), step)


def test_steps_leave_torch_as_it_was() -> None:
    before = {name: getattr(torch.Tensor, name) for name in steps.METHODS}
    with pytest.raises(ZeroDivisionError), numerics.Exact(1).steps():
        assert torch.Tensor.add_ is not before["add_"]
        1 / 0  # noqa: B018
    assert {name: getattr(torch.Tensor, name) for name in steps.METHODS} == before
    torch.optim.RMSprop([nn.Parameter(torch.ones(2))]).step()  # no longer refused


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 17, 600, 10_000])
def test_powers_are_made_of_multiplications(exponent: int) -> None:
    found = 0.999 ** steps.Number(exponent)
    assert found == pytest.approx(float(Fraction(0.999) ** exponent), rel=1e-12)
    assert exponent > 2 or found == 0.999**exponent
    root = (1 - found) ** 0.5
    assert isinstance(root, float) and root == math.sqrt(1 - float(found))


def test_square_roots_are_rounded_correctly() -> None:
    # Also where they are nearest to halfway between two float32: next to the squares of numbers of 25 bits.
    draw = np.random.default_rng(0)
    halfway = 1 + (2 * draw.integers(0, 2**23, 50_000) + 1) * 2.0**-24
    x = np.concatenate([draw.random(50_000) * 5, halfway**2, [0, 1e-45, 1e-30, 4, 1e30, np.inf]]).astype(np.float32)
    with numerics.Exact(1).steps():
        np.testing.assert_array_equal(torch.from_numpy(x).sqrt(), np.sqrt(x))


def test_other_powers_are_refused() -> None:
    with pytest.raises(PipelineError, match=r"a power of 0.3: only whole powers"):
        steps.Number(2.0) ** 0.3


# What is refused, and what passes


X, Y = (torch.rand(4, 3, generator=torch.Generator().manual_seed(seed)).requires_grad_() for seed in (1, 2))
IMAGES, LABELS = torch.ones(1, 1, 5, 5), torch.tensor([0, 1, 2, 0])
CONVOLUTION, BATCH_NORM, LAYER_NORM = nn.Conv2d(1, 1, 3), nn.BatchNorm1d(3), nn.LayerNorm(3)
TAUGHT = r"; teach it to stages/lib/numerics\.py, or set numerics: native$"


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("conv2d", lambda: functional.conv2d(IMAGES, torch.ones(1, 1, 3, 3))),
        ("conv2d", lambda: CONVOLUTION(IMAGES)),
        ("softmax", lambda: functional.softmax(X, 1)),
        ("log_softmax", lambda: functional.log_softmax(X, 1)),
        ("matmul", lambda: torch.matmul(X, Y.t())),
        ("matmul", lambda: X @ Y.t()),
        ("mm", lambda: torch.mm(X, Y.t())),
        ("addmm", lambda: torch.addmm(X, X, torch.ones(3, 3))),
        ("bmm", lambda: torch.bmm(X.unsqueeze(0), Y.t().unsqueeze(0))),
        ("einsum", lambda: torch.einsum("ij,kj", X, Y)),
        ("mean", lambda: X.mean()),
        ("sum", lambda: X.sum()),
        ("sum", lambda: torch.sum(X.detach())),
        ("cumsum", lambda: X.cumsum(0)),
        ("prod", lambda: X.prod()),
        ("std", lambda: torch.std(X)),
        ("norm", lambda: X.norm()),
        ("exp", lambda: torch.exp(X)),
        ("log", lambda: X.log()),
        ("__pow__", lambda: X**2),
        ("pow", lambda: X.pow(0.5)),
        ("sqrt", lambda: X.sqrt()),
        ("lerp", lambda: torch.lerp(X, Y, 0.3)),
        ("addcmul", lambda: torch.addcmul(X, X, Y)),
        ("batch_norm", lambda: BATCH_NORM(X)),
        ("layer_norm", lambda: LAYER_NORM(X)),
        ("gelu", lambda: functional.gelu(X)),
        ("mse_loss", lambda: functional.mse_loss(X, Y)),
        ("cross_entropy", lambda: functional.cross_entropy(X, LABELS, weight=torch.ones(3))),
        ("cross_entropy", lambda: functional.cross_entropy(X, LABELS, torch.ones(3))),
        ("cross_entropy", lambda: functional.cross_entropy(X, LABELS, label_smoothing=0.1)),
        ("cross_entropy", lambda: functional.cross_entropy(X, LABELS, reduction="sum")),
        ("cross_entropy", lambda: functional.cross_entropy(X, LABELS, ignore_index=0)),
        ("cross_entropy", lambda: functional.cross_entropy(X, torch.ones(4, 3))),
        ("add", lambda: X + torch.ones(3)),
        ("add", lambda: torch.add(X, Y, alpha=3)),
        ("add", lambda: torch.add(X, 3, Y)),
        ("sub", lambda: X.sub(3, Y)),
        ("sum", lambda: LABELS.sum(dtype=torch.float32)),
        ("topk", lambda: X.topk(2)),
        ("div", lambda: X.to("meta") / 3),  # as on a GPU
        ("div", lambda: torch.div(X, Y, rounding_mode="floor")),
        ("index_select", lambda: X.index_select(0, LABELS)),
        ("expand", lambda: X.narrow(1, 0, 1).expand(4, 3)),
        ("embedding", lambda: functional.embedding(LABELS, X)),
    ],
)
def test_what_is_not_known_to_be_exact_is_refused(name: str, function: Callable[[], object]) -> None:
    message = rf"^numerics: exact can't promise the same bits with [\w.]*{name}\b.*: .*{TAUGHT}"
    with pytest.raises(PipelineError, match=message) as caught, numerics.Exact(4):
        function()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("SGD with foreach", lambda w: torch.optim.SGD(w, foreach=True)),
        ("Adam with foreach", lambda w: torch.optim.Adam(w, foreach=True)),
        ("SGD with fused", lambda w: torch.optim.SGD(w, fused=True)),
        ("AdamW with fused", lambda w: torch.optim.AdamW(w, fused=True)),
        ("RMSprop", lambda w: torch.optim.RMSprop(w)),
        ("Adagrad", lambda w: torch.optim.Adagrad(w)),
    ],
)
def test_optimizers_that_are_not_known_to_be_exact_are_refused(name: str, optimizer: Callable[..., Any]) -> None:
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    with numerics.Exact(1).steps(), pytest.raises(PipelineError, match=rf"with torch\.optim\.{name}: .*{TAUGHT}"):
        optimizer([parameter]).step()
    assert torch.equal(parameter, torch.ones(3))  # nothing was computed


def test_a_device_without_float64_is_refused() -> None:
    with pytest.raises(PipelineError, match=r"device: mps has no float64.*; set device: cpu, or numerics: native"):
        numerics.arithmetic("exact", "mps", images=1)


def test_what_has_one_right_answer_passes() -> None:
    def compute() -> torch.Tensor:
        hidden = functional.relu(X).clamp(0.2, 0.8) + X  # a residual
        hidden = hidden.view(2, 2, 3).transpose(0, 1).reshape(4, 3).maximum(Y) * 2 - Y / 3
        return torch.where(X > 0.5, hidden.abs(), -hidden)

    with numerics.Exact(4):
        found = compute()
        assert (LABELS.sum().item(), found.argmax(1).tolist()) == (3, compute().argmax(1).tolist())
    expected = compute()
    assert torch.equal(found, expected)
    weights = torch.arange(12.0).view(4, 3)
    for one, other in zip(
        torch.autograd.grad(found, (X, Y), weights), torch.autograd.grad(expected, (X, Y), weights), strict=True
    ):
        assert torch.equal(one, other)


def test_the_functions_are_torch_s_own_again_afterwards() -> None:
    with pytest.raises(PipelineError), numerics.Exact(1):
        X.exp()
    assert torch.equal(X.exp(), torch.exp(X))
