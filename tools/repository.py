"""The project's Git repository: the one place that asks Git, which may have the project as a folder of a larger one.

`python -m tools.repository` says whether DVC can read its commits.
"""

import os
import re
import subprocess

from stagecraft.errors import PipelineError

# By a part of what Git says. Where its owner is "dubious", Git names the remedy itself.
REMEDIES = {
    "not a git repository": "DVC and this need one: clone the project in place of downloading it, or make this folder "
    "a repository with `git init && git add --all && git commit --message Start`",
    "Needed a single revision": "there is no commit yet: `git add --all && git commit --message Start`",
}


def git(*arguments: str, asked: str = "") -> bytes:
    """What a Git command prints, with `asked` as its input; raises PipelineError with Git's reason if it refuses."""
    command, environment = ["git", *arguments], os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(command, input=asked.encode(), capture_output=True, env=environment)
    except FileNotFoundError:
        raise PipelineError("expected the program git, found none; install it: https://git-scm.com") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        remedies = [remedy for part, remedy in REMEDIES.items() if part in said]
        raise PipelineError("\n".join([f"Git can't answer: {said}", *remedies]))
    return done.stdout


def commit() -> str:
    """The short name of the last commit; raises PipelineError if there is none yet."""
    return git("rev-parse", "--verify", "--short", "HEAD").decode().strip()


def prefix() -> str:
    """Where the project lies in the repository: empty, or the path of a folder with a slash at its end."""
    return git("rev-parse", "--show-prefix").decode().removesuffix("\n")


def committed(path: str) -> bytes | None:
    """A file as the last commit has it, or None if there is no such file; `path` counts from this folder."""
    header, _, content = git("cat-file", "--batch", asked=f"HEAD:./{path}\n").partition(b"\n")
    return content[:-1] if re.fullmatch(rb"[0-9a-f]+ blob \d+", header) else None


def check_readable() -> None:
    """Raise PipelineError if DVC, which reads commits without Git's help, would fail here or wait for ever."""
    if git("rev-parse", "--show-object-format").decode().strip() != "sha1":
        raise PipelineError(
            "expected a Git repository of format SHA-1, as only of such can DVC read commits, found another; clone the "
            "project anew, or copy its files into a folder made by `git init --object-format=sha1`"
        )
    is_partial = re.search(rb"^remote\..*\.promisor$", git("config", "--list", "--name-only"), re.MULTILINE)
    if is_partial and b"\n?" in b"\n" + git("rev-list", "--objects", "--all", "--missing=print"):
        raise PipelineError(
            "expected all of Git's objects here, found a partial clone (--filter), in which DVC waits for ever for the "
            "others; `git fetch --refetch --no-filter` gets them"
        )


if __name__ == "__main__":
    check_readable()
