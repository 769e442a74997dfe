"""tools/compare.py: two runs compared image by image."""

from math import comb

from stagecraft.errors import PipelineError
from tools import repository
from tools.compare import compare, mcnemar, read, report

import dvc.api
import pandas
import pytest
from scipy.stats import binomtest


def table(predicted: str, actual: str = "0123456789") -> pandas.DataFrame:
    return pandas.DataFrame({"index": range(len(actual)), "actual": list(actual), "predicted": list(predicted)})


def test_counts_and_p_value_are_those_worked_out_by_hand():
    # The first alone is right on 2 images, the second alone on 5, both on 2, none on 1.
    result = compare(table("0123xxxxxx"), table("01xx45678x"))
    assert result.right == (4, 7)
    assert result.alone == (2, 5)
    two_sided = 2 * sum(comb(7, k) for k in range(3)) / 2**7
    assert result.p_value == pytest.approx(two_sided, abs=1e-15)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"index,actual,predicted\n", b"index,actual\n0,1\n"])
def test_what_is_no_table_of_predictions_is_refused(content: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dvc.api, "read", lambda path, rev, mode: content)
    with pytest.raises(PipelineError, match=r"plots/predictions\.csv of main should have numbers in"):
        read("main")


@pytest.mark.parametrize("alone", [(2, 5), (5, 2), (59, 187), (4, 4), (0, 1), (0, 10), (700, 812)])
def test_the_p_value_is_the_binomial_test_s(alone: tuple[int, int]):
    assert mcnemar(alone) == pytest.approx(binomtest(alone[0], sum(alone)).pvalue, rel=1e-12)


def test_a_project_in_a_folder_of_a_larger_repository_is_read_from_there(monkeypatch: pytest.MonkeyPatch):
    content = b"index,actual,predicted\n0,1,1\n"
    asked = []
    monkeypatch.setattr(repository, "prefix", lambda: "courses/mnist/")
    monkeypatch.setattr(dvc.api, "read", lambda path, rev, mode: asked.append((path, rev)) or content)
    assert len(read("main")) == len(read("workspace")) == 1
    assert asked == [("courses/mnist/plots/predictions.csv", "main"), ("plots/predictions.csv", None)]


def test_equal_runs_have_p_of_one():
    assert compare(table("0123xxxxxx"), table("0123xxxxxx")).p_value == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [(table("012", "012"), "10 and 3 test images"), (table("0" * 10, "9876543210"), "not the same ones")],
)
def test_runs_on_different_images_are_refused(other: pandas.DataFrame, message: str):
    with pytest.raises(PipelineError, match=message):
        compare(table("0123456789"), other)


def test_report_names_the_better_run_only_if_chance_is_unlikely():
    wrong = "x" * 10
    clear = report(("old", "new-lr"), compare(table(wrong), table("0123456789")))
    assert clear.splitlines()[0] == "old     0.00%  0 of 10 right, 0 of them alone"
    assert clear.splitlines()[-1] == "p = 0.00195 (McNemar's exact test): new-lr is better on images like these."
    open_question = report(("old", "new"), compare(table(wrong), table("0123xxxxxx")))
    assert open_question.endswith("these 10 images can't tell the two apart.")
