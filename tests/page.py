"""The page under web/ as its visitors have it: built, served on 127.0.0.1, opened in a headless Chromium."""

import contextlib
import io
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from utils.datasets.drawn_faces import draw_face

WEB = ROOT / "web"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
CAMERA_SIZE = (640, 480)


def chromium() -> str:
    """The installed browser; the test is skipped, saying what is missing, where it or the page's parts are not."""
    pytest.importorskip("playwright", reason="the page's tests need playwright: pip install -r requirements-dev.txt")
    if not shutil.which("node"):
        pytest.skip("the page's tests need node")
    for part in ("node_modules", "made"):
        if not (WEB / part / "done").is_file():
            pytest.skip(f"web/{part} is not there or not complete: make page")
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        pytest.skip("the page's tests need Chromium")
    return found


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as any static host does: its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def build(folder: Path) -> None:
    subprocess.run(["node", "build.mjs", str(folder)], cwd=WEB, check=True, capture_output=True)


@contextlib.contextmanager
def browser_with_camera(program: str, video: Path) -> Iterator[Any]:
    """A Chromium whose camera is the video."""
    from playwright.sync_api import sync_playwright

    video.write_bytes(camera_video())
    camera = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={video}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=camera)
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


def png(pixels: np.ndarray, **settings: object) -> bytes:
    return encoded(Image.fromarray(pixels), "PNG", **settings)


def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def upload(tab: Any, name: str, content: bytes, kind: str = "image/png") -> str:
    """Choose a picture, wait until it has been judged: what the page says of it."""
    hush(tab)
    tab.set_input_files("#files", {"name": name, "mimeType": kind, "buffer": content})
    return settled(tab)


def press(tab: Any, button: str) -> str:
    """Press a button, wait until what it brings about is done: what the page says of it."""
    hush(tab)
    tab.click(button)
    return settled(tab)


def hush(tab: Any) -> None:
    """Take away what the page said last, so that `settled` waits for something new."""
    tab.evaluate("document.getElementById('said').textContent = ''")


def settled(tab: Any) -> str:
    """What the page says once it no longer says that it is at work."""
    from playwright.sync_api import expect

    expect(tab.locator("#said")).to_have_text(re.compile(r"[^…]$"), timeout=60_000)
    return tab.inner_text("#said")


def hide(tab: Any) -> None:
    """What another tab in front of this one brings about."""
    tab.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def network(classes: list[str], **facts: object) -> bytes:
    """An ONNX file as export.py writes them, of a network that finds the first class likelier on darker faces."""
    size = [1, len(classes)]
    weights = [
        numpy_helper.from_array(np.linspace(0, 0.02, len(classes), dtype=np.float32).reshape(size), "weight"),
        numpy_helper.from_array(np.zeros(len(classes), np.float32), "bias"),
    ]
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 1, 8, 8])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classes)])
    graph = helper.make_graph(nodes, "small", [pixels], [probabilities], weights)
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    said = {
        "format": 1,
        "run": "mine",
        "arch": "small",
        "classes": classes,
        "image_size": 8,
        "channels": 1,
        "cam": None,
    }
    helper.set_model_props(model, {"face_expression": json.dumps(said | facts)})
    return model.SerializeToString()


def open_network(tab: Any, content: bytes, name: str = "mine.onnx") -> str:
    """Choose a network file, wait until it is in use or refused: what the page says of it."""
    hush(tab)
    tab.set_input_files("#network-file", {"name": name, "mimeType": "application/octet-stream", "buffer": content})
    return settled(tab)
