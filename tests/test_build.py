import hashlib
import json
from contextlib import chdir
from pathlib import Path


def test_the_summary_and_the_metrics_agree(small: Path) -> None:
    described = json.loads((small / "metrics/model.json").read_text())
    assert described["parameters"] == sum(described["layers"].values()) > 0
    assert f"Total params: {described['parameters']:,}" in (small / "models/summary.txt").read_text()


def test_another_seed_draws_other_weights(tmp_path: Path, run_stages) -> None:
    digests = []
    with chdir(tmp_path):
        for seed in (0, 1, 0):
            run_stages("build", seed=seed)
            digests.append(hashlib.sha256(Path("models/initial.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[2] != digests[1]
