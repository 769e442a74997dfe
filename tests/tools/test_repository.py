"""What Git says of the project, wherever the project lies, and what is said where it refuses."""

import subprocess
from pathlib import Path

from stages.lib.errors import PipelineError
from tools import repository

import pytest


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True)


COMMIT = "git add -A && git commit -qm 'A commit'"


@pytest.mark.parametrize("folder", [".", "courses/é 1/mnist"])
def test_a_committed_file_is_found_by_its_path_in_the_project(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / folder
    project.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(project)
    shell(f"git init -q '{tmp_path}'")
    Path("dvc.lock").write_bytes(b"schema\n")
    shell(COMMIT)
    Path("dvc.lock").write_bytes(b"another\n")
    assert repository.committed("dvc.lock") == b"schema\n"
    assert repository.committed("sweep/dvc.lock") is None
    assert repository.prefix() == ("" if folder == "." else f"{folder}/")


def test_another_project_s_repository_around_this_one_has_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("dvc.lock").write_bytes(b"of the other\n")
    shell(f"git init -q && {COMMIT}")
    monkeypatch.chdir("project")
    assert repository.committed("dvc.lock") is None


def test_a_folder_without_git_is_told_how_to_become_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match=r"Git can't answer: not a git repository.*\n.*git init"):
        repository.committed("dvc.lock")


def test_before_the_first_commit_it_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shell("git init -q")
    assert repository.committed("dvc.lock") is None
    with pytest.raises(PipelineError, match=r"there is no commit yet: `git add"):
        repository.commit()


def test_a_folder_of_another_owner_is_told_with_git_s_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shell("git init -q")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    with pytest.raises(PipelineError, match=r"(?s)dubious ownership.*git config --global --add safe.directory"):
        repository.commit()


def test_without_git_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PipelineError, match="expected the program git, found none"):
        repository.commit()
