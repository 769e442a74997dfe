from stages.lib import model
from stages.lib.errors import PipelineError

import numpy as np
import pytest
import torch
from torch import nn

NAMES = {
    "sequential": ["0.weight", "0.bias", "2.weight", "2.bias"],
    "ordered": ["hidden_linear.weight", "hidden_linear.bias", "output_linear.weight", "output_linear.bias"],
}
NAMES |= {"module": NAMES["ordered"], "functional": NAMES["ordered"]}


def drawn(name: str, seed: int = 3, hidden_units: int = 20) -> nn.Module:
    network = model.empty(name, hidden_units)
    model.initialize(network, torch.Generator().manual_seed(seed))
    return network


@pytest.mark.parametrize("name", model.MODELS)
def test_names_and_shapes_are_the_notebook_s(name: str) -> None:
    parameters = {key: tuple(value.shape) for key, value in drawn(name).named_parameters()}
    assert parameters == dict(zip(NAMES[name], [(20, 784), (20,), (10, 20), (10,)], strict=True))


@pytest.mark.parametrize("name", model.MODELS)
def test_initial_weights_are_those_of_torch_rounded_after_each_operation(name: str) -> None:
    torch.manual_seed(3)
    reference = nn.Sequential(nn.Linear(784, 20), nn.Sigmoid(), nn.Linear(20, 10))
    draw = torch.Generator().manual_seed(3)
    bounds = [np.float32(1 / np.sqrt(inputs)) for inputs in (784, 784, 20, 20)]
    for expected, found, bound in zip(reference.parameters(), drawn(name).parameters(), bounds, strict=True):
        np.testing.assert_allclose(found.detach(), expected.detach(), rtol=0, atol=2.0**-23 * bound)
        unit = torch.rand(expected.shape, generator=draw).numpy()
        np.testing.assert_array_equal(found.detach(), unit * (2 * bound) - bound)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    drawn("module")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", model.MODELS)
def test_logits_equal_numpy_s(name: str) -> None:
    network = drawn(name, hidden_units=3)
    images = np.random.default_rng(0).random((5, 784), np.float32)
    w1, b1, w2, b2 = (parameter.detach().numpy().astype(float) for parameter in network.parameters())
    hidden = 1 / (1 + np.exp(-(images @ w1.T + b1)))
    logits = network(torch.from_numpy(images)).detach()
    np.testing.assert_allclose(logits, hidden @ w2.T + b2, rtol=1e-5, atol=1e-6)


def test_a_way_that_was_deleted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(model.MODELS, "ordered")
    with pytest.raises(PipelineError, match=r"expected sequential or module or functional, .* found ordered"):
        model.empty("ordered", 20)
