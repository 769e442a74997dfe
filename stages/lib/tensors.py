"""Images and labels as the network takes them: tensors, in the order of an epoch, in batches."""

from typing import NamedTuple

from stages.lib.data import Split

import numpy as np
import torch


class Tensors(NamedTuple):
    """Images (n, 28, 28) uint8, 0 to 255, and labels (n,) int64, 0 to 9, on one device.

    Pixels become floats when they are used: so they take a quarter of the memory, and no time before training.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network takes, for the given images: (b, 784) float32 in [0, 1], and their labels (b,)."""
        pixels = self.images.index_select(0, index).flatten(1).float()
        return pixels.div_(255), self.labels.index_select(0, index)

    def every(self) -> torch.Tensor:
        """The indices of all images, in order."""
        return torch.arange(len(self.labels), device=self.labels.device)


def to_tensors(split: Split, device: str | torch.device = "cpu") -> Tensors:
    """The arrays of a split as tensors."""
    images, labels = torch.from_numpy(split.images.copy()), torch.from_numpy(split.labels.astype(np.int64))
    return Tensors(images.to(device), labels.to(device))


def drawn_seed(seed: int, epoch: int) -> int:
    """A seed for what is drawn in an epoch, from 0 to 2**32 - 1, whatever ran before."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])


def shuffled(n: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of n images in an epoch, (n,) int64; it depends on seed and epoch alone, not on what ran before."""
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(n))
