"""Get the dataset and check it.

Reads data/raw, and unless that has all of it the mirrors or, for digits, scikit-learn's package; writes the four IDX
files of data/raw.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from stagecraft import inputs, output
from stagecraft.errors import PipelineError
from stages.lib import data, mirrors, params


def files(dataset: str) -> dict[str, bytes]:
    """The four IDX files of a dataset, by name; those that data/raw already has need no network."""
    with suppress(PipelineError):
        return mirrors.fetch(dataset, str(data.FOLDER.absolute()))
    if dataset != "digits":
        return mirrors.fetch_any(dataset)
    from stages.lib import digits  # and with it scikit-learn, for which the others need not wait

    return digits.files()


def keep(path: Path, content: bytes) -> None:
    """Rename a file that lies where `content` goes, unless it is of a dataset: it may be the user's own."""
    there = path.read_bytes() if path.is_file() else content
    if there != content and not data.is_known(there):
        kept = path.rename(f"{path}.{hashlib.sha256(there).hexdigest()[:8]}")
        print(f"{path} has no SHA-256 that is known here, so it may be yours; it is now {kept}")


@inputs.unchanged("download")
def main() -> None:
    settings = params.load()
    if data.FOLDER.is_symlink():
        raise PipelineError(
            f"{data.FOLDER} is a link to {data.FOLDER.resolve()}, where nothing is written or deleted: `rm "
            f"{data.FOLDER}` removes the link alone, and {mirrors.variable_of(settings.dataset)} can name the folder"
        )
    for name, content in files(settings.dataset).items():
        keep(data.FOLDER / name, content)
        output.write_bytes(data.FOLDER / name, content)


if __name__ == "__main__":
    main()
