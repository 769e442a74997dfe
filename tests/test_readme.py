"""The README says what is true: its stages, its numbers and its commands."""

import json
import re
import subprocess

from tests.project import ROOT, STAGES

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


def test_every_target_it_names_is_in_the_makefile() -> None:
    named = set(re.findall(r"(?:^\$ |`)make ([a-z0-9-]+)", README, re.MULTILINE))
    assert {"run", "verify", "test", "predict"} <= named
    assert named <= set(re.findall(r"^([a-z0-9-]+): ", MAKEFILE, re.MULTILINE))


def test_every_file_it_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_first_command_comes_within_a_hundred_words() -> None:
    assert len(README.split("$ make run")[0].split()) <= 100
