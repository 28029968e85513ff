"""Fetches YuNet's model file: the one thing here that uses the network, and only when it is asked to."""

import hashlib
import http.client
import urllib.request
from pathlib import Path

from utils.errors import MachineError, UserError
from utils.files import write_atomically

# Size and hash are those of the file's pointer in opencv_zoo's own repository; it comes under the MIT licence.
YUNET_URL = (
    "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx"
)
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
YUNET = Path("saved/detectors") / YUNET_URL.rpartition("/")[2]
_SIZE = 232_589
_PATIENCE = 30  # seconds without a byte


def fetch_yunet(url: str = YUNET_URL, path: Path = YUNET) -> None:
    """Write YuNet's model file to ``path``.

    Raises:
        MachineError: no network, or no such page; or it cannot be written.
        UserError: what came is another file; nothing is kept of it.
    """
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310 - a constant, or a test's own file
            content = answer.read(_SIZE + 1)
    except (OSError, http.client.HTTPException) as error:
        raise MachineError(f"{url}: cannot be fetched ({str(error)[:120]}); save it as {path} yourself") from None
    if hashlib.sha256(content).hexdigest() != YUNET_SHA256:
        raise UserError(f"{url}: sent another file than face_detection_yunet_2023mar.onnx; nothing was kept")
    write_atomically(path, content)
