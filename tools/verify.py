"""Run every stage again and compare each result with the one recorded in the last commit's dvc.lock."""

import subprocess
import sys
from pathlib import Path

import yaml

RESULTS = ["dvc.lock", "metrics", "plots"]


def outputs(lock: str) -> dict[str, str]:
    """The MD5 of every output by its path, from the text of a dvc.lock."""
    stages = yaml.safe_load(lock)["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}


def table(recorded: dict[str, str], here: dict[str, str]) -> str:
    """A line for each output: path, recorded hash, hash here, same or not."""
    lines = [f"{'output':<26}{'recorded':<38}{'here':<38}same"]
    for path in sorted(recorded | here):
        before, now = recorded.get(path, "-"), here.get(path, "-")
        lines.append(f"{path:<26}{before:<38}{now:<38}{'yes' if before == now else 'NO'}")
    return "\n".join(lines)


def main() -> None:
    recorded = outputs(subprocess.check_output(["git", "show", "HEAD:dvc.lock"], text=True))
    if subprocess.run(["dvc", "repro", "--force"]).returncode != 0:
        sys.exit("verify: the pipeline failed, so nothing is proved")
    here = outputs(Path("dvc.lock").read_text())
    print(table(recorded, here))
    changed = subprocess.run(["git", "diff", "--exit-code", "--stat", "HEAD", "--", *RESULTS]).returncode != 0
    if changed or recorded != here:
        sys.exit("verify: NOT reproduced; the lines above name what differs from the last commit")
    print(f"verify: all {len(here)} outputs, computed again from nothing, are the recorded ones to the byte")


if __name__ == "__main__":
    main()
