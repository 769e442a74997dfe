"""Mend what a kill, a power loss or a bad disk leaves behind and DVC can't mend itself: `python -m tools.repair`.

DVC empties dvc.lock and .dvc/tmp/rwlock before it writes them anew; killed in between, it can't read them any more. And
it trusts every object in its cache that is read-only: an emptied or altered one is handed out for ever. Nothing is
deleted but copies: a damaged file gets a name of its own and stays where it was. What DVC can read is left alone,
except where a network says that other settings made it than DVC's books do: such an entry is removed.
"""

import getpass
import json
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from stagecraft.errors import PipelineError
from tools import outputs, repository

import yaml
from dvc import rwlock
from dvc.lock import LockError, make_lock
from dvc.repo import Repo
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import ParseError, modify_yaml, parse_yaml
from safetensors import SafetensorError, safe_open
from voluptuous import Invalid

LOCKS = ["dvc.lock", "sweep/dvc.lock"]
CONFLICT = ("<<<<<<<", "|||||||", "=======", ">>>>>>>")  # what Git leaves in a file for its user to choose from


def tell(sentence: str) -> None:
    print(f"repair: {sentence}", file=sys.stderr)


def put_aside(path: Path) -> Path:
    """Give a file a name of its own in its folder; returns that."""
    names = (path.with_name(f"{path.name}.damaged{number}") for number in count(1))
    aside = next(name for name in names if not name.exists())
    return path.rename(aside)


def is_rwlock(text: str) -> bool:
    try:
        rwlock.SCHEMA(json.loads(text))
    except (ValueError, Invalid):
        return False
    return True


def is_lock(text: str) -> bool:
    """Whether DVC can read this text of a dvc.lock. It takes some that end in the middle of `md5`, and trips later."""
    try:
        stages = COMPILED_LOCKFILE_SCHEMA(parse_yaml(text, "dvc.lock"))["stages"]
    except (ParseError, Invalid, KeyError):
        return False
    entries = [entry for stage in stages.values() for kind in ("deps", "outs") for entry in stage.get(kind, [])]
    return all(entry.get("hash") not in ("m", "md") and isinstance(entry.get("md5", ""), str) for entry in entries)


def mend(path: Path, is_readable: Callable[[str], bool], before: bytes | None) -> bool:
    """Put a file aside that DVC can't read, and `before` in its place if there is one; returns whether it was so."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
    if text is None or is_readable(text) or any(line.startswith(CONFLICT) for line in text.splitlines()):
        return False
    aside = put_aside(path)
    if before is not None:
        path.write_bytes(before)
    instead = "" if before is None else "; the last commit's is in its place"
    tell(f"DVC can't read {path}, as if killed while it wrote it: it is now called {aside.name}{instead}")
    return True


def stored(repo: Repo, md5: str) -> Path:
    """Where the cache holds, or would hold, what has this MD5."""
    return Path(repo.cache.local.oid_to_path(md5))


def is_sound(stored: Path, md5: str) -> bool:
    return outputs.hash_of(stored) == md5.removesuffix(".dir")


def files(path: Path, md5: str, stored: Path) -> Iterator[tuple[Path, str]]:
    """An output, and the files in it if it is a folder, each with its MD5; `stored` is its object in the cache."""
    yield path, md5
    if not md5.endswith(".dir"):
        return
    if stored.exists() and is_sound(stored, md5):
        yield from ((path / name, own) for name, own in outputs.listed(stored.read_bytes()).items())
    else:  # its list is lost, but what is there now may name damaged objects
        yield from ((file, outputs.hash_of(file)) for file in path.rglob("*") if file.is_file())


def check(path: Path, md5: str, stored: Path) -> bool:
    """If an object isn't what its name says, put it aside and remove its copy at `path`; returns whether it was so."""
    here = outputs.hash_of(path) if path.is_file() else None
    if not stored.exists() or is_sound(stored, md5):
        if here not in (None, md5):
            path.touch()  # else DVC might trust its note of a size and a time, and not look at the file again
        return False
    is_copy = here == outputs.hash_of(stored)
    tell(f"{stored} is not what its name says: it is now called {put_aside(stored).name}")
    if is_copy:
        path.unlink()
        tell(f"{path} was a copy of that and is removed")
    return True


