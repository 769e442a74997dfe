import json
from pathlib import Path

from stages import evaluate

import numpy as np
import pandas
import pytest
import torch

TABLE = pandas.DataFrame({"actual": [0, 0, 1, 2, 2, 2], "predicted": [0, 1, 1, 2, 2, 0]})


def test_counts_and_the_wilson_interval() -> None:
    scores = evaluate.score(TABLE, loss=0.5)
    assert (scores["correct"], scores["total"], scores["loss"]) == (4, 6, 0.5)
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["error_rate"] == pytest.approx(2 / 6)
    # Wilson's formula, written out.
    z, p, n = 1.959963984540054, 4 / 6, 6
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert scores["accuracy_low"] == pytest.approx((middle - half) / (1 + z**2 / n))
    assert scores["accuracy_high"] == pytest.approx((middle + half) / (1 + z**2 / n))


def test_scores_of_each_class_counted_by_hand() -> None:
    table = evaluate.classes(TABLE)
    assert table["class"].tolist() == list(range(10))
    np.testing.assert_allclose(table["precision"][:3], [1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(table["recall"][:3], [1 / 2, 1, 2 / 3])
    np.testing.assert_allclose(table["f1"][:3], [1 / 2, 2 / 3, 4 / 5])
    assert table["images"].tolist() == [2, 1, 3, 0, 0, 0, 0, 0, 0, 0]


def test_predictions_name_the_likeliest_class_and_its_probability() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 0.0]])
    table = evaluate.predictions(logits, torch.tensor([1, 2]))
    assert table[["index", "actual", "predicted"]].to_numpy().tolist() == [[0, 1, 1], [1, 2, 0]]
    expected = [np.exp(3) / (1 + np.exp(3) + np.exp(1)), np.exp(2) / (np.exp(2) + 2)]
    np.testing.assert_allclose(table["probability"], expected)


def test_every_image_is_predicted_once_and_in_order() -> None:
    images = torch.arange(7.0).reshape(7, 1, 1, 1)
    logits = evaluate.predict(torch.nn.Identity(), images, torch.zeros(7), batch_size=3)
    assert logits.flatten().tolist() == list(range(7))


def test_the_files_agree_with_each_other(small: Path) -> None:
    scores = json.loads((small / "metrics/test.json").read_text())
    table = pandas.read_csv(small / "plots/predictions.csv")
    assert len(table) == scores["total"] == 297
    assert (table["actual"] == table["predicted"]).sum() == scores["correct"]
    wrong = pandas.read_csv(small / "plots/classes.csv").eval("images * (1 - recall)").sum()
    assert wrong == pytest.approx(scores["total"] - scores["correct"])


def test_the_loss_is_the_mean_over_the_test_images(small: Path) -> None:
    # For images predicted right, predictions.csv has the probability that the loss takes the logarithm of; so a bound.
    scores = json.loads((small / "metrics/test.json").read_text())
    table = pandas.read_csv(small / "plots/predictions.csv")
    right = table["actual"] == table["predicted"]
    floor = -(np.log(table["probability"][right]).sum() + np.log1p(-table["probability"][~right]).sum()) / len(table)
    assert floor <= scores["loss"] < 10 * floor


def test_no_mistakes_and_many_units_can_be_drawn() -> None:
    perfect = pandas.DataFrame({"index": [0], "actual": [1], "predicted": [1], "probability": [0.9]})
    assert "0 of 0" in evaluate.mistakes_figure(perfect, torch.zeros(1, 1, 28, 28), 5).get_suptitle()
    for units in (1, 7, 130):
        title = evaluate.weights_figure(np.ones((units, 784))).axes[0].get_title()
        assert title == f"Weights into {min(units, 100)} of the {units} hidden units"
