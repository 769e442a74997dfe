"""What the numbers of several seeds say: mean and spread of each candidate, and paired differences from the best.

Two candidates are compared seed by seed, as both had the same initial weights and the same order of images: what a seed
adds to both cancels out. Sums are exact (Python's statistics), so that the results are the same bytes everywhere.
"""

from math import comb
from statistics import mean, stdev
from typing import Any

import pandas
from scipy.stats import t

CONFIDENCE = 0.95


def critical(candidates: int, seeds: int) -> float:
    """Half the width, in standard errors, of intervals that hold for the differences of all pairs at once.

    The best is chosen by the same numbers that it is compared by, so any pair may be the one that is looked at. All
    pairs therefore share the chance of an error equally (Dunn 1961, Multiple Comparisons Among Means).
    """
    pairs = comb(candidates, 2) or 1
    return float(t.ppf(1 - (1 - CONFIDENCE) / (2 * pairs), seeds - 1))


def compare(final: pandas.DataFrame) -> pandas.DataFrame:
    """One row per candidate, the best first, from the last epoch's rows (lr, momentum, seed, accuracy, loss).

    The best has the highest mean accuracy. difference, low and high: mean accuracy less that of the best, with its 95 %
    interval, paired by seed. tied: the interval holds 0, so these seeds can't tell the candidate from the best.
    """
    groups = {name: group.sort_values("seed") for name, group in final.groupby(["lr", "momentum"])}
    ranking = sorted(groups, key=lambda name: -mean(groups[name]["accuracy"]))
    best = groups[ranking[0]]["accuracy"].tolist()
    width = critical(len(groups), len(best))
    return pandas.DataFrame([_row(name, groups[name], best, width) for name in ranking])


def _row(name: Any, group: pandas.DataFrame, best: list[float], width: float) -> dict[str, Any]:
    accuracy, loss = group["accuracy"].tolist(), group["loss"].tolist()
    differences = [own - other for own, other in zip(accuracy, best, strict=True)]
    middle, half = mean(differences), width * stdev(differences) / len(differences) ** 0.5
    return {
        "lr": name[0],
        "momentum": name[1],
        "accuracy_mean": mean(accuracy),
        "accuracy_sd": stdev(accuracy),
        "loss_mean": mean(loss),
        "loss_sd": stdev(loss),
        "difference": middle,
        "difference_low": middle - half,
        "difference_high": middle + half,
        "tied": abs(middle) <= half,
    }
