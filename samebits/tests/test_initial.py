"""Initial weights are distributed as those that PyTorch's layers draw for themselves."""

from collections.abc import Callable

import pytest
import samebits
import torch
from torch import nn

LAYERS: list[Callable[[], nn.Module]] = [
    lambda: nn.Linear(300, 400),
    lambda: nn.Conv2d(20, 400, 3, groups=2),
    lambda: nn.ConvTranspose2d(30, 400, 3),
    lambda: nn.Embedding(30, 40, padding_idx=2),
    lambda: nn.MultiheadAttention(60, 4),
    lambda: nn.LSTM(40, 100, bidirectional=True),
    lambda: nn.GRUCell(40, 100),
    lambda: nn.BatchNorm2d(3),
    lambda: nn.PReLU(3),
    lambda: nn.Transformer(40, 2, 1, 1, 80, batch_first=True),
    lambda: nn.Bilinear(30, 20, 400),
]


@pytest.mark.parametrize("make", LAYERS, ids=lambda make: type(make()).__name__)
def test_parameters_are_distributed_as_pytorch_draws_them(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(1)
    found, expected = make(), dict(make().named_parameters())
    samebits.initialize(found, torch.Generator().manual_seed(2))
    for name, parameter in found.named_parameters():
        for power in (1, 2, 8):  # of the last, the largest decide
            moments = [x.abs().pow(power).mean() ** (1 / power) for x in (parameter, expected[name])]
            torch.testing.assert_close(*moments, rtol=0.15, atol=0, msg=name)
    assert (parameter.grad_fn is None) and parameter.requires_grad


def test_the_seed_decides_all_and_padding_is_nothing() -> None:
    layers = [nn.Embedding(5, 3, padding_idx=2) for _ in range(3)]
    for layer, seed in zip(layers, (1, 1, 2), strict=True):
        samebits.initialize(layer, torch.Generator().manual_seed(seed))
    one, same, other = (layer.weight for layer in layers)
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert not one[2].any() and one[3].all()


class Scaled(nn.Module):
    """A layer of one's own, whose scale draws itself."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.inner = nn.Parameter(torch.zeros(3)), nn.Linear(3, 2)

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.scale, std=0.5)


def test_a_layer_of_ones_own_is_drawn_by_its_own_method_and_pytorch_s_generator_is_left_alone() -> None:
    before, layers = torch.get_rng_state(), (Scaled(), Scaled())
    torch.set_rng_state(before)
    for layer in layers:
        samebits.initialize(layer, torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(layers[0].scale, layers[1].scale) and layers[0].scale.unique().numel() == 3


def test_one_generator_draws_one_network_after_the_other() -> None:
    generator, layers = torch.Generator().manual_seed(1), (Scaled(), Scaled())
    for layer in layers:
        samebits.initialize(layer, generator)
    assert not (layers[0].scale == layers[1].scale).any()


def test_what_nothing_draws_is_given_or_named() -> None:
    network = nn.ModuleDict({"linear": nn.Linear(3, 2)})
    network.register_parameter("shift", nn.Parameter(torch.zeros(2)))
    samebits.initialize(network, torch.Generator(), {"shift": torch.ones(2)})
    assert network.get_parameter("shift").tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"no initial values for shift; a method reset_parameters may draw them"):
        samebits.initialize(network, torch.Generator())
