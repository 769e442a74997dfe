import os
import shutil
from contextlib import chdir
from pathlib import Path

from tests.browser import browser as browser
from tests.project import QUICK
from tests.tools.toy import COMMIT, FILES, shell

import pytest


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    with chdir(folder):
        for name, content in FILES.items():
            Path(name).write_text(content)
        shell(f"git init -q && dvc init -q && echo /log >> .gitignore && dvc repro -q && {COMMIT}")
    return folder


@pytest.fixture
def project(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, here, of a small pipeline that ran and is committed."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for name in (QUICK.keys() - os.environ.keys()) | {"PATH"}:  # for the tools, which start DVC themselves
        monkeypatch.setenv(name, QUICK[name])
    return tmp_path
