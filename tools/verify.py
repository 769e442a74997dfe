"""Run every stage again and compare each output with the one recorded in the last commit's dvc.lock.

An output is the same if its bytes are, or for a picture the decoded pixels: another build of zlib packs them otherwise.
Prints Markdown to stdout, everything else to stderr; ends with 1 if anything differs.
"""

import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stagecraft import configuration, resume
from stagecraft.errors import PipelineError
from tools import outputs, repair, repository

from dvc.utils.serialize import parse_yaml


def read(text: str) -> dict[str, Any]:
    """YAML as DVC reads it, to which 1e-05 is a number."""
    return dict(parse_yaml(text, "YAML"))


def settings(path: str = "params.yaml") -> dict[str, Any]:
    """The settings in a file; raises PipelineError, as `make run` does, if they can't be read."""
    if not Path(path).exists():
        return {}
    content = Path(path).read_bytes()
    configuration.check_keys(path, content)
    return read(content.decode())


def changed(lock: str) -> list[str]:
    """The code and settings here that are not those that the recorded outputs were made with."""
    recorded, names = outputs.recorded(lock), []
    for stage in read(lock)["stages"].values():
        deps = {dep["path"]: dep["md5"] for dep in stage.get("deps", []) if dep["path"] not in recorded}
        here = outputs.found(deps, Path())
        names += [path for path, md5 in deps.items() if here.get(path) != md5]
        for path, values in stage.get("params", {}).items():
            found = settings(path)
            names += [
                f"{name} {found.get(name, 'missing')} (recorded {value})"
                for name, value in values.items()
                if found.get(name) != value
            ]
    return [*dict.fromkeys(names)]


def other_versions() -> list[str]:
    """The installed packages whose version is not that of requirements.txt; the label of a build, as +cpu, is none."""
    pinned = re.findall(r"^([\w.-]+)==([^\s;]+)", Path("requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    found = {name: installed(name) for name, _ in pinned}
    return [f"{name} {found[name]} (pinned {pin})" for name, pin in pinned if found[name] not in (None, pin)]


def installed(package: str) -> str | None:
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def altered(recorded: dict[str, str]) -> dict[str, str]:
    """A sentence for each output, in the last commit or here, that is not the recorded one before anything runs."""
    here = outputs.found(recorded, Path())
    problems = {
        path: f"{path}, as it was here before this run, was not the recorded one: {outputs.difference(Path(path), md5)}"
        for path, md5 in recorded.items()
        if path in here and outputs.sameness(path, md5, here[path]) == "NO"
    }
    for path, md5 in recorded.items():
        committed = repository.committed(path)
        if committed is not None and outputs.md5_of(committed) != md5:
            problems[path] = f"{path} in the last commit is not the one that dvc.lock records there"
    return problems


def repro() -> None:
    shutil.rmtree(resume.FOLDER, ignore_errors=True)  # else training would go on from its own end
    if subprocess.run(["dvc", "repro", "--force"], stdout=sys.stderr).returncode != 0:
        raise PipelineError("verify: the pipeline failed, so nothing was verified")


def table(recorded: dict[str, str], here: dict[str, str], altered: dict[str, str]) -> str:
    """A line for each output: path, recorded hash, hash here, same or not, and whether it was found altered."""
    rows = [["output", "recorded", "here", "same"]]
    for path in recorded | here:
        before, now = recorded.get(path), here.get(path)
        same = outputs.sameness(path, before, now)
        rows.append([path, before or "-", now or "-", f"{same}, was ALTERED" if path in altered else same])
    return outputs.markdown(rows)


def differences(recorded: dict[str, str], here: dict[str, str]) -> list[str]:
    """The outputs that this run did not reproduce, a sentence each, and the versions that may be why."""
    found = [
        f"{path} came out different: {outputs.difference(Path(path), recorded.get(path))}"
        for path in recorded | here
        if outputs.sameness(path, recorded.get(path), here.get(path)) == "NO"
    ]
    versions = other_versions()
    return [*found, f"installed here: {', '.join(versions)}"] if found and versions else found


def verdict(recorded: dict[str, str], here: dict[str, str], *, is_native: bool) -> str:
    repacked = sum(here[path] != md5 for path, md5 in recorded.items())
    pictures = f"; {repacked} of them, pictures, to the pixel, in other bytes" if repacked else " to the byte"
    only = " on this machine; with numerics: native no other can promise them" if is_native else ""
    return f"verify: all {len(here)} outputs, computed again from nothing, are the recorded ones{pictures}{only}"


def main() -> None:
    committed = repository.committed("dvc.lock")
    if committed is None:
        raise PipelineError("the last commit has no dvc.lock to compare with; `dvc repro`, and commit what it makes")
    lock = committed.decode(errors="replace")
    if not repair.is_lock(lock):
        raise PipelineError(
            "DVC can't read dvc.lock of the last commit: it is damaged, or has conflicts in it; take an earlier one "
            "(`git log dvc.lock`), `dvc repro`, and commit what it makes"
        )
    recorded, others = outputs.recorded(lock), ", ".join(changed(lock))
    is_native = settings().get("numerics") == "native"
    if others:
        print(f"These are not what the last commit's results were made with, and may change them: {others}.\n")
    if is_native:
        print("With numerics: native no bytes are promised: if they are the same, that is true of this machine only.\n")
    sys.stdout.flush()
    found_altered = {} if others else altered(recorded)
    repro()
    here = outputs.found(recorded | outputs.recorded(Path("dvc.lock").read_text(encoding="utf-8")), Path())
    print(table(recorded, here, found_altered))
    problems = [*found_altered.values(), *differences(recorded, here)]
    other = f"dvc.lock of the last commit was made with others than these: {others}; commit it anew"
    if others and not problems:
        raise PipelineError(f"verify: all {len(here)} outputs are the recorded ones, but {other}")
    problems += [other] if others else []
    if problems:
        raise PipelineError("verify: NOT reproduced\n" + "\n".join(f"  {problem}" for problem in problems))
    print(f"\n{verdict(recorded, here, is_native=is_native)}")


if __name__ == "__main__":
    main()
