"""Downloads from servers and folders, good and bad, on this machine alone."""

import functools
import gzip
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from stages.lib import data, digits, mirrors
from stages.lib.errors import PipelineError, UnreachableError

import pytest
from torchvision.datasets import MNIST

MNIST_ITSELF = data.DATASETS["mnist"]
FILES = digits.files()  # small ones in place of MNIST's
CLOSED = "http://127.0.0.1:9/"  # where nobody listens


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets these be the dataset's own mirrors, and what the user named."""

    def use(*own: str, named: str = "") -> None:
        monkeypatch.setitem(data.DATASETS, "mnist", data.DATASETS["digits"]._replace(mirrors=own))
        monkeypatch.setenv("MNIST_MIRROR", named)

    return use


@pytest.fixture
def good(tmp_path: Path) -> str:
    """A file:// mirror that has everything."""
    for name, content in FILES.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path.as_uri()


def test_mirrors_and_archives_are_those_of_torchvision() -> None:
    assert list(MNIST_ITSELF.mirrors) == MNIST.mirrors
    assert {archive for archive, _ in MNIST.resources} == {f"{name}.gz" for name in MNIST_ITSELF.sha256}


@contextmanager
def server(handler: type[BaseHTTPRequestHandler] | Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """The base URL of a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> type[BaseHTTPRequestHandler]:
    """Answers every GET by `answer`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


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


def dripping_header(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.0 200 OK\r\nServer: ")
    for _ in range(100):
        request.wfile.write(b"x")
        time.sleep(0.1)


def silent(request: BaseHTTPRequestHandler) -> None:
    time.sleep(10)


def redirecting(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", request.path)
    request.end_headers()


ZIPPED = gzip.compress(b"something else")
WRONG = "bytes, not the published ones"
BAD = {
    "403": (functools.partial(send, b"", status=403), "HTTP status 403"),
    "404": (functools.partial(send, b"", status=404), "HTTP status 404"),
    "page": (functools.partial(send, b"<!DOCTYPE html><p>Log in"), f"24 {WRONG}; they begin with b'<!DOCTYPE html>"),
    "empty": (functools.partial(send, b""), f"0 {WRONG}"),
    "truncated": (functools.partial(send, ZIPPED[:-9], length=len(ZIPPED)), "ends too early, after 25 bytes"),
    "flipped": (functools.partial(send, ZIPPED[:-6] + b"\xff" + ZIPPED[-5:]), "archive is damaged .CRC check failed"),
    "other": (functools.partial(send, ZIPPED), f"14 {WRONG}"),
    "bomb": (functools.partial(send, gzip.compress(bytes(2**27))), f"67,108,864 {WRONG}"),
    "endless": (endless, "more than the 67,108,864 bytes"),
    "redirecting": (redirecting, "redirect"),
    "dripping": (dripping, "not finished within"),
    "dripping header": (dripping_header, "not finished within"),
    "silent": (silent, "not finished within"),
}


def refusal() -> str:
    """What `fetch_any` says of mirrors that can be reached and are no good."""
    with pytest.raises(PipelineError, match="no mirror of mnist gave its files") as caught:
        mirrors.fetch_any("mnist")
    assert not isinstance(caught.value, UnreachableError)
    return str(caught.value)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_mirror_is_refused_with_its_reason_and_another_tried_unless_the_user_named_it(
    kind: str, good: str, use, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, reason = BAD[kind]
    slow = reason == "not finished within"
    monkeypatch.setattr(mirrors, "MIRROR_SECONDS", 1 if slow else 600)
    file = "" if slow else f"{next(iter(FILES))}.gz: "
    with server(answering(answer)) as bad:
        use(good, named=bad)
        assert re.search(f"{bad}\n *{file}.*{reason}", message := refusal()), message
        assert good not in message
        use(bad, good)
        assert mirrors.fetch_any("mnist") == FILES


def test_a_mirror_that_can_t_be_reached_is_told_apart(good: str, use) -> None:
    use(CLOSED)
    with pytest.raises(UnreachableError, match=f"no mirror of mnist can be reached:\n *{CLOSED}\n.*refused"):
        mirrors.fetch_any("mnist")
    with server(answering(functools.partial(send, b"", status=500))) as broken:
        use(broken, named=CLOSED)
        assert re.search("(?s)refused.*HTTP status 500", refusal())
    use(good, named=CLOSED)
    assert mirrors.fetch_any("mnist") == FILES


def test_a_portal_that_answers_in_place_of_a_mirror_is_no_outage(use) -> None:
    with server(answering(functools.partial(send, b"Log in"))) as portal:
        use(portal.replace("http:", "https:"))
        assert "SSL" in refusal()


def dotted(name: str) -> str:
    return name.replace("-idx", ".idx")


def kaggle(folder: Path, name: str, content: bytes) -> None:
    (folder / dotted(name)).write_bytes(content)
    (folder / name).mkdir()


def mixed(folder: Path, name: str, content: bytes) -> None:
    """Some packed, some not, and a download that was broken off beside each."""
    (folder / f"{name}.gz").write_bytes(gzip.compress(content)[:99])
    file = dotted(name) if "labels" in name else f"{dotted(name)}.gz"
    (folder / file).write_bytes(content if "labels" in name else gzip.compress(content))


SPELLINGS: dict[str, Callable[[Path, str, bytes], object]] = {
    "packed": lambda folder, name, content: (folder / f"{name}.gz").write_bytes(gzip.compress(content)),
    "unpacked": lambda folder, name, content: (folder / name).write_bytes(content),
    "dot": lambda folder, name, content: (folder / dotted(name)).write_bytes(content),
    "dot, packed": lambda folder, name, content: (folder / f"{dotted(name)}.gz").write_bytes(gzip.compress(content)),
    "unpacked by the browser": lambda folder, name, content: (folder / f"{name}.gz").write_bytes(content),
    "Kaggle": kaggle,
    "mixed": mixed,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_files_one_has_are_accepted_by_their_checksum(spelling: str, tmp_path: Path, use) -> None:
    folder = tmp_path / "my files #1"
    folder.mkdir()
    for name, content in FILES.items():
        SPELLINGS[spelling](folder, name, content)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with server(handler) as served:
        for named in (str(folder), folder.as_uri(), f"{folder.as_uri()}/", served):
            use(CLOSED, named=named)
            assert mirrors.fetch_any("mnist") == FILES


def test_a_folder_that_lacks_a_file_or_is_not_there_is_an_error_that_names_the_file(tmp_path: Path, use) -> None:
    name, *others = FILES
    for other in others:
        (tmp_path / other).write_bytes(FILES[other])
    use(CLOSED, named=str(tmp_path))
    assert f"{name}.gz: No such file" in refusal()
    (tmp_path / name).write_bytes(FILES[others[0]])
    assert f"{name}: 1,508 {WRONG}" in refusal()
    use(CLOSED, named=(tmp_path / "mistyped").as_uri())
    assert f"mistyped\n    {name}.gz: No such file" in refusal()


def test_an_archive_in_two_members_is_one_file(good: str, tmp_path: Path, use) -> None:
    name, content = next(iter(FILES.items()))
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content[:9]) + gzip.compress(content[9:]))
    use(good)
    assert mirrors.fetch_any("mnist") == FILES


@pytest.mark.parametrize(
    "url",
    ["htps://a/", "ftp://a/", "mirror.example", "/a/folder", "http://", "file://a/b", "https://me:secret@host/"],
)
def test_what_can_t_be_a_mirror_is_named_without_its_password(url: str, good: str, use) -> None:
    for named in (url, f"{good} {url}"):
        use(good, named=named)
        expected = re.escape(f"MNIST_MIRROR names {url.split('@')[-1]}, which is no folder; expected one, or https://")
        with pytest.raises(PipelineError, match=expected) as caught:
            mirrors.fetch_any("mnist")
        assert "secret" not in str(caught.value)
        assert not isinstance(caught.value, UnreachableError)


def test_what_is_no_url_after_all_is_no_outage(use) -> None:
    for url in ("http://[::1", "http://a:b/", "http://.a/"):
        use(CLOSED, named=url)
        assert url in refusal()


def test_what_a_server_says_is_quoted_in_printable_characters(use) -> None:
    def hostile(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 503 \x1b[31m" + b"x" * 5_000 + b"\r\n\r\n")

    with server(answering(hostile)) as bad:
        use(bad)
        message = refusal()
    assert "HTTP status 503" in message
    assert "\x1b" not in message and max(map(len, message.splitlines())) < 300


def test_the_user_s_mirrors_come_first_and_each_dataset_has_its_own_variable(
    good: str, use, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(mirrors, "fetch", lambda dataset, mirror: asked.append(mirror) or mirrors._download(CLOSED))
    use("https://last/", named=f"{CLOSED}  {good}/")
    monkeypatch.setitem(data.DATASETS, "my-own", data.DATASETS["mnist"])
    monkeypatch.setenv("MY_OWN_MIRROR", "https://mine/")
    for dataset in ("mnist", "my-own"):
        with pytest.raises(UnreachableError):
            mirrors.fetch_any(dataset)
    assert asked == [CLOSED, f"{good}/", "https://last/", "https://mine/", "https://last/"]
