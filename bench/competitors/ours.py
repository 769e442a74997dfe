"""This project's train stage: its own loop and data, `exact` or `native`; for the growth table also larger.

python -m bench.competitors.ours EPOCHS NUMERICS [COPIES_OF_THE_IMAGES [HIDDEN_UNITS [THREADS]]]
"""

import sys

from bench.task import BATCH, EPOCHS, HIDDEN, LR, Clock
from stages import train
from stages.lib import data, model, params, tensors
from stages.lib.tensors import Tensors

import torch

numerics = sys.argv[2]
copies, hidden, threads = (
    int(sys.argv[place]) if len(sys.argv) > place else default for place, default in ((3, 1), (4, HIDDEN), (5, 1))
)
torch.set_num_threads(threads)  # which stays, as the driver sets OMP_NUM_THREADS
changes = {"numerics": numerics, "epochs": EPOCHS, "batch_size": BATCH, "lr": LR, "momentum": 0.0, "seed": 0}
settings = params.load().model_copy(update=changes | {"validation_images": 0, "device": "cpu"})
network = model.sequential(hidden)
model.initialize(network, torch.Generator().manual_seed(0))
once = tensors.to_tensors(data.load_train("mnist"))
images = Tensors(once.images.repeat(copies, 1, 1), once.labels.repeat(copies))
clock = Clock()
for row in train.fit(train.Trainer(network, settings), images, settings, range(1, EPOCHS + 1)):
    clock.epoch(row["train_loss"])
clock.report()
