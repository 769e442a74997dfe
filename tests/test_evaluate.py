import json
import shutil
from contextlib import chdir
from pathlib import Path

from stagecraft import checkpoint
from stagecraft.errors import PipelineError
from stages import evaluate
from stages.lib import data, model, numerics, params, tensors

import numpy as np
import pandas
import pytest
import torch
from matplotlib.figure import Figure
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

TABLE = pandas.DataFrame({"actual": [0, 0, 1, 2, 2, 2], "predicted": [0, 1, 1, 2, 2, 0]})


def test_the_notebook_s_losses_are_drawn_beside_those_of_mnist_only(small, tmp_path, run_stages, monkeypatch):
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    tables = []
    monkeypatch.setattr(evaluate, "loss_figure", lambda loss, published: tables.append(published) or Figure())
    with chdir(tmp_path):
        run_stages("evaluate")
        monkeypatch.setitem(data.DATASETS, "mnist", data.DATASETS["digits"])
        monkeypatch.setattr(checkpoint, "load", lambda *_: {})  # refuses what was trained on the digits
        run_stages("evaluate", dataset="mnist")
    assert tables[0] is None and list(tables[1]) == ["epoch", "fresh", "continued"]


def test_counts_and_the_wilson_interval():
    low, high = map(pytest.approx, binomtest(4, 6).proportion_ci(method="wilson"))
    expected = {"accuracy": 4 / 6, "accuracy_low": low, "accuracy_high": high, "error_rate": 2 / 6}
    assert evaluate.score(TABLE, loss=0.5) == expected | {"correct": 4, "total": 6, "loss": 0.5}


def test_scores_of_each_class_are_those_of_scikit_learn():
    table = evaluate.classes(TABLE)
    expected = precision_recall_fscore_support(TABLE["actual"], TABLE["predicted"], labels=range(10), zero_division=0)
    np.testing.assert_allclose(table[["class", "precision", "recall", "f1", "images"]].T, [range(10), *expected])


def test_predictions_name_the_likeliest_class_and_the_float32_nearest_to_its_probability():
    logits = torch.tensor([[0.1, 3.3, 1.7], [2.0, 0.0, 0.0]])
    table = evaluate.predictions(logits, torch.tensor([1, 2]))
    assert table[["index", "actual", "predicted"]].to_numpy().tolist() == [[0, 1, 1], [1, 2, 0]]
    true = np.exp(logits.double().numpy())
    assert table["probability"].tolist() == (true.max(1) / true.sum(1)).astype(np.float32).tolist()


@pytest.fixture
def network(small, monkeypatch):
    """The network of `small`, which is the current folder then."""
    monkeypatch.chdir(small)
    network = model.empty(params.load())
    checkpoint.load("models/checkpoint.safetensors", network, {})
    return network


def test_no_result_depends_on_how_the_images_are_cut(network, monkeypatch):
    images = tensors.to_tensors(data.load_test("digits"))
    arithmetic = numerics.arithmetic("exact", "cpu")
    whole = evaluate.predict(network, images, arithmetic)
    monkeypatch.setattr(tensors, "AT_ONCE", 4)
    assert torch.equal(evaluate.predict(network, images, arithmetic), whole)


def test_calibration_is_numpy_s_histograms_of_the_groups_that_have_an_image():
    generator = np.random.default_rng(0)
    probability = np.append(generator.uniform(0.5, 0.99, 997), [0.3, 0.5, 1.0])  # borders
    correct = generator.uniform(size=1_000) < probability
    table = pandas.DataFrame({"actual": 1, "predicted": correct.astype(int), "probability": probability})
    found = evaluate.calibration(table)
    weights = probability, correct.astype(float), None
    counted = np.array([np.histogram(probability, np.linspace(0, 1, 11), weights=each)[0] for each in weights])
    sums, hits, images = counted[:, counted[2] > 0]
    expected = {"probability": sums / images, "correct": hits / images, "images": images.astype(int)}
    pandas.testing.assert_frame_equal(found, pandas.DataFrame(expected), rtol=1e-14, atol=0)


def test_summary_names_results_then_settings_and_reads_back_exactly():
    rows = evaluate.summary(evaluate.score(TABLE, 0.1 + 0.2), 15910, {"momentum": 0.0, "epochs": 17})
    assert rows["name"][:5].tolist() == ["accuracy", "accuracy_low", "accuracy_high", "error_rate", "loss"]
    lines = rows.to_csv(index=False, lineterminator="\n").splitlines()
    assert lines[1] == f"accuracy,{4 / 6}"
    assert lines[5:] == ["loss,0.30000000000000004", "parameters,15910", "momentum,0.0", "epochs,17"]


