import random

from stagecraft.errors import PipelineError
from stages.lib import data, tensors

import numpy as np
import pytest
import torch
from torchvision.transforms import ToTensor


def test_a_batch_is_the_tensors_of_torchvision(split: data.Split) -> None:
    chosen = [3, 0, 6]
    pixels, labels = tensors.to_tensors(split).batch(torch.tensor(chosen))
    assert (pixels.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert torch.equal(pixels, torch.stack([ToTensor()(split.images[i][:, :, None]).flatten() for i in chosen]))
    assert labels.tolist() == split.labels[chosen].tolist()


def test_every_epoch_has_an_order_of_its_own_with_every_image_once() -> None:
    orders = [tuple(tensors.shuffled(11, seed, epoch).tolist()) for seed in (0, 1) for epoch in (1, 2)]
    assert all(sorted(order) == list(range(11)) for order in orders)
    assert len({*orders, tuple(range(11))}) == 5
    assert tuple(tensors.shuffled(11, 1, 2).tolist()) == orders[3]


def test_images_that_are_floats_already_are_refused() -> None:
    with pytest.raises(PipelineError, match=r"expected images of torch.uint8, .* found torch.float32"):
        tensors.Tensors(torch.rand(2, 28, 28), torch.tensor([0, 1]))


def test_what_is_drawn_in_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    def drawn(seed: int, epoch: int) -> tuple[float, ...]:
        tensors.seed(seed, epoch)
        return torch.rand(1).item(), random.random(), np.random.rand()

    first = drawn(3, 1)
    assert drawn(3, 2) != first != drawn(4, 1)
    assert drawn(3, 1) == first
