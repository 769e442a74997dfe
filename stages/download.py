"""Get the dataset and check it.

Reads data/raw, and unless that has all of it the mirrors or, for digits, scikit-learn's package; writes the four IDX
files of data/raw.
"""

import shutil
from contextlib import suppress

from stages.lib import data, mirrors, output, params
from stages.lib.errors import PipelineError


def files(dataset: str) -> dict[str, bytes]:
    """The four IDX files of a dataset, by name; those that data/raw already has need no network."""
    with suppress(PipelineError):
        return mirrors.fetch(dataset, str(data.FOLDER.absolute()))
    if dataset != "digits":
        return mirrors.fetch_any(dataset)
    from stages.lib import digits  # and with it scikit-learn, for which the others need not wait

    return digits.files()


def main() -> None:
    settings = params.load()
    found = files(settings.dataset)
    for name, content in found.items():
        output.write_bytes(data.FOLDER / name, content)
    # dvc.yaml lets data/raw persist, so that a failed download leaves it; all that lies in it counts as data.
    for path in data.FOLDER.iterdir():
        if path.name not in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main()
