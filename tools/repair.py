"""DVC, once its own books can be read: `python -P tools/repair.py repro`; .venv/bin/dvc is tools/dvc, which runs this.

DVC empties .dvc/tmp/rwlock and dvc.lock before it writes them anew. Killed in between, it can't read them any more, and
every later command fails.
"""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import yaml
from dvc.cli import main as dvc
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

TEMPORARY = Path(".dvc/tmp")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@contextmanager
def held(lock: Path) -> Iterator[bool]:
    """Hold one of DVC's lock files as DVC does (zc.lockfile); gives whether no other process has it."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def project(arguments: list[str]) -> Path | None:
    """The folder in which DVC will look for its files: the nearest with .dvc, from here or from what --cd names."""
    start = Path(arguments[arguments.index("--cd") + 1]) if "--cd" in arguments[:-1] else Path()
    return next((path for path in [start.resolve(), *start.resolve().parents] if (path / ".dvc").is_dir()), None)


def is_rwlock(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def is_cut_short(text: str) -> bool:
    """Whether DVC can't read this dvc.lock, and not for a merge conflict, which is the user's to resolve."""
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(text, LOADER))
    except (yaml.YAMLError, Invalid):
        return "<<<<<<<" not in text
    return not text.endswith("\n")


def restore(path: Path) -> None:
    """Set a file to what the last commit has, or remove it if there is none that has it."""
    committed = subprocess.run(["git", "show", f"HEAD:./{path}"], capture_output=True)
    if committed.returncode == 0:
        path.write_bytes(committed.stdout)
    else:
        path.unlink()
    print(f"{path} was cut short when DVC was killed; `dvc repro` fills it from the cache", file=sys.stderr)


def repair() -> None:
    """Remove or restore what can't be read, unless another process is at work on it."""
    if not TEMPORARY.is_dir():
        return
    rwlock = TEMPORARY / "rwlock"
    with held(TEMPORARY / "rwlock.lock") as free:
        if free and rwlock.exists() and not is_rwlock(rwlock.read_text(errors="replace")):
            rwlock.unlink()
    with held(TEMPORARY / "lock") as free:
        for lock in (Path("dvc.lock"), Path("sweep/dvc.lock")):
            if free and lock.exists() and is_cut_short(lock.read_text(errors="replace")):
                restore(lock)


if __name__ == "__main__":
    if folder := project(sys.argv[1:]):
        with chdir(folder):
            repair()
    sys.argv[0] = "dvc"
    sys.exit(dvc())
