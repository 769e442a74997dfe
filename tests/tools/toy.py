"""A pipeline of three stages that take no time and note in `log` that they ran."""

import subprocess
from importlib.metadata import version

from tests.project import QUICK

COMMIT = "git add --all && git commit -qm Change"
FILES = {
    "dvc.yaml": """
stages:
  number:
    cmd: sh number.sh
    deps: [number.sh]
    params: [numerics, rate]
    outs: [number.csv]
    metrics: [{metric.json: {cache: false}}]
  folder:
    cmd: sh folder.sh
    deps: [folder.sh, number.csv]
    outs: [raw: {persist: true}]
  picture:
    cmd: python picture.py
    deps: [picture.py]
    plots: [picture.png: {cache: false}]
""",
    "number.sh": """
echo number >> log
printf 'epoch,loss\\n1,0.25\\n' > number.csv
echo '{"loss": 0.25}' > metric.json
""",
    "folder.sh": """
echo folder >> log
mkdir -p raw/deep
printf a > raw/a
(echo B; cat number.csv) > raw/B
(echo b; cat number.csv) > raw/deep/b
""",
    "picture.py": """
import os
from PIL import Image
Image.radial_gradient("L").save("picture.png", compress_level=int(os.environ.get("LEVEL", 6)))
""",
    "params.yaml": "numerics: exact\nrate: 1e-5\n",
    "requirements.txt": f"numpy==0.1 ; python_version > '3'\n    # via us\nnot-here==1\npytest=={version('pytest')}\n",
}


def shell(command: str) -> str:
    """What a command prints, in which `python` is that of the tests; it must not fail."""
    return subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE, text=True, env=QUICK).stdout
