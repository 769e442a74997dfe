"""This project's train stage: its own loop and data, `portable` or `native`; for the growth table also larger.

python -m bench.competitors.ours EPOCHS NUMERICS [COPIES_OF_THE_IMAGES [HIDDEN_UNITS]]
"""

import sys

from bench.task import BATCH, EPOCHS, HIDDEN, LR, Clock
from stages.lib import data, model, numerics, tensors
from stages.train import train_epoch

import torch

kind = sys.argv[2]
copies = int(sys.argv[3]) if len(sys.argv) > 3 else 1
hidden = int(sys.argv[4]) if len(sys.argv) > 4 else HIDDEN
numerics.configure(kind)
network = model.empty("sequential", hidden)
model.initialize(network, torch.Generator().manual_seed(0))
images, labels = tensors.to_tensors(data.load_train("mnist"))
images, labels = images.repeat(copies, 1, 1, 1), labels.repeat(copies)
optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.0)
clock = Clock()
for epoch in range(1, EPOCHS + 1):
    order = tensors.shuffled(len(labels), 0, epoch)
    clock.epoch(train_epoch(network, optimizer, tensors.batches(images, labels, order, BATCH), epoch))
clock.report()
