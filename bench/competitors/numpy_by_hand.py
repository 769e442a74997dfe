"""NumPy alone, with the gradients worked out by hand."""

from bench.task import BATCH, EPOCHS, HIDDEN, LR, Clock, arrays

import numpy as np

generator = np.random.default_rng(0)
images, labels = arrays()
w1, b1, w2, b2 = (
    generator.uniform(-(n**-0.5), n**-0.5, shape).astype(np.float32)
    for n, shape in ((784, (784, HIDDEN)), (784, HIDDEN), (HIDDEN, (HIDDEN, 10)), (HIDDEN, 10))
)
clock = Clock()
for _ in range(EPOCHS):
    total = 0.0
    for index in generator.permutation(len(labels)).reshape(-1, BATCH):
        x, y = images[index], labels[index]
        hidden = 1 / (1 + np.exp(-(x @ w1 + b1)))
        logits = hidden @ w2 + b2
        logits -= logits.max(1, keepdims=True)
        probability = np.exp(logits)
        normalizer = probability.sum(1, keepdims=True)
        total += float((np.log(normalizer[:, 0]) - logits[np.arange(BATCH), y]).sum())

        d_logits = probability / normalizer
        d_logits[np.arange(BATCH), y] -= 1
        d_logits *= np.float32(LR / BATCH)  # the learning rate at once: it is a factor of every gradient
        d_hidden = d_logits @ w2.T * hidden * (1 - hidden)
        w2 -= hidden.T @ d_logits
        b2 -= d_logits.sum(0)
        w1 -= x.T @ d_hidden
        b1 -= d_hidden.sum(0)
    clock.epoch(total / len(labels))
clock.report()
