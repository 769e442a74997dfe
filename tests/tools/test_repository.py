"""What Git says of the project, wherever the project lies, and what is said where it refuses."""

import subprocess
from pathlib import Path

from stagecraft.errors import PipelineError
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


def test_a_repository_of_sha_256_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shell("git init -q --object-format=sha256")
    with pytest.raises(
        PipelineError, match=r"expected a Git repository of format SHA-1.*git init --object-format=sha1"
    ):
        repository.check_readable()


def test_a_partial_clone_is_refused_until_it_is_whole_as_the_message_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shell("git init -q whole && git -C whole config uploadpack.allowFilter true")
    for text in ("one", "two"):
        Path("whole/file").write_text(text)
        shell(f"cd whole && {COMMIT}")
    shell(f"git clone -q --filter=blob:none {(tmp_path / 'whole').as_uri()} partial")
    monkeypatch.chdir("partial")
    with pytest.raises(PipelineError, match="found a partial clone") as refused:
        repository.check_readable()
    shell(str(refused.value).split("`")[1])
    repository.check_readable()
