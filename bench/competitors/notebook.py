"""The notebook's own loop: torchvision's MNIST, every image through PIL and ToTensor, a DataLoader."""

import tempfile
from pathlib import Path

from bench.task import BATCH, EPOCHS, HIDDEN, LR, Clock

import torch
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

with tempfile.TemporaryDirectory() as folder:  # where torchvision looks
    (Path(folder) / "MNIST").mkdir()
    (Path(folder) / "MNIST/raw").symlink_to(Path("data/raw").absolute())
    trainset = datasets.MNIST(folder, train=True, transform=transforms.ToTensor())
loader = DataLoader(trainset, batch_size=BATCH, shuffle=True)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(784, HIDDEN), nn.Sigmoid(), nn.Linear(HIDDEN, 10))
loss_fn = nn.CrossEntropyLoss()
optimizer = optim.SGD(model.parameters(), lr=LR)

clock = Clock()
for _ in range(EPOCHS):
    running_loss = 0.0
    for images, labels in loader:
        images.resize_(images.shape[0], 784)
        loss = loss_fn(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    clock.epoch(running_loss / len(loader))
clock.report()
