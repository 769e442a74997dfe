"""Measure the trained network on the test images. Of the other stages only draw looks at them, and learns nothing.

Reads data/raw, models/checkpoint.safetensors, plots/loss.csv and data/published_loss.csv; writes metrics/test.json, the
tables predictions.csv, classes.csv, calibration.csv and summary.csv of plots, and pictures of the mistakes, the weights
and the loss.
"""

import math
from pathlib import Path
from typing import Any

from stagecraft import checkpoint, inputs, output, tables
from stagecraft.errors import PipelineError
from stages.lib import data, model, numerics, params, plot, tensors
from stages.lib.tensors import Tensors

import numpy as np
import pandas
import samebits
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from torch import nn
from torch.nn import functional

PUBLISHED = Path("data/published_loss.csv")  # who has no use for it deletes the file, and its two lines in dvc.yaml
UNITS_SHOWN = 100  # of the hidden layer, in the picture of its weights
NORMAL_QUANTILE = 1.959963984540054  # of 0.975, for intervals that hold with a probability of 95 %


@torch.no_grad()
def predict(network: nn.Module, images: Tensors, arithmetic: numerics.Arithmetic) -> torch.Tensor:
    """The logits (n, 10) float32 of all images, each once and in order."""
    network.eval()
    with arithmetic:
        return torch.cat([network(images.batch(index)[0]) for index in images.parts()])


def predictions(logits: torch.Tensor, labels: torch.Tensor) -> pandas.DataFrame:
    """One row per image: index, actual, predicted, and the probability of the predicted class."""
    probability, predicted = samebits.probabilities(logits).max(1)
    return pandas.DataFrame(
        {"index": range(len(labels)), "actual": labels, "predicted": predicted, "probability": probability.double()}
    )


def score(table: pandas.DataFrame, loss: float) -> dict[str, float | int]:
    """Loss in nats per image, counts, and accuracy with its 95 % interval."""
    correct, total = int((table["actual"] == table["predicted"]).sum()), len(table)
    low, high = wilson(correct, total)
    return {
        "accuracy": correct / total,
        "accuracy_high": high,
        "accuracy_low": low,
        "correct": correct,
        "error_rate": (total - correct) / total,
        "loss": loss,
        "total": total,
    }


