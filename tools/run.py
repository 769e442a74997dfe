"""Run the pipeline on MNIST, or on the embedded digits if no mirror of MNIST can be reached."""

import subprocess
import sys

from stages.lib import params
from stages.lib.errors import UnreachableError

# What DVC says when the download stage ends with the exit status that means: no mirror can be reached.
UNREACHABLE = f"failed to run: python -m stages.download, exited with {UnreachableError.exit_status}".encode()
ON_DIGITS = ["dvc", "exp", "run", "-S", "dataset=digits", "-S", "batch_size=10"]


def shown(command: list[str]) -> tuple[int, bytes]:
    """Run a command and show its output as it comes; returns its exit status and the end of its stderr."""
    tail = b""
    with subprocess.Popen(command, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stderr is not None
        while chunk := process.stderr.read(2**16):
            sys.stderr.buffer.write(chunk)
            sys.stderr.flush()
            tail = (tail + chunk)[-(2**12) :]
    return process.returncode, tail


def main() -> None:
    params.load()  # so that bad settings are refused even if no stage has to run
    status, errors = shown(["dvc", "repro"])
    if UNREACHABLE in errors:
        print(
            f"\nMNIST can't be reached: running the same stages on the embedded digits with\n  {' '.join(ON_DIGITS)}\n"
        )
        status, _ = shown(ON_DIGITS)
    sys.exit(status)


if __name__ == "__main__":
    main()
