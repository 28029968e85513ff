"""The same network in 8-bit integers, by static quantisation, and what that costs and brings."""

import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from utils.datasets.faces import Images
from utils.export.parity import JudgePixels, as_pixels, judged, parity
from utils.metrics import expected_calibration_error

# Training images that show how far activations reach.
MOST_IMAGES = 512
_AT_ONCE = 32
_SEED = 8


@dataclass(frozen=True)
class Price:
    """What a network in 8-bit integers is worth beside the same in floats, on the same images.

    Attributes:
        images: how many were judged.
        accuracy, accuracy_float: share of them that each called by the right name.
        ece, ece_float: expected calibration error of each.
        max_abs_difference: the largest difference of a probability.
        flips: images of which the two name different classes.
        ms_per_face, ms_per_face_float: milliseconds for one face on one core of this machine, the best of many.
    """

    images: int
    accuracy: float
    accuracy_float: float
    ece: float
    ece_float: float
    max_abs_difference: float
    flips: int
    ms_per_face: float
    ms_per_face_float: float


def quantised(model: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
    """A graph in which convolutions compute in 8 bits, each output channel's weights with a scale of its own.

    What prepares the pixels, and the head with its maps, stay as they are: they cost nothing, and the answer hangs on
    them.

    Args:
        model: what `utils.export.onnx_file.onnx_graph` gives.
        images: uint8 [N, S, S] or [N, S, S, 3], training images; what is measured on them is how far activations reach.
    """
    head = [node.name for node in model.graph.node if set(node.output) & {"logits", "cam"}]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # onnxruntime warns there of steps that this graph has been through
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            quantize_static(
                model,
                str(path),
                _Batches(as_pixels(images)),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "MaxPool"],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=head,
                calibrate_method=CalibrationMethod.MinMax,
            )
            return onnx.load(path)
    finally:
        root.setLevel(level)


def some_of(images: Images, most: int) -> np.ndarray:
    """Up to ``most`` images drawn without replacement, always the same."""
    chosen = np.random.default_rng(_SEED).permutation(len(images))[:most]
    return np.asarray(images[np.sort(chosen)])


def price(in_floats: JudgePixels, in_integers: JudgePixels, images: np.ndarray, targets: np.ndarray) -> Price:
    """Judge ``images``, uint8 [N, S, S] or [N, S, S, 3], with both and compare with ``targets``, int64 [N]."""
    exact, coarse = judged(in_floats, images), judged(in_integers, images)
    found = parity(exact, coarse)
    one = as_pixels(images[:1])
    return Price(
        images=len(images),
        accuracy=float((coarse.argmax(1) == targets).mean()),
        accuracy_float=float((exact.argmax(1) == targets).mean()),
        ece=expected_calibration_error(coarse, targets),
        ece_float=expected_calibration_error(exact, targets),
        max_abs_difference=found.max_abs_difference,
        flips=found.flips,
        ms_per_face=_milliseconds(in_integers, one),
        ms_per_face_float=_milliseconds(in_floats, one),
    )


def _milliseconds(judge: JudgePixels, pixels: np.ndarray, times: int = 100) -> float:
    """The least that a call took: what else the machine does only adds to it."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        judge(pixels)
        took.append(time.perf_counter() - start)
    return 1000 * min(took)


class _Batches(CalibrationDataReader):
    """Hands the images to onnxruntime, a batch at a time."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._batches = iter(np.split(pixels, range(_AT_ONCE, len(pixels), _AT_ONCE)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}
