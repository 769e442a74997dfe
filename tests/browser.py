"""Chromium without a network and without a window, driven through a pipe by the Chrome DevTools Protocol."""

import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--proxy-server=http://127.0.0.1:9")


class Browser:
    """One page, by https://chromedevtools.github.io/devtools-protocol."""

    def __init__(self, profile: Path) -> None:
        to_read, to_write = os.pipe(), os.pipe()
        theirs = to_read[0], to_write[1]  # which Chromium wants as the descriptors 3 and 4
        command = [str(CHROMIUM), *OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        places = [(os.POSIX_SPAWN_DUP2, own, wanted) for own, wanted in zip(theirs, (3, 4), strict=True)]
        quiet = [(os.POSIX_SPAWN_OPEN, place, os.devnull, os.O_WRONLY, 0) for place in (1, 2)]
        self._process = os.posix_spawn(command[0], command, os.environ, file_actions=[*places, *quiet])
        for descriptor in theirs:
            os.close(descriptor)
        self._calls, self._answers = os.fdopen(to_read[1], "wb"), to_write[0]
        self._read = b""
        self._numbers = itertools.count(1)
        self._session: dict[str, str] = {}
        self.complaints: list[dict[str, Any]] = []  # what the page said on the console, and errors of its scripts
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._session = {}
        self.call("Browser.close")
        os.waitpid(self._process, 0)
        self._calls.close()
        os.close(self._answers)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        self._calls.write(json.dumps(message).encode() + b"\0")
        self._calls.flush()
        while (answer := self._message()).get("id") != number:
            if answer["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(answer["params"])
        assert "error" not in answer, answer
        return answer["result"]

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            more = os.read(self._answers, 2**20)
            assert more, "Chromium ended"
            self._read += more
        text, _, self._read = self._read.partition(b"\0")
        return json.loads(text)

    def open(self, page: Path, width: int = 1280, dark: bool = False, height: int = 844) -> None:
        """Open a file in a window of that size; one side of less than 500 makes it a phone's, with touch."""
        phone = min(width, height) < 500
        size = {"width": width, "height": height, "deviceScaleFactor": 1 + phone}
        self.call("Emulation.setDeviceMetricsOverride", **size, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.absolute().as_uri())
        while self.value("document.readyState") != "complete" or self.value("location.protocol") != "file:":
            pass

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")


def contrast(*colors: str) -> float:
    """The contrast ratio, 1 to 21, of two colours rgb(…) by https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio."""
    channels = [[int(part) / 255 for part in re.findall(r"\d+", color)] for color in colors]
    linear = [[c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in color] for color in channels]
    dark, light = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in linear)
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser in which no page may complain."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
    assert not browser.complaints
