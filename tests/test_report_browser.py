"""Reports as a browser sees them: nothing to complain of, nothing asked for, readable by anyone, wide or narrow."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from utils.config import load_config
from utils.pages.material import find_material
from utils.pages.page import write_report

CHECK = ROOT / "tests" / "browser" / "page_check.mjs"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGES = {
    "one": ["results/pretrained/quick_vgg"],
    "several": [
        *("results/record/quick_vgg_8min_20261124_064008", "results/record/compact_vgg_30min_20261124_070205"),
        "results/fer2013/ensemble.test.npz",
    ],
    "persons": ["results/jaffe/compact_vgg_jaffe_transfer_20261123_233459"],
}


@pytest.fixture(scope="module")
def browser() -> str:
    """The program; skips where it, node, or what node needs is missing."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is there")
    if shutil.which("node") is None:
        pytest.skip("no node")
    if not (CHECK.parent / "node_modules" / "axe-core").is_dir():
        pytest.skip("no axe-core; npm ci --prefix tests/browser installs it")
    return found


@pytest.fixture(scope="module", params=PAGES)
def written(request: pytest.FixtureRequest, browser: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / f"{request.param}.html"
    write_report([find_material(str(ROOT / name), load_config(None)) for name in PAGES[request.param]], path)
    return path


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "light"), (1280, "dark"), (390, "dark")])
def test_a_browser_finds_nothing_wrong(browser: str, written: Path, width: int, scheme: str):
    home = os.environ | {"HOME": str(written.parent)}
    told = subprocess.run(
        ["node", str(CHECK), browser, str(written), str(width), scheme],
        capture_output=True,
        text=True,
        timeout=300,
        env=home,
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == {"errors": [], "requests": [], "overflow": 0, "findings": []}
