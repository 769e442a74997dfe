"""Run every stage again and compare each output with the one recorded in the last commit's dvc.lock.

Prints Markdown to stdout, everything else to stderr; ends with 1 if anything differs. Where the same bytes are not
promised, it says why and compares the metrics instead.
"""

import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from stages.lib import resume
from stages.lib.errors import PipelineError
from tools import outputs, promise


def git(*arguments: str) -> bytes:
    return subprocess.check_output(["git", *arguments])


def altered(recorded: dict[str, str]) -> dict[str, str]:
    """A sentence for each output, in the last commit or here, that is not the recorded one before anything runs."""
    committed = set(git("ls-tree", "-rz", "--name-only", "HEAD").decode().split("\0"))
    problems = {
        path: f"{path}, as it was here before this run, was not the recorded one: its MD5 was {md5}"
        for path, md5 in outputs.found(recorded, Path()).items()
        if md5 != recorded[path]
    }
    for path in sorted(committed & set(recorded)):
        if outputs.md5_of(git("show", f"HEAD:{path}")) != recorded[path]:
            problems[path] = f"{path} in the last commit is not the one that dvc.lock records there"
    return problems


def differences(recorded: dict[str, str], here: dict[str, str]) -> list[str]:
    """The outputs that this run did not reproduce, a sentence each."""
    return [
        f"{path} came out different: recorded {recorded.get(path, 'not at all')}, here {here.get(path, 'missing')}"
        for path in sorted(recorded | here)
        if recorded.get(path) != here.get(path)
    ]


def table(recorded: dict[str, str], here: dict[str, str], altered: Collection[str]) -> str:
    """A line for each output: path, recorded hash, hash here, same or not, and whether it was found altered."""
    rows = [["output", "recorded", "here", "same"]]
    for path in sorted(recorded | here):
        before, now = recorded.get(path, "-"), here.get(path, "-")
        same = "yes" if before == now else "NO"
        rows.append([path, before, now, f"{same}, was ALTERED" if path in altered else same])
    return outputs.markdown(rows)


def compare_metrics() -> list[str]:
    """Print the metrics beside their bands; returns a sentence for each that lies outside."""
    if other := promise.other_settings():
        return [f"the 20 seeds were run with other settings, so there is nothing to compare {', '.join(other)} with"]
    rows, problems = [["metric", "here", f"mean of 20 seeds ± {promise.WIDTH} deviations", "within"]], []
    for name, value in promise.metrics().items():
        band = promise.BANDS[name]
        fits = promise.within(name, value)
        rows.append(
            [name, f"{value:.4f}", f"{band.mean} ± {promise.WIDTH * band.deviation:.4f}", "yes" if fits else "NO"]
        )
        problems += [] if fits else [f"{name} {value:.4f} lies outside the band of 20 seeds"]
    print(f"\n{outputs.markdown(rows)}")
    return problems


def repro() -> None:
    shutil.rmtree(resume.FOLDER, ignore_errors=True)  # else training would go on from its own end
    if subprocess.run(["dvc", "repro", "--force"], stdout=sys.stderr).returncode != 0:
        raise PipelineError("verify: the pipeline failed, so nothing was verified")


def main() -> None:
    recorded = outputs.recorded(git("show", "HEAD:dvc.lock").decode())
    if limits := promise.limits():
        print("The same bytes are not promised here:", *(f"- {reason}" for reason in limits), "", sep="\n")
        print("The table is for information; what counts are the metrics.\n", flush=True)
    found_altered = altered(recorded)
    repro()
    here = outputs.found(recorded | outputs.recorded(Path("dvc.lock").read_text()), Path())
    print(table(recorded, here, found_altered))
    problems = [*found_altered.values()]
    problems += compare_metrics() if limits else differences(recorded, here)
    if not limits and git("diff", "HEAD", "--", "dvc.lock"):
        problems.append("dvc.lock of the last commit records other code or settings than those here")
    if problems:
        raise PipelineError("verify: NOT reproduced\n" + "\n".join(f"  {problem}" for problem in problems))
    if limits:
        print("\nverify: the metrics are those of a right run; the bytes prove nothing here, for the reasons above")
    else:
        print(f"\nverify: all {len(here)} outputs, computed again from nothing, are the recorded ones to the byte")


if __name__ == "__main__":
    main()
