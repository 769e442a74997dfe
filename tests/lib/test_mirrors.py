"""Downloads from servers and folders, good and bad, on this machine alone."""

import gzip
import hashlib
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from stagecraft.errors import PipelineError
from stages.lib import data, digits, mirrors
from stages.lib.mirrors import UnreachableError

import pytest
from torchvision import datasets

FILES = digits.files()  # small ones in place of MNIST's
ARCHIVES = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in FILES.items()}
FIRST, *_, LAST = ARCHIVES
CLOSED = "http://127.0.0.1:9/"  # where nobody listens
TABLE = dict(data.DATASETS)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Lets these be the mirrors that torchvision knows, and what the user named."""
    md5 = [(name, hashlib.md5(content).hexdigest()) for name, content in ARCHIVES.items()]
    for kind in (datasets.MNIST, datasets.KMNIST):
        monkeypatch.setattr(kind, "resources", md5)
    monkeypatch.setitem(data.DATASETS, "mnist", TABLE["mnist"]._replace(sha256=TABLE["digits"].sha256))
    monkeypatch.setattr(mirrors, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(mirrors, "PAUSES", (0.01, 0.02))

    def use(*known: str, named: str = "", dataset: str = "MNIST") -> None:
        monkeypatch.setattr(datasets.MNIST, "mirrors", known)
        monkeypatch.setenv(f"{dataset}_MIRROR", named)

    yield use
    socket.setdefaulttimeout(None)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder of the archives, with a name that a URL has to quote."""
    folder = tmp_path / "my files #1"
    folder.mkdir()
    for name, content in ARCHIVES.items():
        (folder / name).write_bytes(content)
    return folder


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], object]) -> Iterator[str]:
    """The base URL of a server that answers every GET by `answer`."""

    class Handler(BaseHTTPRequestHandler):
        do_GET = answer  # noqa: N815

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


def raw(content: bytes) -> Callable[[BaseHTTPRequestHandler], object]:
    return lambda request: request.wfile.write(content)


def ok(content: bytes, length: int) -> Callable[[BaseHTTPRequestHandler], object]:
    return raw(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % length + content)


def refusal(dataset: str = "mnist") -> str:
    """What `fetch_any` says of mirrors that can be reached and are no good."""
    with pytest.raises(PipelineError, match=f"no mirror of {dataset} gave its files") as caught:
        mirrors.fetch_any(dataset)
    assert not isinstance(caught.value, UnreachableError)
    return str(caught.value)


