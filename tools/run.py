"""Run the pipeline on MNIST, or on the embedded digits for those who have no MNIST and can reach no mirror of it."""

import subprocess
import sys
from pathlib import Path

from stages.lib import data, params
from stages.lib.errors import UnreachableError

# What DVC says when a stage ends with the exit status that means: no mirror can be reached.
UNREACHABLE = f"exited with {UnreachableError.exit_status}".encode()
ON_DIGITS = ["dvc", "exp", "run", "-S", "dataset=digits", "-S", "batch_size=10"]
# What a run leaves and Git does not keep: the fallback must not replace MNIST's by those of the digits.
RESULTS = data.FOLDER, Path("plots/loss.csv")


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
    settings = params.load()  # so that bad ones are refused even if no stage has to run
    status, errors = shown(["dvc", "repro"])
    if UNREACHABLE in errors and settings.dataset == "mnist" and not any(path.exists() for path in RESULTS):
        print(f"\nRunning the same stages on the embedded digits with\n  {' '.join(ON_DIGITS)}\n", flush=True)
        status, _ = shown(ON_DIGITS)
    if params.load().dataset == "digits":
        back = "`git checkout params.yaml`, or set dataset and batch_size there, then `make run`"
        print(f"\nThis is on the digits, not on MNIST. To return: {back}.")
    sys.exit(status)


if __name__ == "__main__":
    main()
