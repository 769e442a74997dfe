"""Run the pipeline on MNIST, or on the embedded digits for those who have no MNIST and can reach no mirror of it."""

import logging
import sys
from pathlib import Path

from stages.lib import data, mirrors, params

from dvc import cli
from dvc.stage.exceptions import StageCmdFailedError

# What a run leaves and Git does not keep: the fallback must not replace MNIST's by those of the digits.
RESULTS = data.FOLDER, Path("plots/loss.csv")


class Unreachable(logging.Handler):
    """Notes whether DVC has told of a stage that ended with the exit status that means: no mirror can be reached.

    DVC runs in this process, as in a pipe between the two no stage would see the terminal and show its progress.
    """

    found = False

    def emit(self, record: logging.LogRecord) -> None:
        """Look for the stage's end among the causes of an error."""
        error = record.exc_info[1] if record.exc_info else None
        while error is not None:
            if isinstance(error, StageCmdFailedError):
                self.found |= f"exited with {mirrors.UnreachableError.exit_status}" in str(error)
            error = error.__cause__


def main() -> None:
    settings = params.load()  # so that bad ones are refused even if no stage has to run
    unreachable = Unreachable()
    logging.getLogger("dvc").addHandler(unreachable)
    status = cli.main(["repro"])
    if unreachable.found and settings.dataset == "mnist" and not any(path.exists() for path in RESULTS):
        print(f"\nRunning the same stages on the embedded digits with\n  dvc {mirrors.ON_DIGITS}\n", flush=True)
        status = cli.main(mirrors.ON_DIGITS.split())
    if params.load().dataset == "digits":
        back = "`git checkout params.yaml`, or set dataset and batch_size there, then `make run`"
        print(f"\nThis is on the digits, not on MNIST. To return: {back}.")
    sys.exit(status)


if __name__ == "__main__":
    main()
