"""The optimizers' steps against NumPy's float32, one operation at a time; and what is refused, unseen."""

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest
import samebits
import torch
from samebits import NotExactError, optimizers
from torch import nn

F = np.float32


def sgd(w, gradients, lr, momentum=0, weight_decay=0, nesterov=False):
    velocity = None
    for g in gradients:
        g = g + w * F(weight_decay) if weight_decay else g
        if momentum:
            velocity = g if velocity is None else velocity * F(momentum) + g
            g = g + velocity * F(momentum) if nesterov else velocity
        w = w + g * F(-lr)
        yield w


def adam(w, gradients, lr, weight_decay=0, amsgrad=False, decoupled=False):
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


REFERENCES = {torch.optim.SGD: sgd, torch.optim.Adam: adam, torch.optim.AdamW: partial(adam, decoupled=True)}


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (torch.optim.SGD, {"weight_decay": 0.1}),
        (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.03}),
        (torch.optim.SGD, {"momentum": 0.7, "nesterov": True}),
        (torch.optim.Adam, {"weight_decay": 0.03}),
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
    with samebits.exact():
        for g, step in zip(gradients, expected, strict=True):
            parameter.grad = g.clone()
            made.step()
            np.testing.assert_array_equal(parameter.detach(), step)


@pytest.mark.parametrize("kind", [torch.optim.Adam, partial(torch.optim.LBFGS, max_iter=3)])
def test_a_closure_is_computed_as_what_is_outside_and_the_step_as_without(kind: Any) -> None:
    class Own(torch.optim.SGD):  # whose step no one has wrapped
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    def trained(optimizer: Any, zero: Any, fails: bool = False) -> torch.Tensor:
        weight = nn.Parameter(torch.arange(1.0, 7).view(2, 3))
        made = optimizer([weight], lr=0.1)

        def closure() -> torch.Tensor:
            if zero == "optimizer":
                made.zero_grad()
            weight.grad = None
            loss = nn.functional.normalize(weight).sum() + (weight * weight + 1).sqrt().sum()
            loss.backward()
            return loss

        with samebits.exact():
            if fails:
                with pytest.raises(ZeroDivisionError):
                    made.step(lambda: 1 / 0)
                (weight * weight + 1).sqrt().sum().backward()  # is recorded again
            for _ in range(3):
                made.step(closure)
        assert type(made.param_groups[0]["lr"]) is float
        return weight.detach()

    expected = trained(kind, "weight")
    assert torch.equal(trained(kind, "optimizer"), expected)
    assert torch.equal(trained(kind, "weight", fails=True), expected)
    assert torch.equal(trained(Own, "weight"), trained(torch.optim.SGD, "optimizer"))


def test_a_step_within_a_step_leaves_the_numbers_of_both_optimizers_as_they_were() -> None:
    parameters = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    outer, inner = (torch.optim.Adam([parameter]) for parameter in parameters)
    before = [{**optimizer.param_groups[0]} for optimizer in (outer, inner)]

    def closure() -> torch.Tensor:
        for parameter in parameters:
            parameter.grad = torch.ones(2)
        inner.step()
        return torch.ones(())

    def other() -> None:  # whose hooks are not for this thread's steps
        with samebits.exact():
            entered.set()
            left.wait(60)

    entered, left = threading.Event(), threading.Event()
    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    entered.wait()
    with samebits.exact():
        outer.step(closure)
    left.set()
    thread.join()
    for optimizer, group in zip((outer, inner), before, strict=True):
        after = optimizer.param_groups[0]
        assert after == group and {type(number) for number in (after["lr"], after["eps"], *after["betas"])} == {float}


def test_an_error_within_a_step_leaves_the_numbers_as_they_were() -> None:
    made = torch.optim.Adafactor([nn.Parameter(torch.ones(2, 3))])  # of which a number in a tuple is None
    before = {**made.param_groups[0]}
    with pytest.raises(ZeroDivisionError), samebits.exact():
        made.step(lambda: 1 / 0)
    after = made.param_groups[0]
    assert after == before and [type(after[name]) for name in after] == [type(before[name]) for name in before]


def test_a_gradient_whose_length_is_infinite_is_clipped_to_nothing() -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([3e30, 4e30])
    with samebits.exact():
        length = nn.utils.clip_grad_norm_([parameter], 1.0)
    assert length == torch.inf and parameter.grad.tolist() == [0, 0]


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 17, 600, 10_000, 0.004, -2, 7.5])
def test_powers_are_the_nearest_floats(exponent: float) -> None:
    for found in (0.999 ** optimizers.Number(exponent), 0.999 ** (optimizers.Number(exponent / 2) * 2)):
        with mpmath.workdps(60):
            assert found == float(mpmath.mpf(0.999) ** mpmath.mpf(exponent))
        root = (1 - found) ** 0.5 if found <= 1 else 0.0
        assert isinstance(found, optimizers.Number) and root == math.sqrt(max(0, 1 - float(found)))


