"""What every competitor does: the same network on the same images with the same SGD, and how it says how it went."""

import json
import sys
import time

from stages.lib import data

import numpy as np

BATCH, HIDDEN, LR = 100, 20, 0.1
EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 1


def arrays() -> tuple[np.ndarray, np.ndarray]:
    """MNIST's training images (60000, 784) float32 in [0, 1] and labels (60000,) int64."""
    images, labels = data.load_train("mnist")
    return images.reshape(-1, 784).astype(np.float32) / 255, labels.astype(np.int64)


class Clock:
    """Wall-clock seconds of each epoch, and the mean training loss of the last; printed as one line of JSON."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.start = time.perf_counter()

    def epoch(self, loss: float) -> None:
        """An epoch has ended, with this mean loss over its images in nats."""
        now = time.perf_counter()
        self.seconds.append(now - self.start)
        self.start, self.loss = now, float(loss)

    def report(self) -> None:
        """Print what the driver reads."""
        print(json.dumps({"seconds": self.seconds, "loss": self.loss}))
