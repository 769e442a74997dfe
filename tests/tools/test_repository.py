"""What Git says of the project, wherever the project lies, and what is said where it refuses."""

from pathlib import Path

from stagecraft.errors import PipelineError
from tests.tools.toy import commit, shell
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
    commit()
    Path("dvc.lock").write_bytes(b"another\n")
    assert repository.committed("dvc.lock") == b"schema\n"
    assert repository.committed("sweep/dvc.lock") is None
    assert repository.committed("of the repository") == (b"" if name == "." else None)
    assert repository.prefix() == ("" if name == "." else f"{name}/")


def test_a_folder_without_git_is_told_how_to_become_a_repository():
    with pytest.raises(PipelineError, match=r"Git can't answer: not a git repository.*\n.*git init"):
        repository.committed("dvc.lock")


def test_before_the_first_commit_it_says_how_to_make_one():
    shell("git init -q")
    assert repository.committed("dvc.lock") is None
    with pytest.raises(PipelineError, match=r"there is no commit yet: `git add"):
        repository.commit()


def test_a_folder_of_another_owner_is_told_with_git_s_remedy(monkeypatch):
    shell("git init -q")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(PipelineError, match=r"(?s)dubious ownership.*git config --global --add safe.directory"):
        repository.commit()


def test_without_git_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PipelineError, match="expected the program git, found none"):
        repository.commit()


def test_a_repository_of_sha_256_is_refused():
    shell("git init -q --object-format=sha256")
    with pytest.raises(PipelineError, match=r"expected a Git .* of format SHA-1.*git init --object-format=sha1"):
        repository.check_readable()


def test_a_partial_clone_is_refused_until_it_is_whole_as_the_message_says(monkeypatch):
    Path("whole").mkdir()
    monkeypatch.chdir("whole")
    shell("git init -q && git config uploadpack.allowFilter true")
    for text in ("one", "two"):
        Path("file").write_text(text)
        commit()
    shell(f"git clone -q --filter=blob:none {Path().absolute().as_uri()} ../partial")
    monkeypatch.chdir("../partial")
    with pytest.raises(PipelineError, match="found a partial clone") as refused:
        repository.check_readable()
    shell(str(refused.value).split("`")[1])
    repository.check_readable()
