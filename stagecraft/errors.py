"""Errors that a user can fix end a process with one message and no traceback; importing this module is enough.

Ctrl-C ends it with one line, and so does a Python that lacks a requirement. Any other exception is a bug in the project
and keeps its traceback. And a process that has nothing to tell starts and ends sooner.
"""

import atexit
import gc
import io
import os
import sys
import time
from types import TracebackType

STARTED = time.time_ns()  # when this process had loaded of the project only what leads here
SCREEN = 24 * 80  # characters
REPAIR = "`make repair` (where there is no make: `python -m tools.repair`), then `dvc repro`"  # what damaged files need
# To miss one of these is a mistake in the project.
OURS = "drawing", "samebits", "stagecraft", "stages", "sweep", "tools", "tests"


class PipelineError(Exception):
    """Something the user can fix; its text says what was expected, what was found and what to do.

    `exit_status` is what the process ends with.
    """

    exit_status = 1


def short(value: object, length: int = 60) -> str:
    """A value found in somebody's file as a message can quote it: on one line, printable and not too long."""
    text = "nothing" if value in (None, "") else str(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def tell(error: BaseException) -> None:
    """Print the message of an error, of each line of it no more than a screen."""
    lines = [line if len(line) <= SCREEN else f"{line[: SCREEN - 3]}..." for line in f"error: {error}".split("\n")]
    print("", *lines, sep="\n", file=sys.stderr, flush=True)


def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Take the place of sys.excepthook."""
    if isinstance(error, PipelineError) or kind.__module__.startswith("samebits."):  # whose import would be PyTorch's
        tell(error)
        sys.exit(getattr(error, "exit_status", 1))
    if isinstance(error, KeyboardInterrupt):
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one of torchrun's workers speaks for all
            print("\ninterrupted", file=sys.stderr)
    elif isinstance(error, ModuleNotFoundError) and str(error.name).split(".")[0] not in OURS:
        print(
            f"\nerror: {error} for {sys.executable}, the Python that this was started with; first "
            "`source .venv/bin/activate`, or install requirements.txt there",
            file=sys.stderr,
        )
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = report
if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="backslashreplace")  # a terminal's encoding must not fail a stage
# What PyTorch's import makes stays to the end: the garbage collector need not look through it time and again, nor then.
gc.set_threshold(10_000)
atexit.register(gc.freeze)
