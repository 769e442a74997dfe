import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

from stages.lib import resume

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

SETTINGS = {"lr": 0.1, "momentum": 0.5, "epochs": 3, "numerics": "exact"}
HISTORY = [{"train_loss": 0.5}]
OPTIMIZERS = {
    "SGD": lambda parameters: SGD(parameters, lr=0.1),
    "SGD with momentum": lambda parameters: SGD(parameters, lr=0.1, momentum=0.5, weight_decay=0.1),
    "Adam": lambda parameters: Adam(parameters, lr=0.1, betas=(0.8, 0.99), amsgrad=True),
    "groups": lambda parameters: SGD([{"params": [each], "lr": 0.1 / each.ndim} for each in parameters], momentum=0.5),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path):
    with chdir(tmp_path):
        yield tmp_path


def training(name: str = "SGD with momentum", steps: int = 1) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network after some steps, so that the optimizer has a state."""
    network = nn.Linear(3, 2)
    optimizer = OPTIMIZERS[name](network.parameters())
    for _ in range(steps):
        step(network, optimizer)
    return network, optimizer


def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    optimizer.zero_grad()
    network(torch.tensor([[0.1, 0.2, 0.3]])).square().sum().backward()
    optimizer.step()
    return [parameter.detach().clone() for parameter in network.parameters()]


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_next_steps_are_the_same_after_restoring(name: str, steps: int) -> None:
    saved, restored = training(name, 2), training(name, steps)
    losses = [{"train_loss": 0.1 + 0.2, "validation_loss": None}, {"train_loss": 5e-324}]
    resume.save("key", *saved, losses)
    assert resume.restore("key", 3, *restored) == losses
    for _ in range(3):
        assert all(torch.equal(*pair) for pair in zip(step(*saved), step(*restored), strict=True))


def test_entries_of_an_optimizer_that_are_no_tensors_come_back() -> None:
    saved, restored = training(), training()
    kept = {"momentum_buffer": None, "count": 3, "mean": 0.1, "inner": [{"sum": torch.ones(2)}]}
    saved[1].load_state_dict(saved[1].state_dict() | {"state": {0: kept}})
    resume.save("key", *saved, HISTORY)
    resume.restore("key", 3, *restored)
    assert str(restored[1].state_dict()) == str(saved[1].state_dict())


def test_nothing_kept_or_too_many_epochs_is_a_start_from_the_beginning() -> None:
    assert resume.restore("key", 3, *training()) == []
    resume.save("key", *training(), HISTORY * 2)
    assert resume.restore("key", 1, *training()) == []


@pytest.mark.parametrize("position", [0, 40, 500, -1])
def test_a_damaged_state_is_ignored_with_a_line(position: int, capsys: pytest.CaptureFixture[str]) -> None:
    resume.save("key", *training(), HISTORY)
    content = bytearray((resume.FOLDER / "key").read_bytes())
    content[position] ^= 1
    (resume.FOLDER / "key").write_bytes(content)
    network, optimizer = training()
    before = network.weight.clone()
    assert resume.restore("key", 3, network, optimizer) == []
    assert torch.equal(network.weight, before)
    assert "damaged or of another training" in capsys.readouterr().out


def test_a_state_under_another_s_name_is_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    resume.save("key", *training(), HISTORY)
    (resume.FOLDER / "key").rename(resume.FOLDER / "other")
    assert resume.restore("other", 3, *training()) == []
    assert "of another training" in capsys.readouterr().out


def test_a_cache_that_can_t_be_used_stops_no_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / resume.FOLDER / "key").mkdir(parents=True)
    assert resume.restore("key", 3, *training()) == []
    assert "damaged or of another training" in capsys.readouterr().out
    resume.save("key", *training(), HISTORY)
    assert "would start from the beginning: can't write .train_cache/key: Is a directory" in capsys.readouterr().out
    (folder / resume.FOLDER / "key").rmdir()
    (folder / resume.FOLDER).rmdir()
    (folder / resume.FOLDER).touch()
    resume.save("key", *training(), HISTORY)
    assert resume.restore("key", 3, *training()) == []


def test_old_states_go(monkeypatch: pytest.MonkeyPatch) -> None:
    resume.save("key0", *training(), HISTORY)
    size = (resume.FOLDER / "key0").stat().st_size
    monkeypatch.setattr(resume, "KEPT", 4 * size + size // 2)
    for index in range(7):
        resume.save(f"key{index}", *training(), HISTORY)
        os.utime(resume.FOLDER / f"key{index}", ns=(index, index))
    resume.save("key0", *training(), HISTORY)
    kept = {path.name for path in resume.FOLDER.iterdir()}
    assert kept == {"key0", "key4", "key5", "key6"}
    monkeypatch.setattr(resume, "KEPT", size - 1)
    resume.save("key9", *training(), HISTORY)
    assert {path.name for path in resume.FOLDER.iterdir()} == {"key9"}  # the newest stays, however large


@pytest.fixture
def key(folder: Path) -> Callable[..., str]:
    """The fingerprint of a training on a file that holds an a, or other content, with changed settings."""
    return lambda content=b"a", **changes: resume.fingerprint(resume.facts(SETTINGS | changes, [content]))


def test_the_fingerprint_depends_on_settings_but_for_epochs_and_on_files(key: Callable[..., str]) -> None:
    before = key()
    assert key(epochs=9) == before
    assert key(lr=0.2) != before
    assert key(b"b") != before


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (torch, "__version__", "0.4"),
        (torch.backends.cpu, "get_cpu_capability", lambda: "another"),
        (resume.np, "__version__", "0.4"),
        (resume.platform, "machine", lambda: "arm64"),
        (resume.sys, "version", "3.99"),
    ],
)
def test_only_native_numerics_depend_on_versions_and_processor(
    module: object, name: str, value: object, key: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, native = key(), key(numerics="native")
    monkeypatch.setattr(module, name, value)
    assert key() == before
    assert key(numerics="native") != native


def copy_code(folder: Path) -> None:
    for code in (resume.STAGES, resume.SAMEBITS):
        shutil.copytree(code, folder / code.name, ignore=shutil.ignore_patterns("__pycache__", "tests"))


def test_the_fingerprint_depends_on_the_code_and_not_on_where_it_lies_or_its_line_ends(folder: Path) -> None:
    def fingerprint(name: str, change: Callable[[bytes], bytes]) -> str:
        copy = folder / name
        copy_code(copy)
        for path in copy.rglob("*.py"):
            path.write_bytes(change(path.read_bytes()))
        facts = f"resume.facts({SETTINGS}, [])"
        code = f"from stages.lib import resume; print(resume.fingerprint({facts}))"
        return subprocess.check_output([sys.executable, "-c", code], cwd=copy, text=True)

    one = fingerprint("one", lambda content: content)
    assert fingerprint("a folder", lambda content: content.replace(b"\n", b"\r\n")) == one
    assert fingerprint("another", lambda content: content + b"#") != one


def test_code_that_is_changed_while_it_runs_is_still_what_was_loaded(folder: Path) -> None:
    copy_code(folder)
    code = f"""
from pathlib import Path
from stages.lib import resume
facts = [resume.facts({SETTINGS}, [])]
Path("stages/lib/model.py").write_text("# changed")
facts.append(resume.facts({SETTINGS}, []))
assert facts[0]["code"]["stages/lib/model.py"] == facts[1]["code"]["stages/lib/model.py"]
"""
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
