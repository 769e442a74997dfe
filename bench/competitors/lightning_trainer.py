"""Lightning's Trainer on tensors in memory, without logger, checkpoints or progress bar."""

import warnings

from bench.task import BATCH, EPOCHS, HIDDEN, LR, Clock, arrays

import lightning
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

warnings.filterwarnings("ignore")


class Classifier(lightning.LightningModule):
    """The network, its loss and its optimizer."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(784, HIDDEN), nn.Sigmoid(), nn.Linear(HIDDEN, 10))
        self.clock, self.losses = clock, list[torch.Tensor]()

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """The loss of images (b, 784) and labels (b,)."""
        images, labels = batch
        loss = functional.cross_entropy(self.network(images), labels)
        self.losses.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        """Stop the clock."""
        self.clock.epoch(torch.stack(self.losses).mean().item())
        self.losses = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=LR)


lightning.seed_everything(0, verbose=False)
dataset = TensorDataset(*map(torch.from_numpy, arrays()))
sampler = BatchSampler(RandomSampler(dataset), BATCH, drop_last=False)
trainer = lightning.Trainer(
    accelerator="cpu", max_epochs=EPOCHS, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False,
)  # fmt: skip
clock = Clock()
trainer.fit(Classifier(clock), DataLoader(dataset, sampler=sampler, batch_size=None))
clock.report()
