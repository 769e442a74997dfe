"""Compare two finished runs image by image: `python -m tools.compare main exp-name`.

Reads plots/predictions.csv of two revisions (commits, branches, experiments, or `workspace` for the files here) and
prints both accuracies, how many images each got right alone, and McNemar's exact test (McNemar 1947): where exactly
one is right, is it as often the one as the other?
"""

import sys
from math import comb
from typing import NamedTuple

from stagecraft import tables
from stagecraft.errors import PipelineError
from tools import repository

import dvc.api
import pandas
from dvc.exceptions import DvcException
from dvc.scm import SCMError

PREDICTIONS = "plots/predictions.csv"
LEVEL = 0.05


class Comparison(NamedTuple):
    """Of two runs on the same images: how many each got right, how many each got right alone, and the p-value."""

    total: int
    right: tuple[int, int]
    alone: tuple[int, int]
    p_value: float


def read(revision: str) -> pandas.DataFrame:
    """The predictions of a revision; raises PipelineError if there are none."""
    here = revision == "workspace"
    if not here:
        repository.check_readable()
    try:
        path = PREDICTIONS if here else repository.prefix() + PREDICTIONS
        content = dvc.api.read(path, rev=None if here else revision, mode="rb")
    except SCMError:
        raise PipelineError(
            f"{revision!r} is not a commit, branch or experiment here; `dvc exp show` and `git log` list them, "
            "and `workspace` means the files here"
        ) from None
    except (DvcException, OSError):
        raise PipelineError(
            f"the files here lack the {PREDICTIONS} of {revision}; run `dvc repro` there, or `dvc pull` if it is shared"
        ) from None
    return tables.parse(content, f"{PREDICTIONS} of {revision}", ["index", "actual", "predicted"])


def mcnemar(alone: tuple[int, int]) -> float:
    """The two-sided p-value of the exact test (McNemar 1947): as uneven or more, were either as likely as the other.

    `alone`: how many images each got right alone. Computed in integers, so the same everywhere.
    """
    n = sum(alone)
    return min(1.0, 2 * sum(comb(n, k) for k in range(min(alone) + 1)) / 2**n)


def compare(first: pandas.DataFrame, second: pandas.DataFrame) -> Comparison:
    """McNemar's exact test on two tables with the columns index, actual and predicted.

    Raises PipelineError if they are not about the same images.
    """
    if len(first) != len(second):
        raise PipelineError(f"the runs have {len(first):,} and {len(second):,} test images: different datasets")
    if not first[["index", "actual"]].equals(second[["index", "actual"]]):
        raise PipelineError(f"the runs have {len(first):,} test images each, but not the same ones: different datasets")
    right_first = first["predicted"] == first["actual"]
    right_second = second["predicted"] == second["actual"]
    alone = int((right_first & ~right_second).sum()), int((right_second & ~right_first).sum())
    return Comparison(len(first), (int(right_first.sum()), int(right_second.sum())), alone, mcnemar(alone))


def report(names: tuple[str, str], result: Comparison) -> str:
    """The comparison as a few lines, the last of them a sentence."""
    width = max(len(name) for name in names)
    lines = [
        f"{name:<{width}}  {right / result.total:.2%}  {right:,} of {result.total:,} right, {alone:,} of them alone"
        for name, right, alone in zip(names, result.right, result.alone, strict=True)
    ]
    better = names[result.alone[1] > result.alone[0]]
    verdict = (
        f"{better} is better on images like these"
        if result.p_value < LEVEL
        else f"these {result.total:,} images can't tell the two apart"
    )
    return "\n".join([*lines, f"p = {result.p_value:.3g} (McNemar's exact test): {verdict}."])


def main() -> None:
    names = sys.argv[1:]
    if len(names) != 2 or not all(names):
        raise PipelineError("name two runs to compare, as in `make compare A=main B=exp-name`")
    first, second = names
    print(report((first, second), compare(read(first), read(second))))


if __name__ == "__main__":
    main()
