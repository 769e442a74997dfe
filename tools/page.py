"""Write the page that `dvc plots show` fills in, with the drawing library inside, and name it in DVC's local config.

DVC's own page loads Vega from the network and stays blank without it. Set-up runs this, and make after each commit,
whose settings the page compares with; where it has not run, DVC's own page is used.
"""

import json
import subprocess
from pathlib import Path

from stagecraft import configuration, output
from stages.lib import params
from tools import repository

import vl_convert
from dvc.utils.serialize import parse_yaml

TEMPLATE = Path(__file__).with_name("page.html")
PAGE = Path(".dvc/page.html")


def page(vega: str, defaults: dict[str, object], commit: str) -> str:
    """The page with its scripts, for DVC to put the charts at {plot_divs}; `defaults` are the settings of `commit`."""
    filled = TEMPLATE.read_text(encoding="utf-8")
    for place, text in {"{defaults}": json.dumps(defaults), "{commit}": json.dumps(commit), "{vega}": vega}.items():
        filled = filled.replace(place, text)
    return filled


def committed() -> tuple[dict[str, object], str]:
    """The settings of params.yaml in the last commit, and the commit's short name."""
    text = repository.committed("params.yaml")
    if text is None:  # before the first commit
        return params.load().model_dump(), "none yet"
    configuration.check_keys("params.yaml of the last commit", text)
    return dict(parse_yaml(text.decode(), "params.yaml")), repository.commit()


def main() -> None:
    output.write_text(PAGE, page(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"), *committed()))
    subprocess.run(["dvc", "config", "--quiet", "--local", "plots.html_template", PAGE.name], check=True)


if __name__ == "__main__":
    main()