def wilson(correct: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a fraction (Wilson 1927, Journal of the American Statistical Association 22)."""
    z2 = NORMAL_QUANTILE * NORMAL_QUANTILE
    middle = correct + z2 / 2
    half = NORMAL_QUANTILE * math.sqrt(correct * (total - correct) / total + z2 / 4)
    return max(0.0, (middle - half) / (total + z2)), min(1.0, (middle + half) / (total + z2))


def classes(table: pandas.DataFrame) -> pandas.DataFrame:
    """Precision, recall and F1 of each class, 0 where there is nothing to divide by, and its number of images."""
    right = table["actual"][table["actual"] == table["predicted"]]
    found, predicted, images = (
        np.bincount(column, minlength=10) for column in (right, table["predicted"], table["actual"])
    )
    return pandas.DataFrame(
        {
            "class": range(10),
            "precision": found / predicted.clip(min=1),
            "recall": found / images.clip(min=1),
            "f1": 2 * found / (predicted + images).clip(min=1),
            "images": images,
        }
    )


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


def mistakes_figure(table: pandas.DataFrame, images: np.ndarray, count: int, classes: tuple[str, ...]) -> Figure:
    """The `count` mistakes with the highest stated probability, the highest first; images: (n, 28, 28) in [0, 1].

    classes: what the ten classes are called.
    """
    wrong = table[table["actual"] != table["predicted"]]
    shown = wrong.sort_values("probability", ascending=False, kind="stable").head(count)
    titles = [
        f"{classes[row.actual]} taken for {classes[row.predicted]}\n{row.probability:.1%}" for row in shown.itertuples()
    ]
    title = f"The {len(shown)} most confident of {len(wrong):,} mistakes"
    return plot.titled_images(list(images[shown["index"].tolist()]), titles, 4, 1.25, title)


def of_pixels(network: nn.Module) -> np.ndarray:
    """The weights (units, 784) of the first layer that sees the pixels, of no unit if there is none."""
    found = (value.detach().numpy() for value in network.parameters() if value.shape[1:] == (model.INPUTS,))
    return next(found, np.zeros((0, model.INPUTS), np.float32))


def weights_figure(weights: np.ndarray) -> Figure:
    """What each hidden unit looks for: its weights (units, 784) as images on one scale, blue below 0 and red above."""
    if len(weights) == 0:
        empty = Figure(figsize=(4, 1))
        empty.suptitle("No layer sees the pixels")
        return empty
    shown = weights[:UNITS_SHOWN].reshape(-1, 28, 28)
    columns = min(len(shown), 10 if len(shown) > 25 else 5)
    grid = plot.mosaic(shown, columns)
    limit = np.nanmax(np.abs(grid))
    figure = Figure(figsize=(5, 4 * -(-len(shown) // columns) / columns + 0.4))
    axes = figure.add_subplot()
    picture = axes.imshow(grid, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(picture, label="weight")
    which = f"first {len(shown)} of {len(weights):,}" if len(weights) > len(shown) else f"{len(shown)}"
    figure.suptitle(f"Weights of the {which} hidden units")
    axes.set(xticks=[], yticks=[])
    plot.bare(axes)
    return figure


def loss_figure(loss: pandas.DataFrame, published: pandas.DataFrame | None) -> Figure:
    """Loss per epoch, beside the notebook's two tables if they are there; it looks as .dvc/plots/loss.json draws it.

    The accuracy on validation images, if there are some, has an axis on the right.
    The axis reaches from 0.15 to 1.5 at least, so that it has labels on both sides of what the default settings give.
    """
    figure = Figure(figsize=(5, 3.4))
    axes = figure.add_subplot()
    if published is not None:
        for name, mark, color in (("fresh", "o", "#d55e00"), ("continued", "s", "#009e73")):
            axes.plot(published["epoch"], published[name], mark, mfc="none", color=color, label=f"notebook, {name}")
    for name, line in (("train_loss", ".-"), ("validation_loss", ".--")):
        if loss[name].notna().any():
            axes.plot(loss["epoch"], loss[name], line, color="#945dd6", label=f"this run, {name}")
    if loss["validation_accuracy"].notna().any():
        right = axes.twinx()
        right.plot(loss["epoch"], 100 * loss["validation_accuracy"], ":", color="#0072b2")
        right.set_ylabel("validation accuracy (%), dotted", color="#0072b2")
    for row in loss.iloc[[0, -1]].itertuples():
        axes.annotate(f"{row.train_loss:.3g}", (row.epoch, row.train_loss), (4, 4), textcoords="offset points")
    axes.update_datalim([(1, 0.15), (1, 1.5)])
    figure.suptitle("Loss per epoch")
    axes.set(xlabel="epoch", ylabel="loss (nats per image)", yscale="log")
    axes.set_xlim(left=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False)
    return figure


@inputs.unchanged("evaluate")
def main() -> None:
    settings = params.load()
    network = model.empty(settings)
    trained_with = checkpoint.load("models/checkpoint.safetensors", network, settings.training())
    test = tensors.to_tensors(data.load_test(settings.dataset))
    loss = tables.read("plots/loss.csv", ["epoch", "train_loss"])
    published = tables.read(PUBLISHED, ["epoch", "fresh", "continued"]) if PUBLISHED.exists() else None

    arithmetic = numerics.arithmetic(settings.numerics, "cpu")
    logits = predict(network, test, arithmetic)
    with arithmetic:
        test_loss = functional.cross_entropy(logits, test.labels).item()
    if not math.isfinite(test_loss):
        raise PipelineError(f"expected a finite loss on the test images, found {test_loss}; lower lr and `dvc repro`")
    table = predictions(logits, test.labels)
    scores = score(table, test_loss)
    print(f"accuracy {scores['accuracy']:.2%}, {scores['correct']:,} of {scores['total']:,}, loss {scores['loss']:.4f}")

    output.write_json("metrics/test.json", scores)
    output.write_csv("plots/predictions.csv", table)
    output.write_csv("plots/classes.csv", classes(table))
    output.write_csv("plots/calibration.csv", calibration(table))
    parameters = sum(value.numel() for value in network.parameters())
    output.write_csv("plots/summary.csv", summary(scores, parameters, trained_with))
    images = test.images.numpy() / 255
    classes_shown = data.DATASETS[settings.dataset].classes
    plot.save(mistakes_figure(table, images, settings.mistakes, classes_shown), "plots/mistakes.png")
    plot.save(weights_figure(of_pixels(network)), "plots/weights.png")
    is_notebook_s = settings.dataset == "mnist"
    plot.save(loss_figure(loss, published if is_notebook_s else None), "plots/loss.png")


if __name__ == "__main__":
    main()
