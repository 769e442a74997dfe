"""What looks like no digit: typical outlines, and what it says of digits and of other images."""

from drawing import doubt
from stages.lib import data

import numpy as np
import pytest


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
