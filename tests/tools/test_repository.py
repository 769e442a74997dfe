"""What Git says of the project, wherever the project lies, and what is said where it refuses."""

from pathlib import Path

from stagecraft.errors import PipelineError
from tests.tools.toy import COMMIT, shell
from tools import repository

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each test is, and its user is Turkish."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")


@pytest.mark.parametrize("name", [".", "courses/é 1/mnist"])
def test_a_committed_file_is_found_by_its_path_in_the_project(name, monkeypatch):
    shell("git init -q")
    Path("of the repository").touch()
    Path(name).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(name)
    Path("dvc.lock").write_bytes(b"schema\n")
    assert repository.committed("dvc.lock") is None
    shell(COMMIT)
    Path("dvc.lock").write_bytes(b"another\n")
    assert repository.committed("dvc.lock") == b"schema\n"
    assert repository.committed("of the repository") == (b"" if name == "." else None)
    assert repository.prefix() == ("" if name == "." else f"{name}/")


@pytest.mark.parametrize(
    ("begun", "variable", "message"),
    [
        ("true", "A=", r"Git can't answer: not a git repository.*\n.*git init"),
        ("true", "PATH=", "expected the program git, found none"),
        ("git init -q", "A=", "there is no commit yet: `git add"),
        ("git init -q", "GIT_TEST_ASSUME_DIFFERENT_OWNER=1", r"(?s)dubious ownership.*git config --global --add safe"),
        ("git init -q --object-format=sha256", "A=", "expected a Git .* SHA-1.*git init --object-format=sha1"),
    ],
)
def test_where_git_or_a_commit_is_missing_or_not_to_be_used_the_message_says_what_to_do(
    begun, variable, message, monkeypatch
):
    shell(begun)
    monkeypatch.setenv(*variable.split("="))
    with pytest.raises(PipelineError, match=message):
        repository.check_readable()
        repository.commit()


def test_a_partial_clone_is_refused_until_it_is_whole_as_the_message_says(monkeypatch):
    shell(f"git init -q whole && cd whole && git config uploadpack.allowFilter true && echo 1 > file && {COMMIT}")
    shell(f"cd whole && echo 2 > file && {COMMIT} && git clone -q --filter=blob:none file://$PWD ../partial")
    monkeypatch.chdir("partial")
    with pytest.raises(PipelineError, match="found a partial clone") as refused:
        repository.check_readable()
    shell(str(refused.value).split("`")[1])
    repository.check_readable()
