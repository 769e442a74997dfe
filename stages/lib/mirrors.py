"""Where a dataset comes from: the folder or the mirrors that the user named, then those that torchvision knows.

torchvision downloads, too. It sets no limit to the size, and needs none: what comes lies in a temporary folder, behind
a progress bar, and is unpacked if its MD5 is right. Its import takes seconds, which files in a folder do not wait for.
"""

import gzip
import hashlib
import os
import re
import socket
import time
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import getproxies, url2pathname

from stagecraft.errors import PipelineError, short
from stages.lib.data import DATASETS, FILES, verify

ON_DIGITS = "exp run -S dataset=digits -S batch_size=10"  # for DVC
SILENT_SECONDS = 15  # after which a server is given up
BUSY, PAUSES = (429, 503), (2, 10)  # HTTP statuses of a mirror that is asked again, after so many seconds


class UnreachableError(PipelineError):
    """No mirror could be reached. 69 is EX_UNAVAILABLE of sysexits.h, so that a caller can tell it apart."""

    exit_status = 69


def variable_of(dataset: str) -> str:
    """The environment variable that names a mirror of the user's own."""
    return f"{dataset.upper().replace('-', '_')}_MIRROR"


def fetch_any(dataset: str) -> dict[str, bytes]:
    """The four IDX files of a dataset, by name, from the first mirror that can be reached and has them.

    Raises UnreachableError if none can be reached, PipelineError if none has the right files, or as soon as one that
    the user named has not: that is the user's mistake, not the network's. Both list each reason.
    """
    variable = variable_of(dataset)
    value = os.environ.get(variable, "")
    named = [value] if value and Path(value).is_dir() else value.split()
    if re.search("//[^/ ]*@", value):
        raise PipelineError(f"{variable} holds a user or a password, which messages would show; expected URLs without")
    failures: dict[str, PipelineError] = {}
    for mirror in chain(named, DATASETS[dataset].mirrors, _torchvision(dataset, "mirrors")):
        try:
            return fetch(dataset, mirror)
        except PipelineError as error:
            failures[mirror] = error
            if mirror in named and not isinstance(error, UnreachableError):
                break
    unreachable = all(isinstance(error, UnreachableError) for error in failures.values())
    proxy = " through the proxy that the environment names" if {"http", "https"} & getproxies().keys() else ""
    packed = ", unpacked or not" if DATASETS[dataset].sha256 else ""  # which others can't be checked
    reasons = "".join(f"  {mirror}\n    {error}\n" for mirror, error in failures.items())
    raise (UnreachableError if unreachable else PipelineError)(
        f"no mirror of {dataset} {f'can be reached{proxy}' if unreachable else 'gave its files'}:\n{reasons}"
        f"Name one that has the four archives ({variable}=https://...) or a folder of them{packed}, "
        f"or use the embedded digits: dvc {ON_DIGITS}"
    )


def _torchvision(dataset: str, what: str) -> Iterator[Any]:
    """The `mirrors` of a dataset or its `resources`, the name and MD5 of each archive, if torchvision has it."""
    if DATASETS[dataset].torchvision:
        from torchvision import datasets

        yield from getattr(getattr(datasets, DATASETS[dataset].torchvision), what)


def fetch(dataset: str, mirror: str) -> dict[str, bytes]:
    """The four IDX files, by name, from one mirror: a URL of the four archives, or a folder, of which a path will do.

    Raises UnreachableError if the mirror can't be reached, PipelineError, naming the file, if it has not the right one.
    """
    if not mirror.startswith(("http:", "https:")):
        folder = url2pathname(urlsplit(mirror).path) if mirror.startswith("file:") else mirror
        if not Path(folder).is_dir():
            raise PipelineError(f"expected a folder, found none at {folder}")
        return {name: _file(dataset, Path(folder), name) for name in FILES}
    with TemporaryDirectory() as folder:
        md5 = dict(_torchvision(dataset, "resources"))
        for name in FILES:
            _download(f"{mirror.rstrip('/')}/{name}.gz", folder, md5, PAUSES)
        return fetch(dataset, folder)


def _file(dataset: str, folder: Path, name: str) -> bytes:
    path, by_md5 = folder / name, not DATASETS[dataset].sha256  # which only archives have
    if by_md5 or not path.is_file():
        path = folder / f"{name}.gz"
    if not path.is_file():
        raise PipelineError(f"expected {path.name if by_md5 else f'{name} or {path.name}'} in {folder}, found none")
    try:
        content = path.read_bytes()
        if by_md5 and (path.name, hashlib.md5(content).hexdigest()) not in _torchvision(dataset, "resources"):
            raise PipelineError(f"{path.name} has not the MD5 of the archive of {dataset} that torchvision knows")
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise PipelineError(f"can't read {path.name}: {short(error, 200)}") from None
    verify(dataset, name, content, "name another mirror")
    return content


def _download(url: str, folder: str, md5: dict[str, str], pauses: tuple[int, ...]) -> None:
    from torchvision.datasets.utils import download_url

    socket.setdefaulttimeout(SILENT_SECONDS)
    name = url.rpartition("/")[2]
    try:
        download_url(url, folder, md5=md5.get(name))
    except HTTPError as error:
        error.close()  # it is the answer, too, and holds the connection open
        if error.code not in BUSY or not pauses:
            raise PipelineError(f"{name}: {short(error, 200)}") from None
        time.sleep(pauses[0])
        _download(url, folder, md5, pauses[1:])
    except URLError as error:
        raise UnreachableError(f"{name}: {short(error, 200)}") from None
    except (OSError, HTTPException, RuntimeError, ValueError) as error:  # RuntimeError: torchvision found another MD5
        raise PipelineError(f"{name}: {short(error, 200)}") from None
