"""Measure the trained network on the test images, the only stage that touches them after download.

Reads data/raw, models/checkpoint.safetensors, plots/loss.csv and data/published_loss.csv; writes metrics/test.json, the
tables predictions.csv, classes.csv, calibration.csv and summary.csv of plots, and pictures of the mistakes, the weights
and the loss.
"""

import math
from typing import Any

from stages.lib import checkpoint, data, model, numerics, output, params, plot, tables, tensors

import numpy as np
import pandas
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support
from torch import nn
from torch.nn import functional

UNITS_SHOWN = 100  # of the hidden layer, in the picture of its weights


@torch.no_grad()
def predict(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, batch_size: int) -> torch.Tensor:
    """The logits (n, 10) float32 of images (n, 1, 28, 28), each image once and in order."""
    every = torch.arange(len(labels))
    return torch.cat([network(batch.flatten(1)) for batch, _ in tensors.batches(images, labels, every, batch_size)])


def predictions(logits: torch.Tensor, labels: torch.Tensor) -> pandas.DataFrame:
    """One row per image: index, actual, predicted, and the probability of the predicted class."""
    probability, predicted = logits.double().softmax(1).max(1)
    return pandas.DataFrame(
        {"index": range(len(labels)), "actual": labels, "predicted": predicted, "probability": probability}
    )


def score(table: pandas.DataFrame, loss: float) -> dict[str, float | int]:
    """Loss in nats per image, counts, and accuracy with its Wilson 95 % interval (Wilson 1927)."""
    correct, total = int((table["actual"] == table["predicted"]).sum()), len(table)
    interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    return {
        "accuracy": correct / total,
        "accuracy_high": float(interval.high),
        "accuracy_low": float(interval.low),
        "correct": correct,
        "error_rate": (total - correct) / total,
        "loss": loss,
        "total": total,
    }


def classes(table: pandas.DataFrame) -> pandas.DataFrame:
    """Precision, recall and F1 of each class, and its number of images."""
    precision, recall, f1, images = precision_recall_fscore_support(
        table["actual"], table["predicted"], labels=range(10), zero_division=0
    )
    return pandas.DataFrame({"class": range(10), "precision": precision, "recall": recall, "f1": f1, "images": images})


def calibration(table: pandas.DataFrame) -> pandas.DataFrame:
    """How often the network is correct when it says how sure it is, for every tenth of the probability of a prediction.

    One row for each tenth that has images: the mean of the probabilities, the fraction of correct predictions, both in
    [0, 1], and the number of images. This is the reliability diagram of DeGroot and Fienberg (1983).
    """
    correct = table["actual"] == table["predicted"]
    tenth = (table["probability"] * 10).astype(int).clip(upper=9).rename("tenth")  # 1.0 belongs to the last
    groups = pandas.DataFrame({"probability": table["probability"], "correct": correct}).groupby(tenth)
    return groups.agg(
        probability=("probability", lambda group: math.fsum(group) / len(group)),  # exact, so the same on every machine
        correct=("correct", "mean"),
        images=("correct", "size"),
    ).reset_index(drop=True)


def summary(scores: dict[str, float | int], parameters: int, settings: dict[str, Any]) -> pandas.DataFrame:
    """What the head of the page of `dvc plots show` says of a run: rows of name and value, results before settings."""
    results = {name: scores[name] for name in ("accuracy", "accuracy_low", "accuracy_high", "error_rate", "loss")}
    values = results | {"parameters": parameters} | settings
    return pandas.DataFrame({"name": values.keys(), "value": values.values()}, dtype=object)


def mistakes_figure(table: pandas.DataFrame, images: torch.Tensor, count: int) -> Figure:
    """The `count` mistakes with the highest stated probability, the highest first; images: (n, 1, 28, 28)."""
    wrong = table[table["actual"] != table["predicted"]]
    shown = wrong.sort_values("probability", ascending=False, kind="stable").head(count)
    titles = [f"{row.actual} taken for {row.predicted}\n{row.probability:.1%}" for row in shown.itertuples()]
    title = f"The {len(shown)} most confident of {len(wrong):,} mistakes"
    return plot.titled_images(list(images[shown["index"].tolist(), 0]), titles, 6, 1.25, title)


def weights_figure(weights: np.ndarray) -> Figure:
    """What each hidden unit looks for: its weights (units, 784) as images on one scale, blue below 0 and red above."""
    shown = weights[:UNITS_SHOWN].reshape(-1, 28, 28)
    columns = min(len(shown), 10 if len(shown) > 25 else 5)
    grid = plot.mosaic(shown, columns)
    limit = np.nanmax(np.abs(grid))
    figure = Figure(figsize=(max(4, 1.4 * columns + 1.2), 1.4 * -(-len(shown) // columns) + 0.4))
    axes = figure.add_subplot()
    picture = axes.imshow(grid, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(picture, label="weight")
    which = f"first {len(shown)} of {len(weights):,}" if len(weights) > len(shown) else f"{len(shown)}"
    figure.suptitle(f"Weights of the {which} hidden units")
    axes.set(xticks=[], yticks=[])
    plot.bare(axes)
    return figure


def loss_figure(loss: pandas.DataFrame, published: pandas.DataFrame) -> Figure:
    """Training loss per epoch beside the notebook's two tables."""
    figure = Figure(figsize=(7, 4))
    axes = figure.add_subplot()
    axes.plot(published["epoch"], published["fresh"], "o", mfc="none", color="C1", label="notebook, fresh")
    axes.plot(published["epoch"], published["continued"], "s", mfc="none", color="C2", label="notebook, continued")
    axes.plot(loss["epoch"], loss["train_loss"], ".-", color="C0", label="this run")
    figure.suptitle("Training loss per epoch")
    axes.set(xlabel="epoch", ylabel="train_loss (nats per image)", yscale="log")
    axes.set_xlim(left=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False)
    return figure


def main() -> None:
    settings = params.load()
    numerics.configure(settings.numerics)
    network = model.empty(settings.model, settings.hidden_units)
    checkpoint.load("models/checkpoint.safetensors", network, settings.training())
    images, labels = tensors.to_tensors(data.load_test(settings.dataset))
    loss = tables.read("plots/loss.csv", ["epoch", "train_loss"])
    published = tables.read("data/published_loss.csv", ["epoch", "fresh", "continued"])

    logits = predict(network, images, labels, settings.batch_size)
    table = predictions(logits, labels)
    scores = score(table, functional.cross_entropy(logits.double(), labels).item())
    print(f"accuracy {scores['accuracy']:.2%}, {scores['correct']:,} of {scores['total']:,}, loss {scores['loss']:.4f}")

    output.write_json("metrics/test.json", scores)
    output.write_csv("plots/predictions.csv", table)
    output.write_csv("plots/classes.csv", classes(table))
    output.write_csv("plots/calibration.csv", calibration(table))
    parameters = sum(value.numel() for value in network.parameters())
    output.write_csv("plots/summary.csv", summary(scores, parameters, settings.training()))
    plot.save(mistakes_figure(table, images, settings.mistakes), "plots/mistakes.png")
    plot.save(weights_figure(next(network.parameters()).detach().numpy()), "plots/weights.png")
    plot.save(loss_figure(loss, published), "plots/loss.png")


if __name__ == "__main__":
    main()
