"""Tables of numbers in CSV files, checked when they are read: a file may have been altered since it was written."""

import io
from pathlib import Path

from stagecraft import inputs
from stagecraft.errors import REPAIR, PipelineError, short

import numpy as np
import pandas


def read(path: str | Path, columns: list[str]) -> pandas.DataFrame:
    """The table in a CSV file; raises PipelineError as `parse` does, or if the file can't be read."""
    return parse(inputs.read(Path(path)), path, columns)


def parse(content: bytes, name: str | Path, columns: list[str]) -> pandas.DataFrame:
    """The table in the bytes of a CSV file, which errors call `name`.

    Raises PipelineError unless it has one row or more, and in each of `columns` finite numbers.
    """
    try:
        table = pandas.read_csv(io.BytesIO(content))
        numbers = table[columns].to_numpy(float)
    except (ValueError, KeyError) as error:
        found = short(error, 200)
    else:
        if len(table) and np.isfinite(numbers).all():
            return table
        found = "values that are not finite" if len(table) else "no row"
    expected = f"numbers in the columns {', '.join(columns)}"
    raise PipelineError(f"{name} should have {expected}, but: {found}; {REPAIR} or `git checkout` restores it")
