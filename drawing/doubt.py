"""When to doubt what the network says, on the page and in `make predict`.

The network may say itself that it is not sure. That an image looks like no digit at all is a doubt that it can't have.
For that, its outline, how strong the edges of four directions are in each of 7 x 7 cells, is compared with typical ones
of each digit: the centres of k-means (Lloyd 1982, IEEE Transactions on Information Theory 28). Square roots of shares
make the distance Hellinger's. All numbers are whole, so they are the same on every machine and in the page's doubt.js.
"""

import math
from typing import NamedTuple

from stages.lib.data import Split

import numpy as np

SURE = 0.6  # a smaller probability is a doubt: of 310 test images of MNIST with 0.5 to 0.6, 136 are read wrong
APART = 0.02  # of what is drawn: if more is not joined to the largest part, it may be more than one digit
APART_IN_PHOTO = 0.1  # of the ink of a photo, which shows small print and dirt, too
CELL = 4  # pixels, the side of a cell
SCALE = 255  # of a share's square root
TYPICAL = 32  # outlines of each digit
ROUNDS = 10  # of k-means
USED = 30_000  # training images at most for the outlines, and as many others for the limits
NEAR = 0.975  # of a digit's other training images have one of its outlines within its limit
AT_ONCE = 250  # images, to spare memory


class Outlines(NamedTuple):
    """Typical outlines (k, 196) uint8, and how far from each, (k,) int64, an image may be that looks like its digit."""

    centres: np.ndarray
    limits: np.ndarray


def outlines(images: np.ndarray) -> np.ndarray:
    """The outlines (n, 196) uint8 of images (n, 28, 28) uint8: four directions of 7 x 7 cells."""
    return np.concatenate([_outlines(part) for part in np.split(images, range(AT_ONCE, len(images), AT_ONCE))])


def _outlines(images: np.ndarray) -> np.ndarray:
    around = np.pad(images.transpose(1, 2, 0).astype(np.int16), ((1, 1), (1, 1), (0, 0)))  # images last is faster
    left, right, up, down = around[1:-1, :-2], around[1:-1, 2:], around[:-2, 1:-1], around[2:, 1:-1]
    across, along = abs(right - left), abs(down - up)
    falling, rising = abs(around[2:, 2:] - around[:-2, :-2]), abs(around[2:, :-2] - around[:-2, 2:])
    edges = np.stack([across - along, falling - rising])  # where below 0, edges along and rising
    first, both = in_cells(np.maximum(edges, 0)), in_cells(edges)
    kinds = np.stack([first, first - both], axis=1)
    strengths = kinds.reshape(math.prod(kinds.shape[:-1]), len(images)).T.astype(np.int64)
    total = strengths.sum(1, keepdims=True).clip(min=1)
    return np.sqrt(SCALE * SCALE * strengths // total).astype(np.uint8)  # the root of a whole number, rounded down


def in_cells(edges: np.ndarray) -> np.ndarray:
    """The sums over cells (2, 7, 7, n) of edges (2, 28, 28, n), both int16."""
    kinds, rows, columns, n = edges.shape
    return edges.reshape(kinds, rows // CELL, CELL, columns // CELL, CELL, n).sum((2, 4), dtype=np.int16)


def distances(found: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The squared distances (n, k) int64 of outlines (n, 196) to centres (k, 196), both uint8."""
    a, b = found.astype(np.float64), centres.astype(np.float64)  # whole numbers below 2**53, so no sum rounds
    return ((a * a).sum(1)[:, None] - 2 * (a @ b.T) + (b * b).sum(1)).astype(np.int64)


def learned(training: Split) -> Outlines:
    """The typical outlines of each digit, from half of the training images, and their limits, from the other half."""
    half = min(USED, len(training.labels) // 2)
    found, labels = outlines(training.images[: 2 * half]), training.labels[: 2 * half]
    centres, limits = [], []
    for digit in np.unique(labels[:half]):
        own = found[:half][labels[:half] == digit]
        centres.append(clustered(own))
        nearest = np.sort(distances(found[half:][labels[half:] == digit], centres[-1]).min(1))
        limit = nearest[int(NEAR * (len(nearest) - 1))] if len(nearest) else 0
        limits.append(np.full(len(centres[-1]), limit, np.int64))
    return Outlines(np.concatenate(centres), np.concatenate(limits))


def clustered(found: np.ndarray) -> np.ndarray:
    """The centres (k, 196) uint8 of outlines (n, 196) of one digit, from the first ones on."""
    centres = found[:TYPICAL]
    for _ in range(ROUNDS):
        nearest = distances(found, centres).argmin(1)
        groups = [found[nearest == i].astype(np.int64) for i in range(len(centres))]
        means = [(2 * group.sum(0) + len(group)) // (2 * len(group)) for group in groups if len(group)]
        centres = np.array(means, np.uint8)
    return centres


def unlike(images: np.ndarray, typical: Outlines) -> np.ndarray:
    """Whether images (n, 28, 28) uint8 look like no digit: (n,) bool."""
    return np.all(distances(outlines(images), typical.centres) > typical.limits, axis=1)
