"""tools/compare.py: two runs compared image by image."""

from stagecraft.errors import PipelineError
from tools import repository
from tools.compare import compare, mcnemar, read, report

import dvc.api
import pandas
import pytest
from scipy.stats import binomtest


def table(predicted: str, actual: str = "0123456789") -> pandas.DataFrame:
    return pandas.DataFrame({"index": range(len(actual)), "actual": list(actual), "predicted": list(predicted)})


@pytest.mark.parametrize(
    ("second", "right", "alone"),
    [("01xx45678x", (4, 7), (2, 5)), ("0123xxxxxx", (4, 4), (0, 0))],  # both are right on 2 images, or on 4
)
def test_counts_are_those_worked_out_by_hand(second, right, alone):
    assert compare(table("0123xxxxxx"), table(second)) == (10, right, alone, mcnemar(alone))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"index,actual,predicted\n", b"index,actual\n0,1\n"])
def test_what_is_no_table_of_predictions_is_refused(content, monkeypatch):
    monkeypatch.setattr(dvc.api, "read", lambda path, rev, mode: content)
    with pytest.raises(PipelineError, match=r"plots/predictions\.csv of main should have numbers in"):
        read("main")


@pytest.mark.parametrize("alone", [(2, 5), (5, 2), (59, 187), (4, 4), (0, 1), (0, 10), (700, 812)])
def test_the_p_value_is_the_binomial_test_s(alone):
    assert mcnemar(alone) == pytest.approx(binomtest(alone[0], sum(alone)).pvalue, rel=1e-12)
    assert mcnemar((0, 0)) == 1


def test_a_project_in_a_folder_of_a_larger_repository_is_read_from_there(monkeypatch):
    content = b"index,actual,predicted\n0,1,1\n"
    asked = []
    monkeypatch.setattr(repository, "prefix", lambda: "courses/mnist/")
    monkeypatch.setattr(dvc.api, "read", lambda path, rev, mode: asked.append((path, rev)) or content)
    assert len(read("main")) == len(read("workspace")) == 1
    assert asked == [("courses/mnist/plots/predictions.csv", "main"), ("plots/predictions.csv", None)]


@pytest.mark.parametrize(
    ("other", "message"),
    [(table("012", "012"), "10 and 3 test images"), (table("0" * 10, "9876543210"), "not the same ones")],
)
def test_runs_on_different_images_are_refused(other, message):
    with pytest.raises(PipelineError, match=message):
        compare(table("0123456789"), other)


def test_report_names_the_better_run_only_if_chance_is_unlikely():
    wrong = "x" * 10
    clear = report(("old", "new-lr"), compare(table(wrong), table("0123456789")))
    assert clear.splitlines()[0] == "old     0.00%  0 of 10 right, 0 of them alone"
    assert clear.splitlines()[-1] == "p = 0.00195 (McNemar's exact test): new-lr is better on images like these."
    open_question = report(("old", "new"), compare(table(wrong), table("0123xxxxxx")))
    assert open_question.endswith("these 10 images can't tell the two apart.")
