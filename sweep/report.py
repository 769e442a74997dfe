"""Say which setting is best, which can't be told apart from it, and how the best does on the test images.

Reads data/raw, models/sweep.pt and plots/sweep/series.csv; writes metrics/sweep.json, plots/sweep/settings.csv,
plots/sweep/settings.png and sweep/answer.md. The test images are looked at once, by the best setting's models only.
"""

from statistics import mean, stdev
from typing import Any

from stages.lib import data, numerics, output, params, plot
from sweep import ensemble, grid
from sweep.comparison import compare

import pandas
import torch
from matplotlib.figure import Figure


def named(lr: float, momentum: float) -> str:
    return f"lr={lr} momentum={momentum}"


def last_epoch(series: pandas.DataFrame, validation_images: int) -> pandas.DataFrame:
    """What `compare` takes (lr, momentum, seed, accuracy, loss) from the last epoch of series.csv."""
    final = series[series["epoch"] == series["epoch"].max()]
    return final.assign(accuracy=final["validation_correct"] / validation_images, loss=final["validation_loss"])


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


def edge(best: float, lrs: list[float]) -> str:
    """A sentence if the best of two or more learning rates is the smallest or the largest of them."""
    if len(set(lrs)) > 1 and best in (min(lrs), max(lrs)):
        which, beyond = ("smallest", "smaller") if best == min(lrs) else ("largest", "larger")
        return f"Its learning rate is the {which} of the grid: a {beyond} one may be better still."
    return ""


def answer(table: pandas.DataFrame, seeds: int, test: dict[str, Any]) -> str:
    """The result in Markdown: a paragraph for reading aloud, and a row for each setting."""
    best, others = table.iloc[0], table.iloc[1:]
    tied, worse = (
        [named(row.lr, row.momentum) for row in others[others["tied"] == is_tied].itertuples()]
        for is_tied in (True, False)
    )
    sentences = [
        f"Best of {len(table)} settings by validation accuracy, with {seeds} seeds each: "
        f"**{named(best.lr, best.momentum)}**, {best.accuracy_mean:.2%} ± {best.accuracy_sd:.2%} "
        "(mean ± standard deviation over the seeds).",
        f"Can't be told apart from it: {', '.join(tied)}." if tied else "",
        f"Worse: {', '.join(worse)}." if worse else "",
        edge(best.lr, table["lr"].tolist()),
        f"On the {test['total']:,} test images, which only this setting saw, and only once: "
        f"accuracy {test['accuracy_mean']:.2%} ± {test['accuracy_sd']:.2%}, "
        f"loss {test['loss_mean']:.4f} ± {test['loss_sd']:.4f}.",
    ]
    rows = [
        f"| {row.lr} | {row.momentum} | {row.accuracy_mean:.2%} ± {row.accuracy_sd:.2%} "
        f"| {row.loss_mean:.4f} ± {row.loss_sd:.4f} | {_difference(row) if row.Index else 'best'} |"
        for row in table.itertuples()
    ]
    return "\n".join(
        [
            "# Which setting is best?\n",
            *(f"{sentence}\n" for sentence in sentences if sentence),
            "| lr | momentum | validation accuracy | validation loss | points from the best, 95 % interval |",
            "|---|---|---|---|---|",
            *rows,
            "\nDifferences are paired by seed; an interval that holds 0 leaves the question open. Each interval stands "
            "alone: of twenty true ties, about one looks like a difference.\n",
        ]
    )


def _difference(row: Any) -> str:
    low, middle, high = (100 * value for value in (row.difference_low, row.difference, row.difference_high))
    return f"{middle:+.2f} ({low:+.2f} to {high:+.2f}){', open' if row.tied else ''}"


def figure(table: pandas.DataFrame) -> Figure:
    """Left, the accuracy of each setting, mean and standard deviation; right, the paired differences from the best."""
    picture = Figure(figsize=(9, 1.6 + 0.35 * len(table)))
    left, right = picture.subplots(1, 2, sharey=True)
    rows = range(len(table))
    colors = ["C2" if row == 0 else "C1" if tied else "C0" for row, tied in zip(rows, table["tied"], strict=True)]
    for row, color in zip(rows, colors, strict=True):
        setting = table.iloc[row]
        left.errorbar(100 * setting.accuracy_mean, row, xerr=100 * setting.accuracy_sd, fmt="o", color=color, capsize=3)
        low, high = setting.difference - setting.difference_low, setting.difference_high - setting.difference
        right.errorbar(100 * setting.difference, row, xerr=[[100 * low], [100 * high]], fmt="o", color=color, capsize=3)
    left.set_yticks(list(rows), [named(row.lr, row.momentum) for row in table.itertuples()])
    left.invert_yaxis()
    left.set(xlabel="validation accuracy (%)", title="Mean and standard deviation over the seeds")
    right.axvline(0, color="0.7", linewidth=1)
    right.set(xlabel="points from the best", title="Paired by seed, with 95 % interval; orange: open")
    return picture


def main() -> None:
    settings, chosen = params.load(), grid.load()
    numerics.configure(settings.numerics)
    series = pandas.read_csv("plots/sweep/series.csv")
    table = compare(last_epoch(series, chosen.validation_images))

    best = table.iloc[0]
    column = chosen.settings.index((best.lr, best.momentum))
    parameters = torch.load("models/sweep.pt", weights_only=True)
    images, labels = data.to_tensors(data.load_test(settings.dataset))
    # A slice and not an index: the dimension of the settings stays.
    of_best = {name: value[:, column : column + 1] for name, value in parameters.items()}
    test = test_scores(of_best, images.flatten(1), labels)

    text = answer(table, chosen.seeds, test)
    print(text)
    records = table.drop(columns=["lr", "momentum"]).to_dict("records")
    names = [named(row.lr, row.momentum) for row in table.itertuples()]
    output.write_json(
        "metrics/sweep.json",
        {
            "best": {"lr": best.lr, "momentum": best.momentum},
            "settings": dict(zip(names, records, strict=True)),
            "test": test,
        },
    )
    output.write_csv("plots/sweep/settings.csv", table)
    output.write_text("sweep/answer.md", text)
    plot.save(figure(table), "plots/sweep/settings.png")


if __name__ == "__main__":
    main()
