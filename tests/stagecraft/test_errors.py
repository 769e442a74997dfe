import subprocess
import sys

from tests.project import STAGES

import pytest


def end_of(statement: str) -> tuple[int, str]:
    """Exit status and stderr of a process that imports the errors and runs a statement."""
    program = (
        f"from stagecraft.errors import PipelineError\nfrom stages.lib.mirrors import UnreachableError\n{statement}"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return result.returncode, result.stderr


@pytest.mark.parametrize(("kind", "status"), [("PipelineError", 1), ("UnreachableError", 69)])
def test_what_the_user_can_mend_is_one_message(kind: str, status: int) -> None:
    assert end_of(f"raise {kind}('expected a, found b')") == (status, "\nerror: expected a, found b\n")


def test_no_line_of_a_message_is_longer_than_a_screen() -> None:
    status, message = end_of("raise PipelineError('a' * 100_000 + chr(10) + 'b')")
    first, second = message.strip().split("\n")
    assert status == 1 and first.endswith("aaa...") and len(first) == 24 * 80 and second == "b"


def test_ctrl_c_is_one_line() -> None:
    status, message = end_of(
        "import os, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it\n"
        "os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"
    )
    assert status != 0
    assert message == "\ninterrupted\n"


def test_a_mistake_of_the_project_s_keeps_its_traceback() -> None:
    status, message = end_of("1 / 0")
    assert status == 1
    assert message.startswith("Traceback") and message.endswith("ZeroDivisionError: division by zero\n")


def test_a_python_without_the_requirements_is_named_with_what_to_do() -> None:
    status, message = end_of("import no_such_requirement.part")
    assert status == 1
    assert message == (
        f"\nerror: No module named 'no_such_requirement' for {sys.executable}, the Python that this was started with; "
        "first `source .venv/bin/activate`, or install requirements.txt there\n"
    )


def test_a_module_of_the_project_that_is_missing_is_the_project_s_mistake() -> None:
    assert end_of("import stages.lib.no_such_module")[1].startswith("Traceback")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_handles_errors_before_it_imports_what_takes_long(stage: str) -> None:
    program = (
        "import sys, runpy\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('numpy', 'torch', 'matplotlib', 'pandas') and 'stagecraft.errors' not in sys.modules:\n"
        "            raise SystemExit(f'{name} comes before stagecraft.errors')\n"
        "        if name == 'numpy': raise SystemExit(0)\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"runpy.run_module('stages.{stage}', run_name='__main__')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
