"""What a stage is made from, which must be at its end what it was when it began.

DVC takes the hashes that it records when a stage has ended. Of settings or code that somebody has edited meanwhile it
would record that they made these results, and hand them out for those from then on:
https://github.com/iterative/dvc/issues/11058
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from stagecraft import configuration
from stagecraft.errors import STARTED, PipelineError, short

import yaml

LARGE = 2**20  # bytes; of such a file the content is checked where it is read
SHAPING = {".py", ".js", ".html"}  # of a package: its modules, and the page that they fill in
State = dict[str, Any]  # by path, what tells whether a file is as it was, and by name the text of a setting


def read(path: Path) -> bytes:
    """Read a whole file; raises PipelineError if it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        advice = "`dvc repro` makes it" if isinstance(error, FileNotFoundError) else "fix that and run again"
        raise PipelineError(f"can't read {path}: {error.strerror}; {advice}") from None


@contextmanager
def unchanged(stage: str, graph: str = "dvc.yaml") -> Iterator[None]:
    """Raise PipelineError, naming it, if something that the stage is made from changes within this context.

    That is what the graph's file names under its `deps` and `params`; where there is no such file, DVC records nothing.
    """
    if not Path(graph).exists():
        yield
        return
    entry = _entry(stage, graph)
    before = _state(entry)
    if edited := [path for path in before if path.endswith(".py") and STARTED < _time(path) <= time.time_ns()]:
        raise _changed(stage, edited)
    yield
    now = _state(entry)
    if changed := [_told(name, before, now) for name in before | now if before.get(name) != now.get(name)]:
        raise _changed(stage, changed)


def _entry(stage: str, graph: str) -> dict[str, Any]:
    stages = yaml.safe_load(Path(graph).read_text(encoding="utf-8"))["stages"]
    if stage not in stages:
        raise PipelineError(f"expected a stage {stage!r} in {graph}, found {', '.join(stages)}; name it there so")
    return stages[stage]


def _state(entry: dict[str, Any]) -> State:
    """What a stage's entry in a graph is made from, as it is now; what is missing is left out."""
    files = [file for dep in entry.get("deps", []) for file in _files(Path(dep))]
    state: State = {file.as_posix(): _content(file) for file in files}
    read = cache(configuration.texts)
    for param in entry.get("params", []):
        path, names = next(iter(param.items())) if isinstance(param, dict) else ("params.yaml", [param])
        values, _ = read(Path(path))
        state |= {name: str(values[name]) for name in names if name in values}
    return state


def _files(path: Path) -> list[Path]:
    """The file, or the files of a folder; of a package only those of SHAPING, as its tests and texts shape nothing."""
    if (path / "__init__.py").exists():
        return sorted(file for file in path.iterdir() if file.suffix in SHAPING)
    return sorted(file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _content(file: Path) -> bytes | tuple[int, int]:
    status = file.stat()
    return (status.st_size, status.st_mtime_ns) if status.st_size > LARGE else file.read_bytes()


def _time(path: str) -> int:
    return Path(path).stat().st_mtime_ns


def _told(name: str, before: State, now: State) -> str:
    values = before.get(name), now.get(name)
    is_setting = all(value is None or isinstance(value, str) for value in values)
    return f"{name} (was {short(values[0])}, is {short(values[1])})" if is_setting else name


def _changed(stage: str, names: list[str]) -> PipelineError:
    return PipelineError(
        f"while {stage} ran, somebody changed {', '.join(names)}: expected all to stay as it was, since DVC would "
        f"record what is there now as having made these results. It records nothing; `dvc repro` runs {stage} again"
    )
