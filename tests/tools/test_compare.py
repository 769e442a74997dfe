from stagecraft.errors import PipelineError
from tools import repository
from tools.compare import compare, mcnemar, read, report

import dvc.api
import pandas
import pytest
from scipy.stats import binomtest


def table(predicted: str, actual: str = "0123456789") -> pandas.DataFrame:
    return pandas.DataFrame({"index": range(len(actual)), "actual": list(actual), "predicted": list(predicted)})


def test_counts_are_those_worked_out_by_hand():
    assert compare(table("0123xxxxxx"), table("01xx45678x")) == (10, (4, 7), (2, 5), mcnemar((2, 5)))


@pytest.mark.parametrize("alone", [(2, 5), (5, 2), (4, 4), (0, 10), (700, 812)])
def test_the_p_value_is_the_binomial_test_s(alone):
    assert mcnemar(alone) == pytest.approx(binomtest(alone[0], sum(alone)).pvalue, rel=1e-12)
    assert mcnemar((0, 0)) == 1


def test_predictions_are_read_from_where_the_project_lies_in_a_larger_repository_and_checked(monkeypatch):
    asked = []
    monkeypatch.setattr(repository, "prefix", lambda: "courses/mnist/")
    monkeypatch.setattr(dvc.api, "read", lambda path, rev, mode: asked.append((path, rev)) or b"index,actual\n0,1\n")
    for name in ("main", "workspace"):
        with pytest.raises(PipelineError, match=rf"plots/predictions\.csv of {name} should have numbers in"):
            read(name)
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
