"""Run the pipeline as other processors would and compare the bytes with those of this one.

    python -m tools.verify_cpus [MODEL ...] [SETTING=VALUE ...]

QEMU runs the Python of each stage instruction by instruction as the named processor (`qemu-x86_64 -cpu help` lists
them); DVC runs as usual. The default is four processors, Intel's and AMD's, on the embedded digits.
"""

import os
import shlex
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.lib.errors import PipelineError
from tools import outputs, replica

import yaml

MODELS = ["Haswell", "Skylake-Client", "EPYC-Rome", "EPYC-Milan"]
SETTINGS = {"dataset": "digits"}
QEMU = "qemu-x86_64"
HERE = "this one"


def emulator(folder: Path, model: str) -> Path:
    """Make a folder to be put first on PATH, whose `python` is this one on the emulated processor."""
    folder.mkdir(parents=True)
    command = shlex.join([QEMU, "-cpu", model, sys.executable])
    (folder / "python").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (folder / "python").chmod(0o755)
    return folder


def compute(folder: Path, model: str, settings: dict[str, Any]) -> Path:
    """Run the whole pipeline as `model` in a fresh copy; returns the copy."""
    replica.make(folder / "project", settings)
    environment = {}
    if model != HERE:
        path = [emulator(folder / "bin", model), Path(sys.executable).parent]
        environment["PATH"] = ":".join([*map(str, path), os.environ["PATH"]])
    replica.run(folder / "project", environment=environment)
    return folder / "project"


def table(results: dict[str, dict[str, str]]) -> str:
    """A line for each output: its hash here, and for each emulated processor `same` or its own hash."""
    here = results[HERE]
    rows = [["output", *results]]
    for path in sorted(set().union(*results.values())):
        others = [found.get(path, "missing") for model, found in results.items() if model != HERE]
        rows.append([path, here.get(path, "missing"), *("same" if md5 == here.get(path) else md5 for md5 in others)])
    return outputs.markdown(rows)


def verify(models: list[str], settings: dict[str, Any]) -> None:
    """Compare `models` with this processor, one for each CPU at a time; raises PipelineError if bytes differ."""
    if shutil.which(QEMU) is None:
        raise PipelineError(f"there is no {QEMU} to emulate other processors; on Debian: apt-get install qemu-user")
    with TemporaryDirectory() as folder, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        runs = {model: pool.submit(compute, Path(folder, model), model, settings) for model in [HERE, *models]}
        copies = {model: future.result() for model, future in runs.items()}
        results = {model: replica.hashes(copy) for model, copy in copies.items()}
        print(table(results))
        differences = {model: replica.difference(copies[HERE], copy) for model, copy in copies.items()}
    if problems := [f"other bytes on {model}: {where}" for model, where in differences.items() if where]:
        raise PipelineError("verify-cpus: " + "\n".join(problems))
    print(f"\nverify-cpus: all {len(results[HERE])} outputs are the same bytes on {', '.join(results)}")


def parse(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The models among the arguments, and the settings, such as epochs=2."""
    pairs = [word.split("=", 1) for word in words if "=" in word]
    return [word for word in words if "=" not in word] or MODELS, SETTINGS | {
        name: yaml.safe_load(value) for name, value in pairs
    }


def main() -> None:
    verify(*parse(sys.argv[1:]))


if __name__ == "__main__":
    main()
