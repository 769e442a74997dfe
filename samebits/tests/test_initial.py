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
