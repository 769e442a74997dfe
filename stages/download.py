"""Get the dataset and check it against its published SHA-256.

Reads the mirrors (MNIST) or scikit-learn's package (digits); writes the four IDX files of data/raw.
"""

import shutil

from stages.lib import data, mirrors, output, params


def files(dataset: str) -> dict[str, bytes]:
    """The four IDX files of `mnist` or `digits`, by name."""
    if dataset == "mnist":
        return mirrors.fetch_any(mirrors.urls())
    from stages.lib import digits  # and with it scikit-learn, for which MNIST need not wait

    return digits.files()


def main() -> None:
    settings = params.load()
    found = files(settings.dataset)
    for name, content in found.items():
        data.verify(settings.dataset, name, content)
    for name, content in found.items():
        output.write_bytes(data.FOLDER / name, content)
    # dvc.yaml lets data/raw persist, so that a failed download leaves it; all that lies in it counts as data.
    for path in data.FOLDER.iterdir():
        if path.name not in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main()