@pytest.mark.parametrize(
    "make",
    [
        partial(torch.optim.RMSprop, momentum=0.5, centered=True),
        partial(torch.optim.Adagrad, lr_decay=0.01),
        *(getattr(torch.optim, name) for name in ("Adadelta", "NAdam", "Adamax", "RAdam", "ASGD", "Rprop")),
    ],
)
def test_other_optimizers_step_as_in_float64(make: Callable[..., Any]) -> None:
    draw = torch.Generator().manual_seed(1)
    start = torch.randn(7, 3, generator=draw)
    gradients = [torch.randn(7, 3, generator=draw) for _ in range(20)]
    mine, plain = nn.Parameter(start.clone()), nn.Parameter(start.double())
    optimizer, reference = make([mine], lr=0.1), make([plain], lr=0.1)
    for gradient in gradients:
        mine.grad, plain.grad = gradient.clone(), gradient.double()
        with samebits.exact():
            optimizer.step()
        reference.step()
    torch.testing.assert_close(mine.detach().double(), plain.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [partial(torch.optim.SGD, momentum=0.9), torch.optim.Adam])
def test_what_a_schedule_has_made_is_rounded_to_float32(make: Any) -> None:
    """As a last digit of its cosine, which systems have in different ways, must not matter."""
    optimizer = make([nn.Parameter(torch.ones(2))], lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=30)
    group = optimizer.param_groups[0]
    with samebits.exact():
        for _ in range(5):
            optimizer.step()
            scheduled = [group["lr"], group["betas"][0] if "betas" in group else group["momentum"]]
            assert scheduled == torch.tensor(scheduled, dtype=torch.float32).tolist()
            schedule.step()
            assert group["lr"] != scheduled[0]


@pytest.mark.parametrize("factor", [0.9, 0.95, 0.75, 0.7, 1.5])
@pytest.mark.parametrize("lr", [0.1, 0.3, 0.01, 0.001])
def test_simple_fractions_of_a_rate_are_rounded_also_halfway_between_two_float32(lr: float, factor: float) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=lr)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, factor)
    with samebits.exact():
        for _ in range(40):
            optimizer.step()
            schedule.step()
    assert schedule.get_last_lr()[0] == pytest.approx(lr * factor**40, rel=1e-5)


def test_a_scheduled_rate_that_systems_may_round_differently_is_refused() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.25)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)
    optimizer.param_groups[0]["lr"] = 0.125 + 2.0**-27 + 2.0**-43  # nearly halfway between two float32
    parameter.grad = torch.ones(2)
    optimizer.param_groups.insert(0, {"params": [], "lr": 0.5, "momentum": 0.5})  # one that is looked at before
    with samebits.exact(), pytest.raises(NotExactError, match=r"with lr = 0\.1250.* round the schedule"):
        optimizer.step()
    assert type(optimizer.param_groups[0]["lr"]) is float


def test_square_roots_are_rounded_correctly() -> None:
    # Also where they are nearest to halfway between two float32: next to the squares of numbers of 25 bits.
    draw = np.random.default_rng(0)
    halfway = 1 + (2 * draw.integers(0, 2**23, 50_000) + 1) * 2.0**-24
    x = np.concatenate([draw.random(50_000) * 5, halfway**2, [0, 1e-45, 1e-30, 4, 1e30, np.inf]]).astype(np.float32)
    with samebits.exact():
        np.testing.assert_array_equal(torch.from_numpy(x).sqrt(), np.sqrt(x))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "Adadelta", "RMSprop", "Adamax"])
def test_several_tensors_at_once_are_one_after_the_other(name: str) -> None:
    options = {"amsgrad": True} if name == "AdamW" else {}

    def stepped(foreach: bool) -> list[torch.Tensor]:
        parameters = [nn.Parameter(torch.arange(1.0, n)) for n in (3, 5)]
        optimizer = getattr(torch.optim, name)(parameters, foreach=foreach, weight_decay=0.1, **options)
        with samebits.exact():
            for _ in range(3):
                for parameter in parameters:
                    parameter.grad = parameter.detach() / 3
                optimizer.step()
        return parameters

    for one, other in zip(stepped(True), stepped(False), strict=True):
        assert torch.equal(one, other)
