"""What the numbers of several seeds say: mean and spread of each candidate, and paired differences from the best.

Two candidates are compared seed by seed, as both had the same initial weights and the same order of images: what a seed
adds to both cancels out. Sums are exact (Python's statistics), so that the results are the same bytes everywhere.
"""

from collections.abc import Sequence
from math import comb, sqrt
from statistics import mean, stdev
from typing import Any

import mpmath

CONFIDENCE = 0.95


def critical(candidates: int, seeds: int) -> float:
    """Half the width, in standard errors, of intervals that hold for the differences of all pairs at once.

    The best is chosen by the same numbers that it is compared by, so any pair may be the one that is looked at. All
    pairs therefore share the chance of an error equally (Dunn 1961, Multiple Comparisons Among Means).
    """
    pairs = comb(candidates, 2) or 1
    return student(mpmath.mpf(1 - CONFIDENCE) / pairs, seeds - 1)


def student(chance: float, freedom: int) -> float:
    """What |t| of Student's distribution exceeds with that chance; freedom: its degrees, 1 or more.

    The chance is the regularized incomplete beta function of n / (n + t**2) with n / 2 and 1 / 2 (Abramowitz and
    Stegun 26.7.1 and 26.5.27), here in integers of Python, which are the same everywhere.
    """
    with mpmath.workdps(30):
        low, high = mpmath.mpf(0), mpmath.mpf(2) ** 64
        for _ in range(128):  # halving finds it to the last bit of a float
            t = (low + high) / 2
            beyond = mpmath.betainc(freedom / 2, 0.5, 0, freedom / (freedom + t * t), regularized=True)
            low, high = (t, high) if beyond > chance else (low, t)
        return float(low)


def compare(accuracy: list[list[Any]], loss: list[list[Any]]) -> list[dict[str, Any]]:
    """A row for each candidate, the best first, from the results of each seed; `candidate` is its number.

    The best has the highest mean accuracy. difference, low and high: mean accuracy less that of the best, with its 95 %
    interval, paired by seed. tied: the interval holds 0, so these seeds can't tell the candidate from the best.
    """
    ranking = sorted(range(len(accuracy)), key=lambda number: -mean(accuracy[number]))
    width = critical(len(accuracy), len(accuracy[0]))
    return [
        {"candidate": number, **_row(accuracy[number], loss[number], accuracy[ranking[0]], width)} for number in ranking
    ]


def _row(accuracy: list[float], loss: list[float], best: list[float], width: float) -> dict[str, Any]:
    differences = [own - other for own, other in zip(accuracy, best, strict=True)]
    middle, half = mean(differences), width * stdev(differences) / sqrt(len(differences))
    return {
        **spread("accuracy", accuracy),
        **spread("loss", loss),
        "difference": middle,
        "difference_low": middle - half,
        "difference_high": middle + half,
        "tied": abs(middle) <= half,
    }


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation of the values of several seeds."""
    return {f"{name}_mean": mean(values), f"{name}_sd": stdev(values)}
