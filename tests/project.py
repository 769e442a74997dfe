"""The project as a thing to test: its graph, and copies of it in which DVC runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def declared(stage: str, kind: str) -> set[str]:
    """The paths under `deps`, or under `outs`, `metrics` and `plots`, of a stage."""
    kinds = ("deps",) if kind == "deps" else ("outs", "metrics", "plots")
    entries = [entry for each in kinds for entry in STAGES[stage].get(each, [])]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


class Project:
    """A copy of the project's own files in a Git repository with a first commit, and without any result."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        files = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True).split()
        for name in files:
            if not name.startswith(("tests/", "metrics/", "plots/", "dvc.lock")) and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        values = yaml.safe_load((folder / "params.yaml").read_text()) | settings
        (folder / "params.yaml").write_text(yaml.safe_dump(values))
        self.run("git", "init", "-q")
        self.commit("first")

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qm", message)

    def run(self, *command: str, status: int | None = 0, **environment: str) -> str:
        """The output, stdout and stderr together, of a command that must end with `status` (None: not 0)."""
        result = subprocess.run(
            command, cwd=self.folder, env=self.environment | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert result.returncode == status or (status is None and result.returncode != 0), result.stdout
        return result.stdout

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()
