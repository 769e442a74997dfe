"""The outputs of the pipeline and their MD5: what a dvc.lock records, and what the files here have."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import yaml


def recorded(lock: str) -> dict[str, str]:
    """The MD5 of every output by its path, from the text of a dvc.lock."""
    stages = yaml.safe_load(lock)["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}


def found(paths: Iterable[str], root: Path) -> dict[str, str]:
    """The MD5 of those outputs that are under `root`, read from the files and not from DVC's memory of them."""
    return {path: md5(root / path) for path in paths if (root / path).exists()}


def md5(path: Path) -> str:
    """The MD5 of a file; of a folder that of DVC's list of its files, with the suffix .dir."""
    if not path.is_dir():
        return md5_of(path.read_bytes())
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    files = [{"md5": md5(path / name), "relpath": name} for name in names]
    return md5_of(json.dumps(files).encode()) + ".dir"


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def markdown(rows: list[list[str]]) -> str:
    """A Markdown table, the header first, with columns wide enough to be read in a terminal, too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
