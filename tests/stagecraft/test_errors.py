import subprocess
import sys

from tests.project import STAGES

import pytest

IMPORTS = "from stages.lib.mirrors import PipelineError, UnreachableError\n"
INTERRUPT = """
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it
os.kill(os.getpid(), signal.SIGINT); time.sleep(9)
"""
WITHOUT_REQUIREMENTS = (
    f"\nerror: No module named 'no_such_requirement' for {sys.executable}, the Python that this was started with; "
    "first `source .venv/bin/activate`, or install requirements.txt there\n"
)
# By what went wrong: a statement, and the exit status and stderr of the process that it ends
ENDS = {
    "a status of its own": ("raise UnreachableError('no mirror')", 69, "\nerror: no mirror\n"),
    "what the user can mend": ("raise PipelineError('a' * 9999 + '\\nb')", 1, f"\nerror: {1910 * 'a'}...\nb\n"),
    "Ctrl-C": (INTERRUPT, -2, "\ninterrupted\n"),
    "a Python without the requirements": ("import no_such_requirement.part", 1, WITHOUT_REQUIREMENTS),
}


def end_of(program: str) -> tuple[int, str]:
    """Exit status and stderr of a process."""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return result.returncode, result.stderr


@pytest.mark.parametrize("name", ENDS)
def test_what_is_no_mistake_of_the_project_s_is_one_message(name: str) -> None:
    statement, *end = ENDS[name]
    assert end_of(IMPORTS + statement) == tuple(end)


@pytest.mark.parametrize("statement", ["1 / 0", "import stages.lib.no_such_module"])
def test_a_mistake_of_the_project_s_keeps_its_traceback(statement: str) -> None:
    status, message = end_of(IMPORTS + statement)
    assert status == 1
    assert message.startswith("Traceback")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_handles_errors_before_it_imports_what_takes_long(stage: str) -> None:
    program = f"""
import sys, runpy
class Watch:
    def find_spec(self, name, *_):
        if name in ('numpy', 'torch', 'matplotlib', 'pandas') and 'stagecraft.errors' not in sys.modules:
            raise SystemExit(f'{{name}} comes before stagecraft.errors')
        if name == 'numpy': raise SystemExit(0)
sys.meta_path.insert(0, Watch())
runpy.run_module('stages.{stage}', run_name='__main__')
"""
    assert end_of(program) == (0, "")