BAD = {
    "missing": (raw(b"HTTP/1.0 404 \x1b" + b"x" * 5_000 + b"\r\n\r\n"), "HTTP Error 404"),
    "no HTTP": (raw(b"hello\r\n\r\n"), "hello"),
    "truncated": (ok(ARCHIVES[FIRST][:-9], len(ARCHIVES[FIRST])), "corrupted"),
    "silent": (lambda request: time.sleep(2), "timed out"),
    "silent later": (lambda request: (ok(b"", 9)(request), time.sleep(2)), "timed out"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_mirror_is_refused_with_its_reason_and_another_tried_unless_the_user_named_it(kind, good, use):
    answer, reason = BAD[kind]
    with server(answer) as bad:
        use(str(good), named=bad)
        assert re.search(f"{bad}\n    {FIRST}: .*{reason}", message := refusal()), message
        assert str(good) not in message and max(map(len, message.splitlines())) < 300 and "\x1b" not in message
        use(bad, str(good))
        assert mirrors.fetch_any("mnist") == FILES


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_mirror_is_asked_again_and_given_up_in_the_end(status, use):
    busy = [raw(b"HTTP/1.0 %d Busy\r\n\r\n" % status)] * 11

    def answer(request: BaseHTTPRequestHandler) -> None:
        archive = ARCHIVES[request.path[1:]]
        (busy.pop() if busy else ok(archive, len(archive)))(request)

    with server(answer) as url:
        use(named=url.rstrip("/"))
        assert f"HTTP Error {status}" in refusal()
        assert len(busy) == 8
        del busy[2:]
        assert mirrors.fetch_any("mnist") == FILES


def test_a_mirror_that_can_t_be_reached_is_told_apart(good, use, monkeypatch):
    use(CLOSED)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UnreachableError, match=f"no mirror of mnist can be reached:\n  {CLOSED}\n.*refused"):
        mirrors.fetch_any("mnist")
    with server(BAD["missing"][0]) as broken:
        use(broken, named=CLOSED)
        assert re.search("(?s)refused.*HTTP Error 404", refusal())
    use(named=f"{CLOSED}  {good.as_uri()}")
    assert mirrors.fetch_any("mnist") == FILES
    use("http://mirror.example/")
    monkeypatch.setenv("http_proxy", CLOSED)
    with pytest.raises(UnreachableError, match="can be reached through the proxy that the environment names:"):
        mirrors.fetch_any("mnist")


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_works_as_path_and_url_and_waits_for_no_import(packed, good, use, monkeypatch):
    for name, content in {} if packed else FILES.items():
        (good / name).write_bytes(content)
        (good / f"{name}.gz").write_bytes(b"broken off")
    monkeypatch.setitem(sys.modules, "torchvision", None)  # importing it raises ImportError
    for mirror in (str(good), os.path.relpath(good), good.as_uri(), f"{good.as_uri()}/"):
        use(named=mirror)
        assert mirrors.fetch_any("mnist") == FILES
        monkeypatch.setitem(data.DATASETS, "my-own", data.Dataset(TABLE["digits"].sha256, (mirror,)))
        use(named="", dataset="MY_OWN")
        assert mirrors.fetch_any("my-own") == FILES
    use(named="/mistyped", dataset="MY_OWN")
    assert "/mistyped\n    expected a folder, found none at /mistyped\n" in refusal("my-own")
    assert refusal("my-own").endswith("or use the embedded digits: dvc exp run -S dataset=digits -S batch_size=10")


def test_what_is_wrong_in_a_folder_is_named(good, use):
    use(named=str(good))
    for content, reason in ((b"<html>", "Not a gzipped file"), (ARCHIVES[LAST], "is not the one of mnist")):
        (good / FIRST).write_bytes(content)
        assert FIRST.removesuffix(".gz") in refusal() and reason in refusal()
    (good / FIRST).unlink()
    assert f"expected {FIRST.removesuffix('.gz')} or {FIRST} in {good}, found none" in refusal()


def test_a_dataset_without_sha256_is_checked_by_the_md5_of_its_archives(good, use, monkeypatch):
    use(named=str(good), dataset="KMNIST")
    assert "is not the one of kmnist: expected SHA-256 of its own" in refusal("kmnist")  # as it is that of the digits
    for other in ("mnist", "digits"):
        monkeypatch.setitem(data.DATASETS, other, TABLE["mnist"])
    assert mirrors.fetch_any("kmnist") == FILES
    (good / LAST).write_bytes(gzip.compress(FILES[LAST.removesuffix(".gz")], mtime=1))
    assert f"{LAST} has not the MD5" in refusal("kmnist")
    (good / LAST).rename(good / LAST.removesuffix(".gz"))
    assert f"expected {LAST} in {good}, found none" in refusal("kmnist")


def test_a_password_is_not_shown(use):
    use(named="https://me:secret@host/")
    with pytest.raises(PipelineError, match="MNIST_MIRROR holds a user or a password") as caught:
        mirrors.fetch_any("mnist")
    assert "secret" not in str(caught.value)


def test_the_table_agrees_with_torchvision():
    for dataset in ("mnist", "fashion-mnist", "kmnist"):
        known = getattr(datasets, TABLE[dataset].torchvision)
        assert [name for name, _ in known.resources] == [f"{name}.gz" for name in data.FILES]
        assert [name.split(" - ")[0] for name in known.classes] == list(TABLE[dataset].classes)
