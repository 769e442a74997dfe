"""Get the dataset and check it against its published SHA-256.

Reads the mirrors (MNIST) or scikit-learn's package (digits); writes the four IDX files of data/raw.
"""

from stages.lib import data, output, params


def files(dataset: str) -> dict[str, bytes]:
    """The four IDX files of `mnist` or `digits`, by name."""
    # Only the chosen source is imported: each takes seconds.
    if dataset == "mnist":
        from stages.lib import mirrors

        return mirrors.fetch_any(mirrors.urls())
    from stages.lib import digits

    return digits.files()


def main() -> None:
    settings = params.load()
    for name, content in files(settings.dataset).items():
        data.verify(settings.dataset, name, content)
        output.write_bytes(data.FOLDER / name, content)


if __name__ == "__main__":
    main()
