"""Say which candidate is best, which can't be told apart from it, and how the best does on the test images.

Reads data/raw, models/sweep.safetensors and plots/sweep/series.csv; writes metrics/sweep.json,
plots/sweep/settings.csv, plots/sweep/settings.png and sweep/answer.md. The test images are looked at once, by the best
candidate's models only.
"""

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from stages.lib import checkpoint, data, numerics, output, params, plot, tables, tensors
from sweep import ensemble
from sweep.comparison import compare
from sweep.grid import load_grid

import pandas
import torch
from matplotlib.figure import Figure

SERIES = ["epoch", "seed", "lr", "momentum", "validation_loss", "validation_correct"]  # the columns it needs


def last_epoch(series: pandas.DataFrame, validation_images: int) -> pandas.DataFrame:
    """What `compare` takes (lr, momentum, seed, accuracy, loss) from the last epoch of series.csv."""
    final = series[series["epoch"] == series["epoch"].max()]
    return final.assign(accuracy=final["validation_correct"] / validation_images, loss=final["validation_loss"])


def of_candidate(parameters: ensemble.Stacked, column: int) -> ensemble.Stacked:
    """The parameters (seeds, 1, ...) of one candidate, out of those (seeds, candidates, ...) of all."""
    return {name: value[:, column : column + 1] for name, value in parameters.items()}


def test_scores(best: ensemble.Stacked, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float | int]:
    """Mean and standard deviation over the models (seeds, 1, ...) on test images (n, 784) and labels (n,)."""
    loss, correct = (values.flatten().tolist() for values in ensemble.evaluate(best, images, labels))
    accuracy = [count / len(labels) for count in correct]
    return {
        "accuracy_mean": mean(accuracy),
        "accuracy_sd": stdev(accuracy),
        "loss_mean": mean(loss),
        "loss_sd": stdev(loss),
        "models": len(accuracy),
        "total": len(labels),
    }


def names(table: pandas.DataFrame) -> list[str]:
    """What to call each candidate: by the settings that vary in the grid, or by both if none does."""
    shown = [key for key in ("lr", "momentum") if table[key].nunique() > 1] or ["lr", "momentum"]
    rows = table[shown].itertuples(index=False)
    return [" ".join(f"{key}={value}" for key, value in zip(shown, row, strict=True)) for row in rows]


def spread(scores: Any) -> tuple[str, str]:
    """Accuracy and loss as text, each with its standard deviation."""
    accuracy = f"{scores['accuracy_mean']:.2%} ± {scores['accuracy_sd']:.2%}"
    return accuracy, f"{scores['loss_mean']:.4f} ± {scores['loss_sd']:.4f}"


def verdict(table: pandas.DataFrame, seeds: int) -> list[str]:
    """Sentences that name the best candidate, those that can't be told apart from it, and those that are worse."""
    named = table.assign(name=names(table))
    best, others = named.iloc[0], named.iloc[1:]
    tied, worse = (", ".join(others["name"][others["tied"] == is_tied]) for is_tied in (True, False))
    sentences = [
        f"Best of {len(table)} candidates by validation accuracy, with {seeds} seeds each: **{best['name']}**, "
        f"{spread(best)[0]} (mean ± standard deviation over the seeds).",
        f"Can't be told apart from it: {tied}." if tied else "",
        f"Worse: {worse}." if worse else "",
        edge(best.lr, table["lr"].tolist()),
    ]
    return [sentence for sentence in sentences if sentence]


def edge(best: float, lrs: list[float]) -> str:
    """A sentence if the best of two or more learning rates is the smallest or the largest of them."""
    if len(set(lrs)) > 1 and best in (min(lrs), max(lrs)):
        which, beyond = ("smallest", "smaller") if best == min(lrs) else ("largest", "larger")
        return f"Its learning rate is the {which} of the grid: a {beyond} one may be better still."
    return ""


def held_out(test: dict[str, Any]) -> str:
    accuracy, loss = spread(test)
    seen = f"On the {test['total']:,} test images, which only this candidate saw, and only once: "
    return f"{seen}accuracy {accuracy}, loss {loss}."


def rows(table: pandas.DataFrame) -> list[str]:
    """A row of a Markdown table for each candidate."""
    found = []
    for rank, row in table.iterrows():
        low, middle, high = (100 * row[name] for name in ("difference_low", "difference", "difference_high"))
        difference = f"{middle:+.2f} ({low:+.2f} to {high:+.2f}){', open' if row.tied else ''}" if rank else "best"
        found.append(f"| {row.lr} | {row.momentum} | {' | '.join(spread(row))} | {difference} |")
    return found


def answer(table: pandas.DataFrame, test: dict[str, Any]) -> str:
    """The result in Markdown: sentences for reading aloud, and a row for each candidate."""
    return "\n".join(
        [
            "# Which candidate is best?\n",
            *(f"{sentence}\n" for sentence in [*verdict(table, test["models"]), held_out(test)]),
            "| lr | momentum | validation accuracy | validation loss | points from the best, 95 % interval |",
            "|---|---|---|---|---|",
            *rows(table),
            "\nDifferences are paired by seed; an interval that holds 0 leaves the question open. The intervals hold "
            "for all pairs of candidates at once (Bonferroni's inequality; Dunn 1961): with 95 % confidence, none of "
            "those called worse is truly as good as the best.\n",
        ]
    )


def figure(table: pandas.DataFrame) -> Figure:
    """Left, each candidate's accuracy, mean and standard deviation; right, the paired differences from the best."""
    picture = Figure(figsize=(9, 1.6 + 0.35 * len(table)))
    left, right = picture.subplots(1, 2, sharey=True)
    for rank, row in table.iterrows():
        style = {"fmt": "o", "capsize": 3, "color": "C2" if rank == 0 else "C1" if row.tied else "C0"}
        left.errorbar(100 * row.accuracy_mean, rank, xerr=100 * row.accuracy_sd, **style)
        half = row.difference_high - row.difference
        right.errorbar(100 * row.difference, rank, xerr=100 * half, **style)
    left.set_yticks(table.index, names(table))
    left.invert_yaxis()
    left.set(xlabel="validation accuracy (%)", title="Mean and standard deviation over the seeds")
    right.axvline(0, color="0.7", linewidth=1)
    is_open = "; orange: open" if table["tied"][1:].any() else ""
    right.set(xlabel="points from the best", title=f"Paired by seed, 95 % interval{is_open}")
    return picture


def main() -> None:
    settings, grid = params.load(), load_grid()
    numerics.configure(settings.numerics)
    series = tables.read("plots/sweep/series.csv", SERIES)
    table = compare(last_epoch(series, grid.validation_images))

    lr, momentum = table.loc[0, ["lr", "momentum"]]
    path = Path("models/sweep.safetensors")
    stacked, order = checkpoint.decode(data.read(path), path)
    parameters = {name: stacked[name] for name in order["names"]}
    best = of_candidate(parameters, grid.candidates.index((lr, momentum)))
    images, labels = tensors.to_tensors(data.load_test(settings.dataset))
    test = test_scores(best, images.flatten(1), labels)

    text = answer(table, test)
    print(text)
    output.write_json("metrics/sweep.json", {"candidates": table.to_dict("records"), "test": test})
    output.write_csv("plots/sweep/settings.csv", table)
    output.write_text("sweep/answer.md", text)
    plot.save(figure(table), "plots/sweep/settings.png")


if __name__ == "__main__":
    main()
