"""Where a dataset comes from: the mirrors or the folder that the user named, then the dataset's own mirrors.

torchvision's download waits for ever for a silent server and stores whatever an endless one sends, so the download is
ours: bounded in time and size, and held in memory until its SHA-256 is right.
"""

import gzip
import io
import multiprocessing
import os
import re
import ssl
import zlib
from http.client import HTTPException
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from stages.lib.data import DATASETS, is_published
from stages.lib.errors import PipelineError, UnreachableError, short

from tqdm import tqdm

STALL_SECONDS = 15  # without a single byte
MIRROR_SECONDS = 600  # for all that one mirror sends; MNIST has 12 MB packed and 55 MB unpacked
FILE_BYTES = 2**26  # 64 MiB, packed or not; the largest file of MNIST has 47 MB
URL = re.compile(r"https?://[^@/]+(/.*)?|file://(localhost)?/.*")  # a password would end up in messages


def fetch_any(dataset: str) -> dict[str, bytes]:
    """The four IDX files of a dataset, by name, from the first mirror that can be reached and has them.

    Raises UnreachableError if none can be reached, PipelineError if none has the right files, or as soon as one that
    the user named has not: that is the user's mistake, not the network's. Both list each reason.
    """
    variable = f"{dataset.upper().replace('-', '_')}_MIRROR"
    named = _urls(variable)
    failures: dict[str, PipelineError] = {}
    for mirror in [*named, *DATASETS[dataset].mirrors]:
        try:
            return _fetch_in_time(dataset, mirror)
        except PipelineError as error:
            failures[mirror] = error
            if mirror in named and not isinstance(error, UnreachableError):
                break
    unreachable = all(isinstance(error, UnreachableError) for error in failures.values())
    reasons = "".join(f"  {mirror}\n    {error}\n" for mirror, error in failures.items())
    raise (UnreachableError if unreachable else PipelineError)(
        f"no mirror of {dataset} {'can be reached' if unreachable else 'gave its files'}:\n{reasons}"
        f"Name one that has the four files, packed or not ({variable}=https://... or a folder), "
        "or use the embedded digits: dvc exp run -S dataset=digits -S batch_size=10"
    )


def _urls(variable: str) -> list[str]:
    """The base URLs in an environment variable, separated by spaces, or that of the one folder whose path it holds."""
    value = os.environ.get(variable, "")
    if value and "://" not in value and Path(value).is_dir():
        return [Path(value).absolute().as_uri()]
    for url in value.split():
        if not URL.fullmatch(url):
            raise PipelineError(
                f"{variable} names {short(url.rpartition('@')[2])}, which is no folder; expected one, "
                "or https://host/folder, file:///folder or the like, without a user or a password"
            )
    return value.split()


def _fetch_in_time(dataset: str, mirror: str) -> dict[str, bytes]:
    # A socket's time limit covers neither the lookup of a name nor headers that drip. The pool's thread is a daemon: a
    # mirror that holds it up does not hold up the end of the process.
    with ThreadPool(1) as pool:
        try:
            return pool.apply_async(fetch, (dataset, mirror)).get(MIRROR_SECONDS)
        except multiprocessing.TimeoutError:
            raise PipelineError(f"not finished within {MIRROR_SECONDS} seconds") from None


def fetch(dataset: str, mirror: str) -> dict[str, bytes]:
    """The four IDX files, by name, from one mirror, whatever it calls them: what counts is the SHA-256.

    Raises UnreachableError if the mirror can't be reached, PipelineError, naming the file, if it has not the right one.
    """
    return {name: _fetch_file(dataset, mirror, name) for name in DATASETS[dataset].sha256}


def _fetch_file(dataset: str, mirror: str, name: str) -> bytes:
    problems = []
    dotted = name.replace("-idx", ".idx")  # as Kaggle has them
    for spelling in (f"{name}.gz", name, f"{dotted}.gz", dotted):
        try:
            content = _unpacked(_download(f"{mirror.rstrip('/')}/{spelling}"))
        except UnreachableError:
            raise
        except PipelineError as error:
            problems.append(f"{spelling}: {error}")
            continue
        if is_published(dataset, name, content):
            return content
        problems.append(f"{spelling}: {len(content):,} bytes, not the published ones; they begin with {content[:20]!r}")
    raise PipelineError("\n    ".join(problems))


def _download(url: str) -> bytes:
    """All bytes behind a URL; raises PipelineError with the reason, UnreachableError if nobody answers."""
    try:
        with urlopen(url, timeout=STALL_SECONDS) as response:
            return _receive(response)
    except HTTPError as error:
        error.close()  # it is the answer, too, and holds the connection open
        raise PipelineError(f"HTTP status {error.code} {short(error.reason, 200)}") from None
    except URLError as error:
        answered = url.startswith("file:") or isinstance(error.reason, ssl.SSLError)
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise (PipelineError if answered else UnreachableError)(short(reason, 200)) from None
    except (OSError, HTTPException, ValueError) as error:  # ValueError: not a URL
        raise PipelineError(short(str(error) or type(error).__name__, 200)) from None


def _receive(response: Any) -> bytes:
    content = bytearray()
    size = response.headers.get("Content-Length", "")
    total = int(size) if size.isdigit() else None
    with tqdm(desc=response.url, total=total, unit="B", unit_scale=True, delay=1, disable=None) as bar:
        while chunk := response.read1(2**16):
            content += chunk
            bar.update(len(chunk))
            if len(content) > FILE_BYTES:
                raise PipelineError(f"more than the {FILE_BYTES:,} bytes that a file can have")
    return bytes(content)


def _unpacked(content: bytes) -> bytes:
    """The file in a gzip archive, or its first FILE_BYTES; what is no archive stays as it is."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        with gzip.open(io.BytesIO(content)) as file:
            return file.read(FILE_BYTES)
    except EOFError:
        raise PipelineError(f"the archive ends too early, after {len(content):,} bytes") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise PipelineError(f"the archive is damaged ({error})") from None
