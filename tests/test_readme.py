"""README and docs say what is true: the stages, the numbers, the commands and the map of the code."""

import ast
import json
import re
import subprocess
from pathlib import Path

from tests.project import ROOT, STAGES
from tools import outputs

import pytest

PAGES = {path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_table_of_stages_is_the_graph() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(stages/\1\.py\) \|", README, re.MULTILINE)
    assert rows == list(STAGES), "README.md: each stage of dvc.yaml has a row in the table of stages, in its order"


def test_the_result_is_that_of_the_last_commit() -> None:
    # not of the working tree, which may hold an experiment
    recorded, built = (
        json.loads(subprocess.check_output(["git", "show", f"HEAD:./metrics/{name}.json"], cwd=ROOT))
        for name in ("test", "model")
    )
    accuracy, low, high = (100 * recorded[name] for name in ("accuracy", "accuracy_low", "accuracy_high"))
    result = (
        f"**{accuracy:.2f} %** of the {recorded['total']:,} test images correct "
        f"(95 % interval {low:.2f} to {high:.2f} %), test loss {recorded['loss']:.4f}, "
        f"{built['parameters']:,} parameters"
    )
    assert result in README, f"README.md: the last commit's result is {result}"
    outs = len(outputs.recorded((ROOT / "dvc.lock").read_text(encoding="utf-8")))
    assert f"verify: all {outs} outputs, " in README, f"README.md: `make verify` prints all {outs} outputs"


def test_every_target_they_name_is_in_the_makefile() -> None:
    named = {name for page in PAGES.values() for name in re.findall(r"(?:^\$ |`)make ([a-z0-9-]+)", page, re.MULTILINE)}
    assert {"run", "verify", "test", "predict"} <= named
    assert named <= set(re.findall(r"^([a-z0-9-]+): ", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("path", PAGES)
def test_every_file_it_links_to_is_there(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGES[path])
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_first_command_comes_within_thirty_seconds() -> None:
    words, lines = README.split("$ git clone")[0].split(), README.splitlines()
    assert len(words) <= 170
    assert len(lines) <= 110


def imported(path: Path) -> list[Path]:
    """The files of stages that a file imports, in their order."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stages"):
            folder = ROOT.joinpath(*node.module.split("."))
            found += [folder.with_suffix(".py"), *(folder / f"{alias.name}.py" for alias in node.names)]
    return [path for path in found if path.exists()]


def first_read(path: Path, seen: set[Path]) -> list[Path]:
    """A file, and all that it leads to and that was not seen before."""
    if path in seen:
        return []
    seen.add(path)
    return [path, *(file for other in imported(path) for file in first_read(other, seen))]


def test_the_map_leads_through_all_files_and_has_their_lines() -> None:
    seen: set[Path] = set()
    rows = []
    for stage in STAGES:
        files = [(file, len(file.read_text(encoding="utf-8").splitlines())) for file in
                 first_read(ROOT / f"stages/{stage}.py", seen)]  # fmt: skip
        links = [f"[{file.stem}](../{file.relative_to(ROOT).as_posix()}) {lines}" for file, lines in files]
        rows.append(f"| {', '.join(links)} | {sum(lines for _, lines in files):,} |\n")
    table = "".join(rows)
    total = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in seen)
    assert f" {total:,} lines in all:" in PAGES[ROOT / "docs/notebook.md"], (
        f"docs/notebook.md: they are {total:,} lines"
    )
    assert table in PAGES[ROOT / "docs/notebook.md"], f"docs/notebook.md: the map of the code is now\n{table}"
