"""What evaluate writes for the page: calibration and the summary of a run."""

from pathlib import Path

from stages import evaluate
from stages.lib import params

import numpy as np
import pandas
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def table() -> pandas.DataFrame:
    """Seven predictions in three of the ten groups; 0.5 and 1.0 lie on borders."""
    return pandas.DataFrame(
        {
            "actual": [1, 2, 3, 4, 5, 6, 7],
            "predicted": [1, 2, 9, 4, 9, 6, 9],
            "probability": [0.5, 0.55, 0.59, 0.31, 0.33, 0.95, 1.0],
        }
    )


def test_calibration_of_a_small_table(table):
    found = evaluate.calibration(table)
    assert list(found.columns) == ["stated", "right", "images"]
    assert found["images"].tolist() == [2, 3, 2]
    assert found["right"].tolist() == [1 / 2, 2 / 3, 1 / 2]
    assert found["stated"].tolist() == pytest.approx([0.32, (0.5 + 0.55 + 0.59) / 3, 0.975], abs=1e-15)


def test_calibration_equals_numpys_histograms():
    generator = np.random.default_rng(0)
    stated = generator.uniform(0.1, 1, 997)
    right = generator.uniform(size=997) < stated
    found = evaluate.calibration(pandas.DataFrame({"actual": 1, "predicted": right.astype(int), "probability": stated}))
    edges = np.linspace(0, 1, 11)
    images, hits, sums = (np.histogram(stated, edges, weights=w)[0][1:] for w in (None, right.astype(float), stated))
    assert found["images"].tolist() == images.tolist()
    assert np.allclose(found["right"], hits / images, atol=1e-15)
    assert np.allclose(found["stated"], sums / images, atol=1e-14)


def test_summary_names_results_then_settings(table):
    settings = params.load(ROOT / "params.yaml").training()
    rows = evaluate.summary(evaluate.score(table, 0.75), 15910, settings)
    values = dict(zip(rows["name"], rows["value"], strict=True))
    assert list(values)[:6] == ["accuracy", "accuracy_low", "accuracy_high", "error_rate", "loss", "parameters"]
    assert values["accuracy"] == 4 / 7
    assert (values["loss"], values["parameters"], values["lr"]) == (0.75, 15910, settings["lr"])
    assert list(values)[6:] == list(settings)


def test_summary_reads_back_exactly(table):
    rows = evaluate.summary(evaluate.score(table, 0.1 + 0.2), 7, {"momentum": 0.0})
    lines = rows.to_csv(index=False, lineterminator="\n").splitlines()
    assert "loss,0.30000000000000004" in lines
    assert "parameters,7" in lines
    assert "momentum,0.0" in lines
