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

import yaml

from stages.lib.errors import PipelineError, run
from tools import outputs, replica

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


def hashes(folder: Path, model: str, settings: dict[str, Any]) -> dict[str, str]:
    """Run the whole pipeline in a fresh copy as `model`; the MD5 of each output."""
    replica.make(folder / "project", settings)
    environment = {}
    if model != HERE:
        path = [emulator(folder / "bin", model), Path(sys.executable).parent]
        environment["PATH"] = ":".join([*map(str, path), os.environ["PATH"]])
    replica.run(folder / "project", environment=environment)
    return replica.hashes(folder / "project")


def table(results: dict[str, dict[str, str]]) -> str:
    """A line for each output: its hash here, and for each emulated processor `same` or its own hash."""
    here = results[HERE]
    rows = [["output", *results]]
    for path in sorted(set().union(*results.values())):
        others = [found.get(path, "missing") for model, found in results.items() if model != HERE]
        rows.append([path, here.get(path, "missing"), *("same" if md5 == here.get(path) else md5 for md5 in others)])
    return outputs.markdown(rows)


def main() -> None:
    settings = SETTINGS | {
        name: yaml.safe_load(value) for name, equals, value in (word.partition("=") for word in sys.argv[1:]) if equals
    }
    models = [HERE, *([word for word in sys.argv[1:] if "=" not in word] or MODELS)]
    if shutil.which(QEMU) is None:
        raise PipelineError(
            f"there is no {QEMU} here to emulate other processors; on Debian: apt-get install qemu-user"
        )
    with TemporaryDirectory() as folder, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        runs = {model: pool.submit(hashes, Path(folder, model), model, settings) for model in models}
        results = {model: future.result() for model, future in runs.items()}
    print(table(results))
    if different := [model for model in models if results[model] != results[HERE]]:
        raise PipelineError(f"verify-cpus: other bytes on {', '.join(different)}")
    print(f"\nverify-cpus: all {len(results[HERE])} outputs are the same bytes on {', '.join(models)}")


if __name__ == "__main__":
    run(main)
