"""DVC, once its own books can be read: `python -P tools/repair.py repro`; .venv/bin/dvc is tools/dvc, which runs this.

DVC empties .dvc/tmp/rwlock and dvc.lock before it writes them anew. Killed in between, it can't read them any more, and
every later command fails.
"""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def is_cut_short(text: str) -> bool:
    """Whether DVC can't read this dvc.lock, and not for a merge conflict, which is the user's to resolve."""
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.load(text, LOADER))
    except (yaml.YAMLError, Invalid):
        return "<<<<<<<" not in text
    return False


def restore(path: Path) -> None:
    """Set a file to what the last commit has, or remove it if that has none."""
    committed = subprocess.run(["git", "show", f"HEAD:./{path}"], capture_output=True)
    if committed.returncode == 0:
        path.write_bytes(committed.stdout)
    else:
        path.unlink()


def repair() -> None:
    """Remove or restore what can't be read, unless another process is at work on it."""
    rwlock = TEMPORARY / "rwlock"
    with held(TEMPORARY / "rwlock.lock") as free:
        if free and rwlock.exists() and not is_json(rwlock.read_text()):
            rwlock.unlink()
    with held(TEMPORARY / "lock") as free:
        for lock in (Path("dvc.lock"), Path("sweep/dvc.lock")):
            if free and lock.exists() and is_cut_short(lock.read_text()):
                restore(lock)
                print(f"{lock} was cut short when DVC was killed; now it is the last commit's", file=sys.stderr)


if __name__ == "__main__":
    if TEMPORARY.is_dir():
        repair()
    sys.argv[0] = "dvc"
    sys.exit(dvc())
