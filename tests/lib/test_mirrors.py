"""Downloads from servers that misbehave, on this machine alone."""

import functools
import gzip
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from stages.lib import data, digits, mirrors
from stages.lib.errors import PipelineError, UnreachableError
from stages.lib.mirrors import MIRRORS

import pytest
from torchvision.datasets import MNIST


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Small files take the place of MNIST's: the digits, by their own SHA-256."""
    monkeypatch.setitem(data.SHA256, "mnist", data.SHA256["digits"])
    monkeypatch.setattr(mirrors, "MIRRORS", [])
    return digits.files()


@pytest.fixture
def good(published: dict[str, bytes], tmp_path: Path) -> str:
    """A file:// mirror that has everything."""
    for name, content in published.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path.as_uri() + "/"


def test_mirrors_and_archives_are_those_of_torchvision() -> None:
    assert list(MIRRORS) == MNIST.mirrors
    assert {archive for archive, _ in MNIST.resources} == {f"{name}.gz" for name in data.SHA256["mnist"]}


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The base URL of a server whose every GET is answered by `answer`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


def send(content: bytes, request: BaseHTTPRequestHandler, status: int = 200, length: int | None = None) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(content) if length is None else length))
    request.end_headers()
    request.wfile.write(content)


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(bytes(2**16))


def dripping(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in range(100):
        request.wfile.write(b"x")
        time.sleep(0.1)


def silent(request: BaseHTTPRequestHandler) -> None:
    time.sleep(5)


def redirecting(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", request.path)
    request.end_headers()


ZIPPED = gzip.compress(b"something else")
BAD = {
    "404": (functools.partial(send, b"", status=404), "HTTP status 404"),
    "page": (functools.partial(send, b"<!DOCTYPE html><p>Log in"), "not a gzip archive .*<!DOCTYPE html>"),
    "empty": (functools.partial(send, b""), "0 bytes that are not the published ones"),
    "truncated": (functools.partial(send, ZIPPED[:-9], length=len(ZIPPED)), "ends too early, after 25 bytes"),
    "flipped": (functools.partial(send, ZIPPED[:-6] + b"\xff" + ZIPPED[-5:]), "not a gzip archive .CRC check failed"),
    "other": (functools.partial(send, ZIPPED), "14 bytes that are not the published ones"),
    "bomb": (functools.partial(send, gzip.compress(bytes(2**27))), "67,108,864 bytes that are not the published"),
    "endless": (endless, "sent more than the 16,777,216 bytes"),
    "dripping": (dripping, "not finished within 1 seconds"),
    "silent": (silent, "timed out|not finished within 1 seconds"),
    "redirecting": (redirecting, "redirect"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_mirror_is_refused_with_its_reason_and_the_next_is_tried(
    kind: str, good: str, published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "ARCHIVE_SECONDS", 1)
    answer, reason = BAD[kind]
    with server(answer) as bad:
        with pytest.raises(PipelineError, match=f"(?s)no mirror gave the files of MNIST.*{bad}.*{reason}") as caught:
            mirrors.fetch_any([bad])
        assert not isinstance(caught.value, UnreachableError)
        assert mirrors.fetch_any([bad, good]) == published


def test_a_mirror_that_can_t_be_reached_is_told_apart(good: str, tmp_path: Path) -> None:
    closed, absent = "http://127.0.0.1:9/", (tmp_path / "absent").as_uri() + "/"
    with pytest.raises(UnreachableError, match=f"(?s){closed}\n *Connection refused.*{absent}\n *No such file"):
        mirrors.fetch_any([closed, absent])
    with server(functools.partial(send, b"", status=500)) as broken, pytest.raises(PipelineError) as caught:
        mirrors.fetch_any([closed, broken])
    assert not isinstance(caught.value, UnreachableError)


def test_an_archive_in_two_members_is_one_file(good: str, published: dict[str, bytes], tmp_path: Path) -> None:
    name, content = next(iter(published.items()))
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content[:9]) + gzip.compress(content[9:]))
    assert mirrors.fetch(good) == published


@pytest.mark.parametrize(
    "url", ["htps://a/", "mirror.example", "/a/folder", "http://", "http://[::1", "https://me:secret@host/"]
)
def test_what_can_t_be_a_mirror_is_named_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_MIRROR", f"https://good/ {url}")
    expected = re.escape(f"MNIST_MIRROR names {url.split('@')[-1]}; expected https://")
    with pytest.raises(PipelineError, match=expected) as caught:
        mirrors.urls()
    assert "secret" not in str(caught.value)
    assert not isinstance(caught.value, UnreachableError)


def test_what_a_server_says_is_quoted_in_printable_characters() -> None:
    def hostile(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 503 \x1b[31m" + b"x" * 5_000 + b"\r\n\r\n")

    with server(hostile) as bad, pytest.raises(PipelineError) as caught:
        mirrors.fetch_any([bad])
    assert "HTTP status 503" in str(caught.value)
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 600


def test_the_environment_s_mirrors_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "MIRRORS", ["https://last/"])
    monkeypatch.setenv("MNIST_MIRROR", "file:///a  https://b/c/")
    assert mirrors.urls() == ["file:///a/", "https://b/c/", "https://last/"]
    monkeypatch.delenv("MNIST_MIRROR")
    assert mirrors.urls() == ["https://last/"]
