"""As in PyTorch's examples/mnist: a module, log_softmax and nll_loss, two worker processes."""

import tempfile
from pathlib import Path

from bench.task import BATCH, EPOCHS, HIDDEN, LR, Clock

import torch
from torch import nn, optim
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class Net(nn.Module):
    """The same network, with log probabilities as its output."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (n, 1, 28, 28) to log probabilities (n, 10)."""
        x = torch.sigmoid(self.fc1(torch.flatten(x, 1)))
        return functional.log_softmax(self.fc2(x), dim=1)


def main() -> None:
    # Without examples/mnist's Normalize((0.1307,), (0.3081,)): other inputs would be another task.
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "MNIST").mkdir()
        (Path(folder) / "MNIST/raw").symlink_to(Path("data/raw").absolute())
        dataset = datasets.MNIST(folder, train=True, transform=transforms.ToTensor())
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    torch.manual_seed(0)
    model = Net()
    optimizer = optim.SGD(model.parameters(), lr=LR)
    model.train()
    clock = Clock()
    for _ in range(EPOCHS):
        total = 0.0
        for data, target in loader:
            optimizer.zero_grad()
            loss = functional.nll_loss(model(data), target)
            loss.backward()
            optimizer.step()
            total += loss.item()
        clock.epoch(total / len(loader))
    clock.report()


if __name__ == "__main__":
    main()
