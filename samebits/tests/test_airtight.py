"""Ways past the exact mode, each tried: the result is exact, or refused by name, or a limit that the README names."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import samebits
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

X = torch.rand(6, 5, generator=torch.Generator().manual_seed(1)) - 0.5
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def network() -> nn.Sequential:
    made = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    samebits.initialize(made, torch.Generator().manual_seed(2))
    return made


Step = Callable[[nn.Module], Any]
sgd = partial(torch.optim.SGD, lr=0.5)


class Cubic(torch.autograd.Function):
    """Somebody's own function, whose gradient is a matrix product of float32."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return gradient @ (x.t() @ x)


def scripted(x: torch.Tensor) -> torch.Tensor:
    return torch.mm(x, x.t()).sum()


ROWS = torch.zeros(4, 5, dtype=torch.int64)


def accumulated(gradient: torch.Tensor) -> torch.Tensor:
    return torch.zeros(4, 5).index_put_((torch.zeros(4, dtype=torch.int64),), gradient, accumulate=True)


def last_of_each() -> torch.Tensor:
    images = torch.zeros(6, 5)
    images[LABELS] = X
    return images


def loss_of(made: nn.Module, x: torch.Tensor = X) -> torch.Tensor:
    return functional.cross_entropy(made(x), LABELS)


def trained(
    after_backward: Step = lambda made: None, prepare: Step = lambda made: None, loss: Step = loss_of, make: Any = sgd
) -> list[torch.Tensor]:
    """The parameters after a few steps."""
    made = network()
    optimizer = make(made.parameters())
    with samebits.exact():
        prepare(made)
        for _ in range(3):
            value = loss(made)
            optimizer.zero_grad()
            value.backward()
            after_backward(made)
            optimizer.step()
    return [parameter.detach() for parameter in made.parameters()]


def hooked(hook: Callable[[torch.Tensor], torch.Tensor]) -> Step:
    return lambda made: made[0].weight.register_hook(hook)  # type: ignore[index, union-attr, operator]


def through_own_function(made: nn.Module) -> torch.Tensor:
    return functional.mse_loss(Cubic.apply(made[0](X)), X[:, :4])  # type: ignore[index, operator]


