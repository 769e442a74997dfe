"""Writing results: whole files or none, the same bytes every time."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagecraft.errors import PipelineError

if TYPE_CHECKING:  # most stages write no table and need not wait for the import
    import pandas


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, making its folder; no half-written file ever has the final name.

    Raises PipelineError if the disk is full or the folder can't be written to; what was there before stays.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # two processes may write the same file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise PipelineError(f"can't write {path}: {error.strerror}; fix that and run again") from None


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text; line ends stay as they are in `text`."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, values: dict[str, Any]) -> None:
    """Write JSON with sorted keys and floats that read back equal; raises ValueError for NaN and infinities."""
    write_text(path, json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_csv(path: str | Path, table: "pandas.DataFrame") -> None:
    r"""Write the columns of `table`, without its index, with \n line ends and floats that read back equal."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
