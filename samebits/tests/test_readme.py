"""The code of the README runs as it stands there, from an installation of the package alone, and needs nothing else."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
CODE = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_it_imports_torch_and_the_standard_library_only() -> None:
    found = set()
    for path in {*PACKAGE.rglob("*.py")} - {*PACKAGE.glob("tests/*")}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).split(".")[0])
    assert found - sys.stdlib_module_names == {"samebits", "torch"}


@pytest.mark.slow
def test_the_code_runs_from_an_installation_of_its_own(tmp_path: Path) -> None:
    (code,) = CODE
    shutil.copytree(PACKAGE, tmp_path / "code", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*pip, str(tmp_path / "site"), str(tmp_path / "code")], check=True, capture_output=True)
    start = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
    printed = subprocess.check_output([sys.executable, "-I", "-c", start + code], cwd=tmp_path, text=True)
    losses = [float(line) for line in printed.splitlines()]
    assert len(losses) == 5 and losses[-1] < losses[0]
