"""The page as its visitors have it: built, served on 127.0.0.1, opened in a headless Chromium before a drawn face."""

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from utils.datasets.drawn_faces import draw_face
from utils.errors import UserError

WEB = Path(__file__).resolve().parent
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
CAMERA_SIZE = (640, 480)


def chromium() -> str:
    """The installed browser.

    Raises:
        UserError: it, or what the page is built from, is not there.
    """
    if not shutil.which("node"):
        raise UserError("the page is built by node, which is not installed")
    for part in ("node_modules", "made"):
        if not (WEB / part / "done").is_file():
            raise UserError(f"web/{part} is not there or not complete: make page")
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        raise UserError("the page is opened in Chromium, which is not installed")
    return found


@contextlib.contextmanager
def served(
    folder: Path, sent: list[int] | None = None, headers: Mapping[str, str] = MappingProxyType({})
) -> Iterator[str]:
    """Serve a folder as any static host does: its address. To ``sent`` the bytes of each answer are appended."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def end_headers(self) -> None:
            for name, value in headers.items():
                self.send_header(name, value)
            super().end_headers()

        def copyfile(self, source: Any, outputfile: Any) -> None:
            super().copyfile(source, outputfile)
            if sent is not None:
                sent.append(source.tell())

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def build(folder: Path) -> None:
    """Bundle the page into a folder."""
    subprocess.run(["node", "build.mjs", str(folder)], cwd=WEB, check=True, capture_output=True)


@contextlib.contextmanager
def browser_with_camera(program: str, video: Path, *options: str) -> Iterator[Any]:
    """A Chromium whose camera shows a drawn face, by way of the file ``video``; with more options of its command line.

    Raises:
        UserError: playwright is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise UserError("Chromium is driven by playwright: pip install -r requirements-dev.txt") from None
    video.write_bytes(camera_video())
    camera = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={video}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*camera, *options])
        yield browser
        browser.close()


def camera_video() -> bytes:
    """One drawn face that sways for two seconds: a Y4M file, which needs no encoder."""
    width, height = CAMERA_SIZE
    face = draw_face(3, subject=2, seed=1, size=280)
    grey = np.full((height // 2, width // 2), 128, np.uint8).tobytes() * 2
    frames = [f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n".encode()]
    for number in range(60):
        left = 180 + round(60 * np.sin(number / 60 * 2 * np.pi))
        picture = np.full((height, width), 150, np.uint8)
        picture[100 : 100 + len(face), left : left + len(face)] = face
        frames.append(b"FRAME\n" + picture.tobytes() + grey)
    return b"".join(frames)
