"""What starts from a fork does and says the same as what Python and DVC themselves start."""

import subprocess

from tests.project import ENVIRONMENT, QUICK

import pytest

pytestmark = pytest.mark.slow
PROBE = """
import os, signal, sys
print(__name__, sys.argv[1:], os.environ["GREETING"], sys.stdin.read())
print("loud", file=sys.stderr)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit({"text": "the reason", "none": None}.get(sys.argv[1]) if sys.argv[1] in ("text", "none") else int(sys.argv[1]))
"""


@pytest.mark.parametrize("end", ["0", "3", "text", "none", "not a number", "kill"])
@pytest.mark.parametrize("how", [["probe.py"], ["-m", "probe"], ["-u", "-m", "probe"]])
def test_a_process_has_the_words_folder_environment_input_and_end_that_python_gives_it(how, end, tmp_path):
    (tmp_path / "probe.py").write_text(PROBE)
    one, other = (
        subprocess.run(
            ["python", *how, end, "ü"], cwd=tmp_path, env=environment | {"GREETING": "good day"}, input="in",
            capture_output=True, text=True,
        )
        for environment in (ENVIRONMENT, QUICK)
    )  # fmt: skip
    assert (one.stdout, one.stderr.splitlines()[-1]) == (other.stdout, other.stderr.splitlines()[-1])
    assert one.returncode == other.returncode if one.returncode >= 0 else other.returncode > 0


def test_dvc_fails_as_dvc_does(tmp_path):
    for environment in (ENVIRONMENT, QUICK):
        done = subprocess.run(["dvc", "status"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 253 and "not inside of a DVC repository" in done.stderr
