"""Images and labels as the network takes them: tensors, in the order of an epoch, in batches."""

import random
from dataclasses import dataclass

from stagecraft.errors import PipelineError
from stages.lib.data import Split

import numpy as np
import torch

AT_ONCE = 1_000  # images to predict, to spare memory


@dataclass(frozen=True)
class Tensors:
    """Images (n, 28, 28) uint8, 0 to 255, and labels (n,) int64, 0 to 9, on one device.

    Pixels become floats when they are used: so they take a quarter of the memory, and no time before training.
    Raises PipelineError for other types.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        if (self.images.dtype, self.labels.dtype) != (torch.uint8, torch.int64):
            raise PipelineError(
                f"expected images of torch.uint8, from 0 to 255, and labels of torch.int64, found {self.images.dtype} "
                f"and {self.labels.dtype}; pixels become floats, divided by 255, in Tensors.batch"
            )

    def split(self, n: int) -> tuple["Tensors", "Tensors"]:
        """The first n images, and the others."""
        return Tensors(self.images[:n], self.labels[:n]), Tensors(self.images[n:], self.labels[n:])

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network takes, for the given images: (b, 784) float32 in [0, 1], and their labels (b,)."""
        pixels = self.images.index_select(0, index).flatten(1).float()
        return pixels.div_(255), self.labels.index_select(0, index)

    def every(self) -> torch.Tensor:
        """The indices of all images, in order."""
        return torch.arange(len(self.labels), device=self.labels.device)

    def parts(self) -> tuple[torch.Tensor, ...]:
        """The same, AT_ONCE at a time; with exact numerics no prediction depends on that."""
        return self.every().split(AT_ONCE)


def to_tensors(split: Split, device: str | torch.device = "cpu") -> Tensors:
    """The arrays of a split as tensors."""
    images, labels = torch.from_numpy(split.images.copy()), torch.from_numpy(split.labels.astype(np.int64))
    return Tensors(images.to(device), labels.to(device))


def seed(seed: int, epoch: int) -> None:
    """Let what is drawn in an epoch, by PyTorch, NumPy or Python, depend on seed and epoch alone."""
    drawn = int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
    torch.manual_seed(drawn)
    np.random.seed(drawn)
    random.seed(drawn)


def shuffled(n: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of n images in an epoch, (n,) int64; it depends on seed and epoch alone, not on what ran before."""
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(n))
