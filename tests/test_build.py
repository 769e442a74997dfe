import json
from pathlib import Path


def test_the_summary_and_the_metrics_agree(small: Path) -> None:
    described = json.loads((small / "metrics/model.json").read_text())
    assert described["parameters"] == sum(described["layers"].values()) > 0
    assert f"Total params: {described['parameters']:,}" in (small / "models/summary.txt").read_text()
