import shutil
import sys

from drawing import doubt
from stagecraft.errors import PipelineError
from stages.lib import data
from tools import predict

import numpy as np
import pytest
import torch
from PIL import Image

SQUARE = np.pad(np.ones((8, 8)), 10)


def test_bars_are_as_long_as_the_probabilities():
    lines = predict.bars(torch.tensor([0.5, 0.25, 0.0, 0.25])).splitlines()
    assert [line.count("█") for line in lines] == [20, 10, 0, 10]
    assert lines[0].startswith("0   50.0%")


@pytest.mark.parametrize(
    ("image", "largest", "expected"),
    [
        (SQUARE, 0.61, ""),
        (SQUARE, 0.59, "the network is not sure"),
        (np.maximum(SQUARE, 0.32), 0.9, "there is more ink than in a digit"),
        (np.eye(28), 0.9, "it looks like none of the digits that were learned"),
    ],
)
def test_doubt(image, largest, expected):
    learned = doubt.outlines(255 * SQUARE[None].astype(np.uint8))
    typical, values = doubt.Outlines(learned, np.array([9])), torch.tensor([largest, 1 - largest - 0.1, 0.1])
    assert predict.doubtful(image, values, typical) == expected


@pytest.mark.slow
def test_a_picture_is_named_and_drawn_as_the_network_saw_it(small, tmp_path, monkeypatch, capsys):
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    image = data.load_test("digits").images[0]
    Image.fromarray(image).resize((280, 280), Image.Resampling.NEAREST).save("photo.png")
    monkeypatch.setattr(sys, "argv", ["predict", "photo.png"])
    predict.main()
    *bars, last, unsure = capsys.readouterr().out.splitlines()
    likeliest = max(bars, key=lambda bar: float(bar.split()[1].rstrip("%")))
    assert len(bars) == 10
    assert last.startswith(f"most likely {likeliest[0]};")
    assert unsure.startswith("but this may not be one whole digit, as the network is not sure")
    with Image.open("seen.png") as seen:
        assert seen.width == 600


@pytest.mark.parametrize("words", [[], [""], ["one.png", "two.png"]])
def test_it_takes_one_picture(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["predict", *words])
    with pytest.raises(PipelineError, match="expected the path of one picture"):
        predict.main()
