"""What the tests of the page under web/ do with it, and the files that they give it."""

import io
import json
import re
from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from utils.errors import UserError
from web import visit

WEB = visit.WEB


def chromium() -> str:
    """The installed browser; the test is skipped, saying what is missing, where it or the page's parts are not."""
    pytest.importorskip("playwright", reason="the page's tests need playwright: pip install -r requirements-dev.txt")
    try:
        return visit.chromium()
    except UserError as missing:
        pytest.skip(str(missing))


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


def drop(tab: Any, *files: tuple[str, bytes]) -> str:
    """Drop files onto the page, wait until they have been judged: what the page says of them."""
    hush(tab)
    given = [[name, b64encode(content).decode()] for name, content in files]
    tab.evaluate(
        """files => {
            const dataTransfer = new DataTransfer();
            for (const [name, text] of files) {
                const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
                dataTransfer.items.add(new File([bytes], name));
            }
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        given,
    )
    return settled(tab)


def hide(tab: Any) -> None:
    """What another tab in front of this one brings about."""
    tab.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def network(outputs: list[str], *, text: str | None = None, **facts: object) -> bytes:
    """An ONNX file as export.py writes them, of a network that finds the first class likelier on darker faces."""
    size = [1, len(outputs)]
    weights = [
        numpy_helper.from_array(np.linspace(0, 0.02, len(outputs), dtype=np.float32).reshape(size), "weight"),
        numpy_helper.from_array(np.zeros(len(outputs), np.float32), "bias"),
    ]
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 1, 8, 8])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(outputs)])
    graph = helper.make_graph(nodes, "small", [pixels], [probabilities], weights)
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    said = {
        "format": 1,
        "run": "mine",
        "arch": "small",
        "classes": outputs,
        "image_size": 8,
        "channels": 1,
        "cam": None,
    }
    helper.set_model_props(model, {"face_expression": text or json.dumps(said | facts)})
    return model.SerializeToString()


def open_network(tab: Any, content: bytes, name: str = "mine.onnx") -> str:
    """Choose a network file, wait until it is in use or refused: what the page says of it."""
    hush(tab)
    tab.set_input_files("#network-file", {"name": name, "mimeType": "application/octet-stream", "buffer": content})
    return settled(tab)
