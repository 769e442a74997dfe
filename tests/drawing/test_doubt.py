"""What looks like no digit: its outlines, worked out one by one, and what it says of digits and of other images."""

import math

from drawing import doubt
from stages.lib import data

import numpy as np
import pytest


def outline(image: np.ndarray) -> list[int]:
    """Pixel by pixel, in Python's whole numbers."""

    def at(y: int, x: int) -> int:
        return int(image[y, x]) if 0 <= y < 28 and 0 <= x < 28 else 0

    strengths = [0] * 196
    for y in range(28):
        for x in range(28):
            pairs = ((0, 1), (1, 0)), ((1, 1), (1, -1))
            for pair, directions in enumerate(pairs):
                first, second = (abs(at(y + a, x + b) - at(y - a, x - b)) for a, b in directions)
                place = y // 4 * 7 + x // 4
                strengths[(2 * pair + (first < second)) * 49 + place] += abs(first - second)
    return [math.isqrt(255**2 * strength // max(sum(strengths), 1)) for strength in strengths]


def test_an_outline_is_the_root_of_each_share_of_the_edges(split):
    images = np.concatenate([split.images[:3], np.zeros((1, 28, 28), np.uint8), np.tri(28, dtype=np.uint8)[None] * 255])
    assert doubt.outlines(images).tolist() == [outline(image) for image in images]


def test_centres_are_where_each_is_the_mean_of_what_is_nearest_to_it():
    random = np.random.default_rng(2)
    around = np.repeat(random.integers(50, 200, (doubt.TYPICAL, 196)), 5, axis=0)  # five of each kind, one kind first
    found = (around + random.integers(-3, 4, around.shape)).astype(np.uint8)[random.permutation(len(around))]
    centres = doubt.clustered(found)
    nearest = doubt.distances(found, centres).argmin(1)
    for i in set(nearest.tolist()):
        assert np.abs(centres[i] - found[nearest == i].mean(0)).max() <= 0.5


def test_most_digits_look_like_digits_and_what_is_none_does_not(small, monkeypatch):
    monkeypatch.chdir(small)
    training, test = data.load_train("digits"), data.load_test("digits")
    typical = doubt.learned(training)
    assert typical.centres.shape == (320, 196)
    assert doubt.unlike(test.images, typical).mean() < 0.1
    lying, noise = np.rot90(test.images, axes=(1, 2)), np.random.default_rng(3).integers(0, 256, (9, 28, 28), np.uint8)
    assert doubt.unlike(lying, typical).mean() > 0.9
    assert doubt.unlike(noise, typical).all()
    assert doubt.unlike(test.images[:0], typical).shape == (0,)


@pytest.mark.slow
def test_of_mnist_s_test_images_at_most_two_in_a_hundred_look_like_no_digit(mnist, monkeypatch):
    monkeypatch.chdir(mnist)
    assert 0 < doubt.unlike(data.load_test("mnist").images, doubt.learned(data.load_train("mnist"))).mean() <= 0.02
