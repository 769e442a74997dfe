"""make verify on a pipeline of three stages that take no time."""

import re
from importlib.metadata import version
from pathlib import Path

from stagecraft import resume
from stagecraft.errors import PipelineError
from tests.tools.toy import COMMIT, shell
from tools import outputs, page, verify

import pytest

pytestmark = pytest.mark.usefixtures("project")
EDIT = "perl -pi -e s/0.25/0.26/"


def refused(reason: str) -> str:
    with pytest.raises(PipelineError, match=reason) as error:
        verify.main()
    return str(error.value)


def test_what_is_recorded_is_reproduced_and_no_training_goes_on_from_its_own_end(capfd):
    resume.FOLDER.mkdir()
    (resume.FOLDER / "state").touch()
    Path(".dvcignore").write_text("*.md\n")
    Path("raw/notes.md").touch()
    verify.main()
    assert not resume.FOLDER.exists()
    header, line, *rows, _, verdict = capfd.readouterr().out.splitlines()
    assert header.split() == ["|", "output", "|", "recorded", "|", "here", "|", "same", "|"]
    assert set(line) == {"|", "-"}
    assert [row.split()[-2] for row in rows] == ["yes"] * 4
    assert verdict == "verify: all 4 outputs, computed again from nothing, are the recorded ones to the byte"


BEFORE = "as it was here before this run, was not the recorded one", "yes, was ALTERED"
# By what was done: the commands, and by each output what verify says of it, and how its row ends
CHANGES = {
    f"{EDIT} number.csv && dvc commit -q -f && {COMMIT} && {EDIT} metric.json && {COMMIT} && echo >> raw/a && "
    "head -c 60 picture.png > cut && mv cut picture.png": {
        "number.csv": ("came out different: line 2 should be '1,0.26.n', is '1,0.25", "NO"),
        "metric.json": ("in the last commit is not the one that dvc.lock records", "yes, was ALTERED"),
        "raw": BEFORE,
        "picture.png": BEFORE,
    },
    'perl -pi -e \'s/"L"./"L").point(lambda value: value | 1)/\' picture.py && '
    f"{EDIT} number.sh && find .dvc/cache -size 18c -delete": {  # the object of number.csv
        "number.csv": (r"came out different: its MD5 should be \w{32}, is \w{32}", "NO"),
        "raw": ("came out different: B: line 3 should be '1,0.25.n', is '1,0.26", "NO"),
        "picture.png": (r"came out different: byte \d+", "NO"),
    },
}


@pytest.mark.parametrize("commands", CHANGES, ids=["files", "code"])
def test_outputs_that_are_not_the_recorded_ones_are_named_and_versions_that_may_be_why(commands, capfd):
    shell(commands)
    told = refused(rf"installed here: numpy {version('numpy')} \(pinned 0.1\)(\n|$)")
    assert ("dvc.lock of the last commit was made with others than these: " in told) == ("number.sh" in commands)
    rows = {row.split()[1]: row.rstrip("| ") for row in capfd.readouterr().out.splitlines() if row.startswith("| ")}
    for name, (reason, end) in CHANGES[commands].items():
        assert re.search(f"{name},? {reason}", told)
        assert rows[name].endswith(f"| {end}")


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


def test_code_and_settings_that_were_not_recorded_are_told_before_and_after_and_may_be_committed(capfd):
    shell("echo '# the same numbers' >> number.sh && dvc exp run -q -S rate=0.5")
    changed = r"number.sh, rate 0.5 \(recorded 1e-05\)"
    refused(f"^verify: all 4 outputs are the recorded ones, but dvc.lock of .* these: {changed}; commit it anew$")
    assert re.match(
        f"These are not what the last commit's results were made with, .*: {changed}.$",
        capfd.readouterr().out.splitlines()[0],
    )
    shell(COMMIT)
    verify.main()
    assert capfd.readouterr().out.splitlines()[-1].endswith("are the recorded ones to the byte")


def test_without_a_promise_of_bytes_equal_ones_are_not_called_proof(capfd):
    shell("perl -pi -e s/exact/native/ params.yaml && dvc repro -q && " + COMMIT)
    verify.main()
    first, *_, last = capfd.readouterr().out.splitlines()
    assert first.startswith("With numerics: native no bytes are promised")
    assert last.endswith("on this machine; with numerics: native no other can promise them")


def test_a_picture_of_the_same_pixels_in_other_bytes_is_the_same_and_said_so(monkeypatch, capfd):
    monkeypatch.setenv("LEVEL", "1")
    for _ in range(2):  # the second finds the picture of the first, which is not altered either
        verify.main()
        *_, row, _, verdict = capfd.readouterr().out.splitlines()
        assert row.startswith("| picture.png") and row.endswith("| pixels |")
        assert verdict.endswith("are the recorded ones; 1 of them, pictures, to the pixel, in other bytes")


@pytest.mark.parametrize("settings", [b"rate: 1\nrate: 2\n", b"rate: 1  # gr\xfcn\n"])
def test_settings_that_can_t_be_read_are_told_as_make_run_does(settings):
    Path("params.yaml").write_bytes(settings)
    refused("params.yaml")
    shell(COMMIT)
    with pytest.raises(PipelineError, match=r"params.yaml of the last commit"):
        page.committed()


def test_of_a_long_line_the_message_quotes_what_is_around_the_difference():
    before, now = (f"{'a' * 100_000}{digit}{'b' * 100_000}\n".encode() for digit in "12")
    told = outputs.first_difference(before, now)
    assert len(told) < 250 and "aaa1bbb" in told and "aaa2bbb" in told
