"""What the numbers of several seeds say: mean and spread of each setting, and paired differences from the best.

Two settings are compared seed by seed, as both had the same initial weights and the same order of images: what a seed
adds to both cancels out. Sums are exact (Python's statistics), so that the results are the same bytes everywhere.
"""

from statistics import mean, stdev
from typing import Any

import pandas
from scipy.stats import t

CONFIDENCE = 0.95


def t_interval(values: list[float]) -> tuple[float, float]:
    """Student's 95 % interval for the mean of two or more values (Student 1908)."""
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return mean(values) - half, mean(values) + half


def compare(final: pandas.DataFrame) -> pandas.DataFrame:
    """One row per setting, the best first, from the last epoch's rows (lr, momentum, seed, accuracy, loss).

    The best has the highest mean accuracy. difference, low and high: mean accuracy less that of the best, with its 95 %
    interval, paired by seed. tied: the interval holds 0, so these seeds can't tell the setting from the best.
    """
    groups = {name: group.sort_values("seed") for name, group in final.groupby(["lr", "momentum"])}
    ranking = sorted(groups, key=lambda name: -mean(groups[name]["accuracy"]))
    best = groups[ranking[0]]["accuracy"].tolist()
    return pandas.DataFrame([_row(name, groups[name], best) for name in ranking])


def _row(name: Any, group: pandas.DataFrame, best: list[float]) -> dict[str, Any]:
    accuracy, loss = group["accuracy"].tolist(), group["loss"].tolist()
    differences = [own - other for own, other in zip(accuracy, best, strict=True)]
    low, high = t_interval(differences)
    return {
        "lr": name[0],
        "momentum": name[1],
        "accuracy_mean": mean(accuracy),
        "accuracy_sd": stdev(accuracy),
        "loss_mean": mean(loss),
        "loss_sd": stdev(loss),
        "difference": mean(differences),
        "difference_low": low,
        "difference_high": high,
        "tied": low <= 0 <= high,
    }