def made_with(stored: Path) -> dict[str, Any]:
    """The settings that a network in the cache says it was made with, as stagecraft/checkpoint.py writes them.

    None if it is damaged: DVC finds that out where it needs it.
    """
    try:
        with safe_open(stored, "np") as file:
            return json.loads((file.metadata() or {}).get("settings", "{}"))
    except SafetensorError:
        return {}


def untrue(repo: Repo, entry: dict[str, Any]) -> list[str]:
    """The settings that a stage's entry, in dvc.lock or in the run cache, has otherwise than the networks it made."""
    recorded = {name: value for values in entry.get("params", {}).values() for name, value in values.items()}
    networks = [stored(repo, out["md5"]) for out in entry.get("outs", []) if out["path"].endswith(".safetensors")]
    made = [pair for path in networks if path.exists() for pair in made_with(path).items()]
    return [
        f"{name} {recorded[name]} where the network says {value}"
        for name, value in made
        if name in recorded and number(recorded[name]) != number(value)
    ]


def number(value: object) -> object:
    """A number as such, also where a reader of YAML takes it for text."""
    try:
        return float(str(value))
    except ValueError:
        return value


def forget_untrue(repo: Repo, lock: Path) -> bool:
    """Take out of a dvc.lock what its networks contradict, as after a merge; returns whether there was any."""
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
    found = {stage: problems for stage, entry in stages.items() if (problems := untrue(repo, entry))}
    if found:
        with modify_yaml(lock) as content:
            for stage, problems in found.items():
                tell(f"{lock} has {stage} with {', '.join(problems)}: that entry is removed")
                del content["stages"][stage]
    return bool(found)


def forget_untrue_runs(repo: Repo) -> bool:
    """The same for DVC's notes of earlier runs, each of which would be handed out for its settings."""
    found = False
    for note in sorted(Path(repo.stage_cache.cache_dir).glob("*/*/*")):
        text = note.read_text(encoding="utf-8")
        if ".safetensors" in text and (problems := untrue(repo, yaml.load(text, yaml.CSafeLoader))):
            tell(f"{note} has a run with {', '.join(problems)}: it is removed")
            note.unlink()
            if not any(note.parent.iterdir()):
                note.parent.rmdir()  # DVC trips over an empty one
            found = True
    return found


def repair(repo: Repo, committed: dict[str, bytes | None]) -> bool:
    """Mend DVC's books, then the objects of the cache that they name; returns whether anything was damaged.

    `committed`: each dvc.lock by its path, as the last commit has it.
    """
    found = False
    for book in (Path(repo.tmp_dir, "rwlock"), Path(repo.tmp_dir, "exps/rwlock")):
        if book.exists():
            guard = make_lock(f"{book}.lock", tmp_dir=book.parent, hardlink_lock=repo.config["core"]["hardlink_lock"])
            with guard:
                found |= mend(book, is_rwlock, None)
    for name, before in committed.items():
        found |= mend(Path(name), is_lock, before)
    texts = [Path(name).read_text(encoding="utf-8") for name in committed if Path(name).exists()]
    recorded = {out for text in texts if is_lock(text) for out in outputs.recorded(text).items()}
    for output, of_output in sorted(recorded):
        for path, md5 in files(Path(output), of_output, stored(repo, of_output)):
            found |= check(path, md5, stored(repo, md5))
    for name in committed:
        if Path(name).exists() and is_lock(Path(name).read_text(encoding="utf-8")):
            found |= forget_untrue(repo, Path(name))
    return found | forget_untrue_runs(repo)


def check_user() -> None:
    """Raise PipelineError if this user has no name, as in a container, by which DVC would find its notes."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # by the version of Python
        raise PipelineError("expected a user with a name, found none here; `export USER=me`, and again") from None


def main() -> None:
    committed = {name: repository.committed(name) for name in LOCKS}
    check_user()
    try:
        with Repo() as repo, repo.lock:
            found = repair(repo, committed)
    except LockError:
        raise PipelineError(
            "DVC is at work here: run this again when it is done; where the file system has no locks, "
            "`dvc config --local core.hardlink_lock true` helps"
        ) from None
    except OSError as error:
        raise PipelineError(
            f"nothing can be mended: {error.filename}: {error.strerror}; if that is outside the project, let DVC "
            'keep its notes elsewhere: `dvc config --local core.site_cache_dir "$HOME/.cache/dvc"`'
        ) from None
    if found:
        tell("`dvc repro` makes again what is missing now (`dvc pull` fetches what is shared); `make verify` proves it")
    else:
        tell("nothing is damaged")


if __name__ == "__main__":
    main()
