"""The errors that a user can mend, and how a stage reports them: one message, no traceback."""

import sys
from collections.abc import Callable


class PipelineError(Exception):
    """Something the user can mend; its text says what was expected, what was found and what to do.

    `exit_status` is what the process ends with.
    """

    exit_status = 1


class UnreachableError(PipelineError):
    """No mirror could be reached. 69 is EX_UNAVAILABLE of sysexits.h, so that a caller can tell it apart."""

    exit_status = 69


def run(main: Callable[[], None]) -> None:
    """Run a command's `main` and end the process with one message if the user can mend what went wrong."""
    try:
        main()
    except PipelineError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)  # 128 + SIGINT, as shells report it
