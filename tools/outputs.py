"""The outputs of the pipeline: what a dvc.lock records of them, what the files here are, and where two differ."""

import hashlib
import json
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from tools import repository

import yaml
from dvc.fs import LocalFileSystem
from dvc.ignore import DvcIgnoreFilter
from dvc.repo import Repo
from PIL import Image

SHOWN = 80  # characters of a line that differs


def recorded(lock: str) -> dict[str, str]:
    """The MD5 of every output by its path, from the text of a dvc.lock."""
    stages = yaml.safe_load(lock)["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}


def found(paths: Iterable[str], root: Path) -> dict[str, str]:
    """The MD5 of those files and folders that are under `root`, read from them and not from DVC's memory of them."""
    return {path: hash_of(root / path, root) for path in paths if (root / path).exists()}


def hash_of(path: Path, root: Path = Path()) -> str:
    """The MD5 of a file; of a folder of the project in `root` that of DVC's list of its files, with the suffix .dir."""
    return f"{md5_of(listing(path, root))}.dir" if path.is_dir() else md5_of(path.read_bytes())


def listing(folder: Path, root: Path = Path()) -> bytes:
    """DVC's list of the files in a folder, as its cache has it: all but what .dvcignore of the `root` names."""
    files = DvcIgnoreFilter(LocalFileSystem(), str(root.absolute())).find(LocalFileSystem(), str(folder.absolute()))
    names = sorted(Path(file).relative_to(folder.absolute()).as_posix() for file in files)
    return json.dumps([{"md5": hash_of(folder / name), "relpath": name} for name in names]).encode()


def listed(content: bytes) -> dict[str, str]:
    """The MD5 of each file by its path in the folder, from DVC's list of them."""
    return {entry["relpath"]: entry["md5"] for entry in json.loads(content)}


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def first_difference(expected: bytes, found: bytes) -> str:
    """Where two files that differ do so first: the line if they are text, else the byte."""
    unequal = (i for i, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other)
    position = next(unequal, min(len(expected), len(found)))
    try:
        lines = [content.decode().splitlines(keepends=True) for content in (expected, found)]
    except UnicodeDecodeError:
        before, now = (content[position : position + 1].hex() or "the end" for content in (expected, found))
        return f"byte {position:,} of {len(expected):,} should be {before}, is {now}"
    line = expected.count(b"\n", 0, position)
    before, now = (text[line] if line < len(text) else "the end" for text in lines)
    column = next((i for i, (one, other) in enumerate(zip(before, now, strict=False)) if one != other), 0)
    return f"line {line + 1} should be {_around(column, before)}, is {_around(column, now)}"


def _around(column: int, line: str) -> str:
    """A line as a message can quote it, of a long one what is around a column."""
    start = max(0, column - SHOWN // 2) if len(line) > SHOWN else 0
    shown = line[start : start + SHOWN]
    return f"{'...' if start else ''}{shown!r}{'...' if start + SHOWN < len(line) else ''}"


def content(path: Path, md5: str) -> bytes | None:
    """The recorded file, or list of a folder: from DVC's cache, else what the last commit has at `path`, else None."""
    with Repo() as repo:
        stored = Path(repo.cache.local.oid_to_path(md5))
    found = stored.read_bytes() if stored.exists() else repository.committed(path.as_posix())
    return found if found is not None and md5_of(found) == md5.removesuffix(".dir") else None


def pixels(png: bytes) -> tuple[str, tuple[int, int], bytes] | None:
    """The mode, size and decoded pixels of a picture; None of what is none."""
    try:
        with Image.open(BytesIO(png)) as image:
            return image.mode, image.size, image.tobytes()
    except (OSError, SyntaxError):  # a chunk of it is broken, or the end is missing
        return None


def sameness(path: str, recorded: str | None, here: str | None) -> str:
    """How an output stands to the recorded one, by their MD5 and, for a picture that is here, its pixels."""
    if here == recorded:
        return "yes"
    if path.endswith(".png") and here and recorded and (before := content(Path(path), recorded)):
        return "pixels" if pixels(before) == pixels(Path(path).read_bytes()) else "NO"
    return "NO"


def difference(path: Path, md5: str | None) -> str:
    """Where an output here first differs from the recorded one of that MD5."""
    if md5 is None or not path.exists():
        return "it is missing" if md5 else "it is not recorded"
    here, before = hash_of(path), content(path, md5)
    if before is None or here.endswith(".dir") != md5.endswith(".dir"):
        return f"its MD5 should be {md5}, is {here}"
    if not path.is_dir():
        return first_difference(before, path.read_bytes())
    expected, found = listed(before), listed(listing(path))
    name = next(name for name in sorted(expected | found) if expected.get(name) != found.get(name))
    return f"{name}: {difference(path / name, expected.get(name))}"


def markdown(rows: list[list[str]]) -> str:
    """A Markdown table, the header first, with columns wide enough to be read in a terminal, too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