REFUSED: dict[str, Callable[[], object]] = {
    "autocast": lambda: trained(loss=autocast),
    "a running sum of powers": lambda: trained(loss=lambda made: made(X).logcumsumexp(0).sum()),
    "several numbers unpooled to one place": lambda: trained(
        loss=lambda made: functional.max_unpool1d(made(X), LABELS[:3].expand(6, 3) // 2, 2).sum()
    ),
    "the gradient of a draw": lambda: trained(loss=lambda made: torch._standard_gamma(made(X).exp()).sum()),
    "a gradient whose arguments are in another order": lambda: trained(
        prepare=lambda made: torch.ops.aten.linear_backward(X, X[:, :4], made[0].weight, [True] * 3)
    ),
    "float64": lambda: trained(loss=lambda made: made[0](X).double().mean()),
    "float16": lambda: trained(loss=lambda made: made[0](X).half().sum().float()),
    "a sum as complex numbers": lambda: trained(prepare=lambda made: X.sum(dtype=torch.complex64)),
    "a matrix inverse": lambda: trained(loss=lambda made: torch.linalg.inv(made[0].weight[:, :4]).sum()),
    "a Fourier transform": lambda: trained(loss=lambda made: torch.fft.rfft(made(X)).abs().sum()),
    "a formula that ends with itself": lambda: trained(loss=lambda made: torch.atan2(made(X), X[:, :3]).sum()),
    "numbers of float64 added to places": lambda: trained(
        prepare=lambda made: torch.zeros(6).double().index_put((LABELS,), X[:, 0].double(), accumulate=True)
    ),
    "a complex product": lambda: torch.ones(2) * 1j * trained(loss=lambda made: (made(X) * 2j).real.mean())[0].sum(),
    "complex numbers": lambda: trained(loss=lambda made: (made(X) * (1 + 2j)).abs().sum()),
    "several numbers for one place": lambda: trained(loss=lambda made: loss_of(made, last_of_each())),
    "numbers that are added to places": lambda: trained(prepare=hooked(lambda g: g.scatter(0, ROWS, g, reduce="add"))),
    "a step in one operation": lambda: trained(make=partial(torch.optim.AdamW, fused=True)),
    "powers in float64": lambda: trained(loss=lambda made: (2.0 ** made(X).double()).float().sum()),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", REFUSED)
def test_what_might_differ_is_refused_with_the_line(way: str) -> None:
    with pytest.raises(
        samebits.NotExactError, match=r"can't promise the same bits with .* in line \d+ of \w+\.py: "
    ) as caught:
        REFUSED[way]()
    assert len(str(caught.value).splitlines()) == 1


def step_by_hand(made: nn.Module) -> None:
    with torch.no_grad():
        for parameter in made.parameters():
            parameter -= 0.1 * parameter.grad


def averaged(made: nn.Module) -> None:
    """An average of the weights, as exponential_moving_average and as torch.optim.swa_utils have it."""
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.lerp_(parameter * 0.5, 0.1)
    average = torch.optim.swa_utils.AveragedModel(made)
    average.update_parameters(made)
    average.update_parameters(made)


EXACT: dict[str, Callable[[], list[torch.Tensor]]] = {
    "clipping the norm": lambda: trained(lambda made: nn.utils.clip_grad_norm_(made.parameters(), 0.1)),
    "clipping values": lambda: trained(lambda made: nn.utils.clip_grad_value_(made.parameters(), 0.01)),
    "a step by hand": lambda: trained(step_by_hand),
    "averages": lambda: trained(averaged),
    "a hook on a gradient that sums": lambda: trained(prepare=hooked(lambda g: g / g.norm())),
    "an own autograd function with a product": lambda: trained(loss=through_own_function),
    "a function of aten": lambda: trained(loss=lambda made: torch.ops.aten.mm(made[0](X).t(), X).sum()),
    "a scripted function": lambda: trained(loss=lambda m: loss_of(m) + torch.jit.script(scripted)(m[0].weight)),
    "a transform of functions": lambda: trained(loss=lambda made: torch.vmap(lambda x: x.sum())(made(X)).mean()),
    "numbers that are added to places in a hook": lambda: trained(prepare=hooked(accumulated)),
    "a weight in several places": lambda: trained(loss=lambda made: X.masked_fill(X > 0, made[0].weight[0, 0]).sum()),
    "weights in each row": lambda: trained(loss=lambda made: torch.zeros(6, 5).copy_(made[0].weight[0]).mul(X).sum()),
    "a mesh of weights": lambda: trained(loss=lambda made: torch.meshgrid([made[0].bias] * 2, indexing="ij")[0].sum()),
    "data": lambda: trained(lambda made: made[0].weight.data.add_(made[0].weight.grad.data, alpha=-0.3)),
    "accumulated gradients": lambda: trained(loss=lambda made: loss_of(made) + loss_of(made, X * 2)),
    "another loss": lambda: trained(
        loss=lambda made: functional.mse_loss(made(X).softmax(1), functional.one_hot(LABELS, 3).float())
    ),
    "a device": lambda: trained(loss=lambda made: loss_of(made).to(torch.device("cpu"))),
    "a loader": lambda: trained(loss=loaded),
}  # fmt: skip


def autocast(made: nn.Module) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return loss_of(made)


def loaded(made: nn.Module) -> torch.Tensor:
    """By a process of its own."""
    ((images, labels),) = DataLoader(TensorDataset(X, LABELS), batch_size=6, num_workers=1)
    return functional.cross_entropy(made(images), labels)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("way", EXACT)
def test_what_passes_is_computed_in_any_order(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images in another order, and with them all sums over images, change no bit of the weights."""
    expected = EXACT[way]()
    order = torch.tensor([3, 5, 0, 4, 2, 1])
    monkeypatch.setitem(globals(), "X", X[order])
    monkeypatch.setitem(globals(), "LABELS", LABELS[order])
    monkeypatch.setattr(loss_of, "__defaults__", (X,))
    for one, other in zip(EXACT[way](), expected, strict=True):
        assert torch.equal(one, other)


def test_what_is_compiled_runs_as_it_was_written() -> None:
    graphs: list[Any] = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    made = network()
    before = torch.compile(made, backend=backend)
    with samebits.exact():
        for _ in range(4):  # some are watched, some not
            for call in (before, torch.compile(made, backend=backend), torch.compile(backend=backend)(made)):
                loss_of(call).backward()
            torch.optim.SGD(made.parameters(), lr=0.5).step()
    assert not graphs
    before(X)
    assert len(graphs) == 1


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpoint_changes_nothing(use_reentrant: bool) -> None:
    def checkpointed(made: nn.Module) -> torch.Tensor:
        x = X.clone().requires_grad_()
        return functional.cross_entropy(checkpoint(made, x, use_reentrant=use_reentrant), LABELS)

    for one, other in zip(trained(loss=checkpointed), trained(), strict=True):
        assert torch.equal(one, other)


def test_threads_may_leave_in_any_order() -> None:
    before, entered, left = torch.compile, threading.Event(), threading.Event()

    def other() -> None:
        with samebits.exact():
            entered.set()
            left.wait()

    thread = threading.Thread(target=other, daemon=True)
    with samebits.exact():
        thread.start()
        entered.wait()
    assert torch.compile is not before and not torch.backends.mkldnn.enabled
    left.set()
    thread.join()
    assert torch.compile is before and torch.backends.mkldnn.enabled


def test_outside_the_context_nothing_is_refused_and_the_process_is_as_it_was() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(samebits.NotExactError), samebits.exact():
        torch.fft.fft(X)
    assert torch.fft.fft(X).shape == X.shape
    assert torch.get_num_threads() == threads
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
    assert torch.backends.mkldnn.enabled and torch.backends.cuda.flash_sdp_enabled()
    assert torch.backends.mha.get_fastpath_enabled()
