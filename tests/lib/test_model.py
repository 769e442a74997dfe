from stagecraft.errors import PipelineError
from stages.lib import model
from stages.lib.params import Initial

import pytest
import torch
from torch import nn


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    network = model.empty(Initial(model="sequential", hidden_units=20, seed=0))
    model.initialize(network, torch.Generator())
    assert torch.equal(before, torch.get_rng_state())


def test_half_of_the_hidden_units_of_the_convolutional_network_are_dropped_in_training() -> None:
    network = model.empty(Initial(model="convolutional", hidden_units=9_999, seed=0))[:-1]
    images = torch.rand(1, 784)
    active = network.eval()(images) > 0
    assert (network.train()(images)[active] > 0).double().mean() == pytest.approx(0.5, abs=0.1)


def test_parameters_that_nothing_draws_are_refused() -> None:
    network = nn.Sequential(nn.Linear(784, 10))
    network.register_parameter("shift", nn.Parameter(torch.zeros(10)))
    with pytest.raises(PipelineError, match=r"no initial values for shift; a method reset_parameters may draw them"):
        model.initialize(network, torch.Generator())


def test_a_way_that_was_deleted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(model.MODELS, "ordered")
    with pytest.raises(PipelineError, match=r"expected sequential or module or .*convolutional, .* found ordered"):
        model.empty(Initial(model="ordered", hidden_units=20, seed=0))