def test_the_files_agree_with_each_other_and_with_scipy_in_double_precision(network):
    images, labels = data.load_test("digits")
    logits = network.double()(torch.tensor(images).flatten(1).double() / 255).detach()
    log_probability = log_softmax(logits, axis=1)
    table, scores = pandas.read_csv("plots/predictions.csv"), json.loads(Path("metrics/test.json").read_text())
    assert (table["predicted"] == log_probability.argmax(1)).all()
    np.testing.assert_allclose(table["probability"], np.exp(log_probability.max(1)), rtol=1e-5)
    assert scores["loss"] == pytest.approx(-log_probability[np.arange(len(labels)), labels].mean(), rel=1e-6)
    assert len(table) == scores["total"] == 297
    assert (table["actual"] == table["predicted"]).sum() == scores["correct"]
    wrong = pandas.read_csv("plots/classes.csv").eval("images * (1 - recall)").sum()
    assert wrong == pytest.approx(scores["total"] - scores["correct"])
    parameters = json.loads(Path("metrics/model.json").read_text())["parameters"]
    assert f"Total params: {parameters:,}" in Path("models/summary.txt").read_text()


def test_mistakes_are_shown_with_their_own_images_the_most_confident_first():
    rows = [[0, 7, 2, 0.5], [1, 4, 4, 0.9], [2, 5, 8, 0.875], [3, 6, 0, 0.6]]
    table = pandas.DataFrame(rows, columns=["index", "actual", "predicted", "probability"])
    images = np.broadcast_to(np.arange(4.0).reshape(4, 1, 1) / 4, (4, 28, 28))
    figure = evaluate.mistakes_figure(table, images, 2, tuple("abcdefghij"))
    assert figure.get_suptitle() == "The 2 most confident of 3 mistakes"
    assert [axes.get_title() for axes in figure.axes] == ["f taken for i\n87.5%", "g taken for a\n60.0%"]
    assert [axes.images[0].get_array().max() for axes in figure.axes] == [2 / 4, 3 / 4]
    without = evaluate.mistakes_figure(table[1:2], images, 2, tuple("abcdefghij"))
    assert without.get_suptitle() == "The 0 most confident of 0 mistakes"


def test_weights_above_0_are_red_and_0_is_the_middle_of_the_scale():
    weights = np.zeros((2, 784))
    weights[0, 0], weights[1, 783] = 3, -1
    picture = evaluate.weights_figure(weights).axes[0].images[0]
    drawn = picture.get_array()
    assert (drawn[0, 0], drawn[27, 56]) == (3, -1)
    red, _, blue, _ = picture.cmap(picture.norm(3))
    assert red > blue
    np.testing.assert_allclose(picture.cmap(picture.norm(0.0))[:3], 0.97, atol=0.01)


def test_the_loss_is_drawn_beside_the_two_tables_it_is_named_after():
    loss = pandas.DataFrame({"epoch": [1, 2], "train_loss": [0.7, 0.6]})
    loss = loss.assign(validation_loss=np.nan, validation_accuracy=np.nan)
    published = pandas.DataFrame({"epoch": [1, 2], "fresh": [0.9, 0.8], "continued": [0.5, 0.4]})
    validated = loss.assign(validation_loss=[0.8, 0.75], validation_accuracy=[0.5, 0.9])
    beside, (axes, right) = evaluate.loss_figure(loss, published).axes, evaluate.loss_figure(validated, None).axes
    drawn = [{line.get_label(): list(line.get_ydata()) for line in each.lines} for each in (*beside, axes)]
    assert drawn == [
        {"notebook, fresh": [0.9, 0.8], "notebook, continued": [0.5, 0.4], "this run, train_loss": [0.7, 0.6]},
        {"this run, train_loss": [0.7, 0.6], "this run, validation_loss": [0.8, 0.75]},
    ]
    assert list(right.lines[0].get_ydata()) == [50, 90]


@pytest.mark.parametrize(
    ("units", "title"),
    [
        (0, "No layer sees the pixels"),
        (7, "Weights of the 7 hidden units"),
        (1_300, "Weights of the first 100 of 1,300 hidden units"),
    ],
)
def test_the_weights_of_any_number_of_units_can_be_drawn(units, title):
    layer = torch.nn.Linear(784, units) if units else torch.nn.Linear(28, 4)
    assert evaluate.weights_figure(evaluate.of_pixels(layer)).get_suptitle() == title


@pytest.mark.parametrize(("stage", "name", "value"), [("evaluate", "lr", 0.7), ("draw", "numerics", "native")])
def test_a_network_that_other_settings_trained_is_refused(stage, name, value, small, tmp_path, run_stages, monkeypatch):
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    told = f"{name}: expected {value!r}, found {getattr(params.load(), name)!r}"
    with pytest.raises(PipelineError, match=rf"(?s)then `dvc repro`:.*{told}"):
        run_stages(stage, **{name: value})
