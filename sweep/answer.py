"""The answer of the sweep, as sentences, as a table and as a picture."""

from typing import Any

import pandas
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Of a candidate, by what the seeds say of it.
COLORS = {"best": "C2", "open: may be as good": "C1", "worse": "C0"}
BEST, OPEN, WORSE = COLORS.values()


def text(table: pandas.DataFrame, varied: list[str], test: dict[str, Any]) -> str:
    """The result in Markdown: sentences for reading aloud, and a row for each candidate, the best first."""
    head = [*varied, "validation accuracy", "validation loss", "points from the best, 95 % interval"]
    return "\n".join(
        [
            "# Which candidate is best?\n",
            *(f"{sentence}\n" for sentence in [*verdict(table, varied, test["models"]), tested(test)]),
            f"| {' | '.join(head)} |",
            "|---" * len(head) + "|",
            *rows(table, varied),
            "\nDifferences are paired by seed; an interval that holds 0 leaves the question open. The intervals hold "
            "for all pairs of candidates at once (Bonferroni's inequality; Dunn 1961): with 95 % confidence, none of "
            "those called worse is truly as good as the best.\n",
        ]
    )


def names(table: pandas.DataFrame, varied: list[str]) -> list[str]:
    """What to call each candidate: by the settings that have more than one value in the grid, or by all if none has."""
    shown = [key for key in varied if table[key].nunique() > 1] or varied
    return [name(row, shown) for row in table.to_dict("records")]


def name(settings: dict[str, Any], shown: list[str]) -> str:
    """What to call what has these settings."""
    return " ".join(f"{key}={settings[key]}" for key in shown)


def spread(scores: Any) -> tuple[str, str]:
    """Accuracy and loss as text, each with its standard deviation."""
    accuracy = f"{scores['accuracy_mean']:.2%} ± {scores['accuracy_sd']:.2%}"
    return accuracy, f"{scores['loss_mean']:.4f} ± {scores['loss_sd']:.4f}"


def verdict(table: pandas.DataFrame, varied: list[str], seeds: int) -> list[str]:
    """Sentences that name the best candidate, those that can't be told apart from it, and those that are worse."""
    named = table.assign(name=names(table, varied))
    best, others = named.iloc[0], named.iloc[1:]
    tied, worse = (", ".join(others["name"][others["tied"] == is_tied]) for is_tied in (True, False))
    sentences = [
        f"Best of {len(table)} candidates by validation accuracy, with {seeds} seeds each: **{best['name']}**, "
        f"{spread(best)[0]} (mean ± standard deviation over the seeds).",
        f"Can't be told apart from it: {tied}." if tied else "",
        f"Worse: {worse}." if worse else "",
        *(edge(key, table[key].tolist()) for key in varied),
    ]
    return [sentence for sentence in sentences if sentence]


def edge(name: str, values: list[Any]) -> str:
    """A sentence if the best one's number, the first of `values`, is the smallest or the largest of two or more."""
    if len(set(values)) > 1 and not isinstance(values[0], str) and values[0] in (min(values), max(values)):
        which, beyond = ("smallest", "smaller") if values[0] == min(values) else ("largest", "larger")
        return f"Its {name} is the {which} of the grid: a {beyond} one may be better still."
    return ""


def tested(test: dict[str, Any]) -> str:
    """What the best candidate does on the test images."""
    accuracy, loss = spread(test)
    seen = f"On the {test['total']:,} test images, which only this candidate saw, and only once: "
    return f"{seen}accuracy {accuracy}, loss {loss}."


def rows(table: pandas.DataFrame, varied: list[str]) -> list[str]:
    """A row of a Markdown table for each candidate."""
    found = []
    for rank, row in enumerate(table.to_dict("records")):
        low, middle, high = (100 * row[name] for name in ("difference_low", "difference", "difference_high"))
        difference = f"{middle:+.2f} ({low:+.2f} to {high:+.2f}){', open' if row['tied'] else ''}" if rank else "best"
        cells = [*(str(row[key]) for key in varied), *spread(row), difference]
        found.append(f"| {' | '.join(cells)} |")
    return found


def figure(table: pandas.DataFrame, varied: list[str]) -> Figure:
    """Above, each candidate's accuracy, mean and standard deviation; below, the paired differences from the best."""
    picture = Figure(figsize=(5, 2.6 + 0.5 * len(table)))
    above, below = picture.subplots(2, 1)
    for rank, row in table.iterrows():
        style = {"fmt": "o", "capsize": 3, "color": BEST if rank == 0 else OPEN if row.tied else WORSE}
        above.errorbar(100 * row.accuracy_mean, rank, xerr=100 * row.accuracy_sd, **style)
        below.errorbar(100 * row.difference, rank, xerr=100 * (row.difference_high - row.difference), **style)
    for axes in (above, below):
        axes.set_yticks(table.index, names(table, varied))
        axes.set_ylim(len(table) - 0.5, -0.5)
    above.set(xlabel="validation accuracy (%)", title="Mean and standard deviation over the seeds")
    below.axvline(0, color="0.7", linewidth=1)
    below.set(xlabel="points from the best", title="Paired by seed, 95 % interval")
    marks = [Line2D([], [], marker="o", color=color, label=meaning) for meaning, color in COLORS.items()]
    picture.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False)
    return picture
