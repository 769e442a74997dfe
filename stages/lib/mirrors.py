"""Where MNIST comes from: the mirrors named in MNIST_MIRROR, then torchvision's own.

torchvision's download waits for ever for a silent server and stores whatever an endless one sends, so the download is
ours: bounded in time and size, and held in memory until its SHA-256 is right.
"""

import gzip
import io
import os
import signal
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from stages.lib.data import SHA256, is_published
from stages.lib.errors import PipelineError, UnreachableError, short

from tqdm import tqdm

# torchvision.datasets.MNIST.mirrors; a test compares them, as importing them would take seconds.
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
STALL_SECONDS = 15  # without a single byte
ARCHIVE_SECONDS = 120  # for one archive; the largest has 9.9 MB
ARCHIVE_BYTES = 2**24  # 16 MiB
SCHEMES = ("https", "http", "ftp", "file")
FILE_BYTES = 2**26  # 64 MiB; the largest file, unpacked, has 47 MB


def urls() -> list[str]:
    """The base URLs to try, in order; MNIST_MIRROR may name several, separated by spaces.

    Raises PipelineError for one that can't be a mirror: the mistake is the user's, not the network's.
    """
    named = os.environ.get("MNIST_MIRROR", "").split()
    for url in named:
        if not _is_mirror(url):
            raise PipelineError(
                f"MNIST_MIRROR names {short(url.rpartition('@')[2])}; expected https://host/folder, "
                "file:///folder or the like, without a user or a password"
            )
    return [url.rstrip("/") + "/" for url in [*named, *MIRRORS]]


def _is_mirror(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in SCHEMES and parts.username is None and bool(parts.netloc or parts.scheme == "file")


def fetch_any(mirrors: list[str]) -> dict[str, bytes]:
    """The four IDX files of MNIST, by name, from the first mirror that has the published bytes.

    Raises UnreachableError if none could be reached, PipelineError if none gave the right files; both list each reason.
    """
    failures: dict[str, Exception] = {}
    for mirror in mirrors:
        try:
            return fetch(mirror)
        except (PipelineError, OSError, HTTPException, ValueError) as error:  # ValueError: not a URL
            failures[mirror] = error
            if isinstance(error, HTTPError):
                error.close()  # it is the answer, too, and holds the connection open
    _give_up(failures)


def fetch(mirror: str) -> dict[str, bytes]:
    """The four IDX files from one mirror, unpacked and checked against their SHA-256.

    Raises PipelineError for wrong content, OSError or HTTPException for a connection that fails or takes too long.
    """
    files = {}
    for name in SHA256["mnist"]:
        archive = f"{name}.gz"
        with _time_limit(ARCHIVE_SECONDS):
            files[name] = _unpack(_download(mirror + archive))
        if not is_published("mnist", name, files[name]):
            raise PipelineError(f"{archive} unpacks to {len(files[name]):,} bytes that are not the published ones")
    return files


def _download(url: str) -> bytes:
    content = bytearray()
    with urlopen(url, timeout=STALL_SECONDS) as response:
        size = response.headers.get("Content-Length", "")
        with tqdm(desc=url, total=int(size) if size.isdigit() else None, unit="B", unit_scale=True) as bar:
            while chunk := response.read1(2**16):
                content += chunk
                bar.update(len(chunk))
                if len(content) > ARCHIVE_BYTES:
                    raise PipelineError(f"sent more than the {ARCHIVE_BYTES:,} bytes that an archive can have")
    return bytes(content)


def _unpack(archive: bytes) -> bytes:
    """The file in a gzip archive, or its first FILE_BYTES: a longer one can't have the right SHA-256."""
    try:
        with gzip.open(io.BytesIO(archive)) as file:
            return file.read(FILE_BYTES)
    except EOFError:
        raise PipelineError(f"the archive ends too early, after {len(archive):,} bytes") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise PipelineError(f"damaged or not a gzip archive ({error}); it begins with {archive[:20]!r}") from None


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError if the block takes longer, whatever it waits for: a name, a header, a byte."""

    def expire(*_: object) -> NoReturn:
        raise TimeoutError(f"not finished within {seconds} seconds")

    handler = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


def _give_up(failures: dict[str, Exception]) -> NoReturn:
    unreachable = all(isinstance(error, URLError) and not isinstance(error, HTTPError) for error in failures.values())
    reasons = "\n".join(f"  {mirror}\n    {_reason(error)}" for mirror, error in failures.items())
    problem = "no mirror of MNIST can be reached" if unreachable else "no mirror gave the files of MNIST"
    raise (UnreachableError if unreachable else PipelineError)(
        f"{problem}:\n{reasons}\n"
        "Name one that has the four archives (MNIST_MIRROR=https://... or file:///...), or use the embedded digits: "
        "dvc exp run -S dataset=digits -S batch_size=10"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP status {error.code} {short(error.reason, 200)}"
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    return short(getattr(error, "strerror", None) or str(error) or type(error).__name__, 200)
