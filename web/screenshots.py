"""Take the README's pictures of the page: python -m web.screenshots.

Drawn faces, judged by the network that `make page` exported last, in light, dark and on a phone: docs/page_*.png.
"""

import tempfile
from pathlib import Path
from typing import Any

from utils.cli import Parser, run_cli
from web.visit import WEB, browser_with_camera, build, chromium, served

DOCS = WEB.parent / "docs"
# Name, width and height of the window, colours, and pixels of the picture for one of the window.
VIEWS = [
    ("light", (1280, 800), "light", 1),
    ("dark", (1280, 800), "dark", 1),
    ("narrow", (390, 844), "light", 2),
]


def main() -> None:
    """Build the page and write ``docs/page_light.png``, ``page_dark.png`` and ``page_narrow.png``."""
    parser = Parser("Take the pictures of the page that the README shows.")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder (default docs)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    program = chromium()
    with tempfile.TemporaryDirectory() as name:
        site = Path(name, "site")
        build(site)
        with served(site) as address, browser_with_camera(program, Path(name, "face.y4m")) as browser:
            for view, (width, height), colours, ratio in VIEWS:
                size = {"width": width, "height": height}
                context = browser.new_context(viewport=size, color_scheme=colours, device_scale_factor=ratio)
                _picture(context.new_page(), address, out / f"page_{view}.png")
                context.close()


def _picture(tab: Any, address: str, path: Path) -> None:
    tab.goto(address)
    tab.click("#draw")
    tab.wait_for_selector("#said:has-text('6 faces')", timeout=60_000)
    tab.check("#maps")
    tab.wait_for_timeout(500)  # the bars have grown
    tab.screenshot(path=path)
    print(path)


if __name__ == "__main__":
    run_cli(main)
