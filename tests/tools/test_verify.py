"""make verify on a pipeline of three stages that take no time."""

import re
from importlib.metadata import version
from pathlib import Path

from stagecraft import resume
from stagecraft.errors import PipelineError
from tests.tools.toy import COMMIT, commit, shell
from tools import outputs, page, verify

import pytest


@pytest.fixture(autouse=True)
def versions(project: Path) -> None:
    """What the pipeline was recorded with."""
    Path("requirements.txt").write_text(f"numpy=={version('numpy')}\nnot-installed-here==1.0\n")


@pytest.fixture
def printed(capfd: pytest.CaptureFixture[str]):
    """The lines that were printed since it was asked last."""
    return lambda: capfd.readouterr().out.splitlines()


def refused(reason: str) -> None:
    with pytest.raises(PipelineError, match=reason):
        verify.main()


def test_hashes_are_those_of_dvc(project):
    recorded = outputs.recorded(Path("dvc.lock").read_text())
    assert recorded["raw"].endswith(".dir")
    Path(".dvcignore").write_text("*.md\n")
    Path("raw/notes.md").touch()
    assert outputs.found(recorded, project) == recorded


def test_what_is_recorded_is_reproduced_and_no_training_goes_on_from_its_own_end(printed):
    resume.FOLDER.mkdir()
    (resume.FOLDER / "state").touch()
    verify.main()
    assert not resume.FOLDER.exists()
    header, line, *rows, _, verdict = printed()
    assert header.split() == ["|", "output", "|", "recorded", "|", "here", "|", "same", "|"]
    assert set(line) == {"|", "-"}
    assert [row.split()[-2] for row in rows] == ["yes"] * 4
    assert verdict == "verify: all 4 outputs, computed again from nothing, are the recorded ones to the byte"


EDIT = "perl -pi -e s/0.25/0.26/"
EDITED, ALTERED = "as it was here before this run, was not the recorded one", "| yes, was ALTERED |"
# By what was done: for each output the commands, what verify says of it, and how its row ends
ALTERATIONS = {
    "files were edited": [
        (f"{EDIT} number.csv", "number.csv", EDITED, ALTERED),
        (f"{EDIT} metric.json", "metric.json", EDITED, ALTERED),
        (f"{EDIT} raw/deep/b", "raw", EDITED, ALTERED),
        (": > picture.png", "picture.png", EDITED, ALTERED),
    ],
    "a picture was cut off": [("head -c 60 picture.png > cut; mv cut picture.png", "picture.png", EDITED, ALTERED)],
    "the commit has another file": [
        (
            f"{EDIT} metric.json && {COMMIT}",
            "metric.json", "in the last commit is not the one that dvc.lock records", ALTERED,
        )
    ],
    "an edited file was recorded": [
        (
            f"{EDIT} number.csv && dvc commit --quiet --force && {COMMIT}",
            "number.csv", "came out different: line 2 should be '1,0.26.n', is '1,0.25", "| NO   |",
        )
    ],
    "a stage varies": [
        (
            f"echo 'date +%N >> number.csv' >> number.sh && dvc repro -q && {COMMIT}",
            "number.csv", "came out different", "| NO   |",
        )
    ],
    "code was edited": [
        (
            """perl -pi -e 's/"L"./"L").point(lambda value: value | 1)/' picture.py""",
            "picture.png", r"came out different: byte \d+", "| NO   |",
        ),
        (f"{EDIT} number.sh", "raw", "came out different: B: line 3 should be '1,0.25.n', is '1,0.26", "| NO   |"),
    ],
    "the recorded file is gone": [
        (
            f"rm -r .dvc/cache && {EDIT} number.sh",
            "number.csv", r"came out different: its MD5 should be \w{32}, is \w{32}", "| NO   |",
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize("done", ALTERATIONS)
def test_outputs_that_are_not_the_recorded_ones_are_named(done, printed):
    for command, *_ in ALTERATIONS[done]:
        shell(command)
    with pytest.raises(PipelineError) as error:
        verify.main()
    rows = printed()
    for _, name, reason, end in ALTERATIONS[done]:
        assert re.search(f"{name},? {reason}", str(error.value))
        (row,) = [row for row in rows if row.startswith(f"| {name} ")]
        assert row.endswith(end)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (f"echo '<<<<<<< ours' > dvc.lock && {COMMIT}", r"DVC can't read dvc.lock of the last commit"),
        ("git rm -q --cached dvc.lock && git commit -qm Forget", r"the last commit has no dvc.lock to compare with"),
        ("echo false > number.sh", "nothing was verified"),
    ],
)
def test_where_nothing_can_be_compared_it_says_so(command, reason):
    shell(command)
    refused(reason)


def test_code_that_was_not_recorded_is_told_before_and_after(printed):
    shell("echo '# the same numbers' >> number.sh")
    commit()
    refused(r"^verify: all \d outputs are the recorded ones, but dvc.lock of .* these: number.sh; commit it anew$")
    assert printed()[0].startswith("These are not what the last commit's results were made with")
    shell("dvc repro -q")
    commit()
    verify.main()


def test_settings_of_an_experiment_are_named_before_the_run_and_verify_once_committed(printed):
    shell("dvc exp run -q -S rate=0.5")
    refused(r"rate 0.5 \(recorded 1e-05\)")
    assert printed()[0].endswith("and may change them: rate 0.5 (recorded 1e-05).")
    commit()
    verify.main()
    assert printed()[-1].endswith("are the recorded ones to the byte")


def test_without_a_promise_of_bytes_equal_ones_are_not_called_proof(printed):
    shell("perl -pi -e s/exact/native/ params.yaml && dvc repro -q")
    commit()
    verify.main()
    first, *_, last = printed()
    assert first.startswith("With numerics: native no bytes are promised")
    assert last.endswith("on this machine; with numerics: native no other can promise them")


def test_a_picture_of_the_same_pixels_in_other_bytes_is_the_same_and_said_so(monkeypatch, printed):
    monkeypatch.setenv("LEVEL", "1")
    for _ in range(2):  # the second finds the picture of the first, which is not altered either
        verify.main()
        *_, row, _, verdict = printed()
        assert row.startswith("| picture.png") and row.endswith("| pixels |")
        assert verdict.endswith("are the recorded ones; 1 of them, pictures, to the pixel, in other bytes")


def test_versions_are_named_where_something_differs():
    pins = "numpy==0.1 ; python_version > '3'\n    # via nothing\nnot-installed-here==1.0\n"
    Path("requirements.txt").write_text(pins)
    verify.main()
    shell(f"{EDIT} number.sh")
    refused(rf"installed here: numpy {version('numpy')} \(pinned 0.1\)\n")


@pytest.mark.parametrize(
    "settings",
    [
        b"<<<<<<< ours\nrate: 1\n=======\nrate: 2\n>>>>>>> theirs\n",
        b"rate: 1\nrate: 2\n",
        b"- rate\n",
        b"rate: 1  # gr\xfcn\n",
    ],
)
def test_settings_that_can_t_be_read_are_told_as_make_run_does(settings):
    Path("params.yaml").write_bytes(settings)
    refused(r"params.yaml")
    commit()
    with pytest.raises(PipelineError, match=r"params.yaml of the last commit"):
        page.committed()


def test_of_a_long_line_the_message_quotes_what_is_around_the_difference():
    before, now = (f"{'a' * 100_000}{digit}{'b' * 100_000}\n".encode() for digit in "12")
    told = outputs.first_difference(before, now)
    assert len(told) < 250 and "aaa1bbb" in told and "aaa2bbb" in told
