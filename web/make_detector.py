"""Make the page's face detector: python web/make_detector.py FILE.tflite FILE.onnx.

The page has one runtime, onnxruntime-web. The detector comes as TensorFlow Lite inside an npm package, so it is
rewritten as ONNX, weights untouched, together with what its users would have to know of it: the graph takes the bytes
of a canvas as they are, and gives boxes.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from utils.cli import Parser, run_cli
from utils.errors import UserError
from utils.files import write_atomically
from web.tflite import DEQUANTIZE, Operation, TfliteGraph, read_tflite

OPSET = 17
POINTS = 6
NHWC_TO_NCHW = (0, 3, 1, 2)
# What TensorFlow Lite calls the activation that follows a convolution.
ACTIVATIONS = {0: None, 1: "Relu"}


def main() -> None:
    """Convert the file named on the command line.

    Raises:
        UserError: it cannot be read, is no such model, or has an operation that is not known here.
    """
    parser = Parser("Rewrite a BlazeFace model (.tflite) as an ONNX file from canvas bytes to boxes.")
    parser.add_argument("tflite", type=Path, help="face_detection_*_range.tflite of @mediapipe/face_detection")
    parser.add_argument("onnx", type=Path, help="the file to write")
    arguments = parser.parse_args()
    model = detector(read_tflite(arguments.tflite))
    write_atomically(arguments.onnx, model.SerializeToString())
    print(f"{arguments.onnx}: {arguments.onnx.stat().st_size / 1e6:.2f} MB, {len(model.graph.node)} operations")


def detector(source: TfliteGraph) -> onnx.ModelProto:
    """The detector as ONNX.

    Its input ``rgba`` is uint8 [S, S, 4], the bytes of a square canvas; its outputs are ``boxes`` float32 [A, 4]
    (left, top, right, bottom as shares of the canvas), ``points`` float32 [A, 6, 2] (x, y of the eye on the left, the
    eye on the right, nose, mouth, ears) and ``scores`` float32 [A] (0 to 1), one for each anchor.

    Args:
        source: a BlazeFace of MediaPipe: an image [1, S, S, 3] from -1 to 1 in; 16 numbers and a logit an anchor out.

    Raises:
        UserError: an operation, or the number of anchors, is not that of a BlazeFace.
    """
    (image,) = source.inputs
    size = source.shape(image)[1]
    graph = _Graph(source)
    graph.begin(image, size)
    for operation in source.operations:
        graph.add(operation)
    regressors, logits = sorted(source.outputs, key=lambda number: -source.shape(number)[-1])
    graph.finish(regressors, logits, _anchors(size, source.shape(logits)[1]), size)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "face detector",
            [helper.make_tensor_value_info("rgba", TensorProto.UINT8, [size, size, 4])],
            [
                helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [None, 4]),
                helper.make_tensor_value_info("points", TensorProto.FLOAT, [None, POINTS, 2]),
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None]),
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _anchors(size: int, count: int) -> np.ndarray:
    """Centres of the anchors, float32 [count, 2] as shares of the image: row by row, in the order of the outputs.

    After MediaPipe's `ssd_anchors_calculator`: the short-range model has two anchors in each cell of 8 pixels and six
    in each of 16, the full-range one a single anchor in each cell of 4.
    """
    grids: dict[tuple[int, int], list[tuple[int, int]]] = {(128, 896): [(16, 2), (8, 6)], (192, 2304): [(48, 1)]}
    if (size, count) not in grids:
        raise UserError(f"a model of {count} anchors at {size} pixels; expected 896 at 128 or 2304 at 192")
    parts = []
    for cells, each in grids[size, count]:
        ticks = (np.arange(cells) + 0.5) / cells
        centres = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
        parts.append(np.repeat(centres, each, axis=0))
    return np.concatenate(parts).astype(np.float32)


class _Graph:
    """The ONNX graph as it grows; tensors of the source keep their number as a name, ``t12``."""

    def __init__(self, source: TfliteGraph) -> None:
        self.source = source
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._values: dict[int, np.ndarray] = {}  # of the source's constants, half precision as it is
        self._rules: dict[str, Callable[[Operation], None]] = {
            "CONV_2D": self._convolution,
            "DEPTHWISE_CONV_2D": self._convolution,
            "ADD": self._addition,
            "RELU": lambda operation: self._plain("Relu", operation),
            "PAD": self._padding,
            "MAX_POOL_2D": self._pooling,
            "RESIZE_BILINEAR": self._resizing,
            "RESHAPE": self._reshaping,
            "CONCATENATION": self._concatenation,
        }

    def begin(self, image: int, size: int) -> None:
        """From canvas bytes to the image that the network expects."""
        rgb = self._node("Cast", [self._columns("rgba", 0, 3)], to=TensorProto.FLOAT)
        channels_first = self._node("Transpose", [rgb], perm=(2, 0, 1))
        scaled = self._node("Mul", [channels_first, self._constant(np.float32(2 / 255))])
        shifted = self._node("Sub", [scaled, self._constant(np.float32(1))])
        self._node("Reshape", [shifted, self._constant(np.array([1, 3, size, size]))], _name(image))

    def add(self, operation: Operation) -> None:
        """Raises:
        UserError: no BlazeFace has such an operation.
        """
        if operation.code == DEQUANTIZE:
            self._values[operation.outputs[0]] = self.source.constant(operation.inputs[0])
        elif operation.code in self._rules:
            self._rules[operation.code](operation)
        else:
            raise UserError(f"operation {operation.code} is not one of a face detector's")

    def finish(self, regressors: int, logits: int, anchors: np.ndarray, size: int) -> None:
        """From the network's outputs, x, y, w, h of a box and x, y of six points seen from the anchor, to our own."""
        flat = self._node("Reshape", [_name(regressors), self._constant(np.array([-1, 4 + 2 * POINTS]))])
        shares = self._node("Div", [flat, self._constant(np.float32(size))])
        # (x, y, w, h) @ this = (left, top, right, bottom)
        corners = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)
        box = self._node("MatMul", [self._columns(shares, 0, 4), self._constant(corners)])
        self._node("Add", [box, self._constant(np.tile(anchors, 2))], "boxes")
        rest = self._columns(shares, 4, 4 + 2 * POINTS)
        points = self._node("Reshape", [rest, self._constant(np.array([-1, POINTS, 2]))])
        self._node("Add", [points, self._constant(anchors[:, None])], "points")
        self._node("Sigmoid", [self._node("Reshape", [_name(logits), self._constant(np.array([-1]))])], "scores")

    def _convolution(self, operation: Operation) -> None:
        image, kernel, bias = operation.inputs
        weights = self._value(kernel)
        depthwise = operation.code == "DEPTHWISE_CONV_2D"
        weights = weights.transpose(3, 0, 1, 2) if depthwise else weights.transpose(NHWC_TO_NCHW)
        self._emit(
            "Conv",
            operation,
            [_name(image), self._weights(weights), self._weights(self._value(bias))],
            strides=(operation.number(2), operation.number(1)),
            auto_pad=_padding_of(operation),
            group=len(weights) if depthwise else 1,
            activation=operation.number(4 if depthwise else 3),
        )

    def _addition(self, operation: Operation) -> None:
        self._emit("Add", operation, [_name(number) for number in operation.inputs], activation=operation.number(0))

    def _plain(self, kind: str, operation: Operation) -> None:
        self._emit(kind, operation, [_name(operation.inputs[0])])

    def _padding(self, operation: Operation) -> None:
        widths = self._value(operation.inputs[1])[list(NHWC_TO_NCHW)]
        pads = self._constant(widths.T.reshape(-1).astype(np.int64))
        self._emit("Pad", operation, [_name(operation.inputs[0]), pads])

    def _pooling(self, operation: Operation) -> None:
        self._emit(
            "MaxPool",
            operation,
            [_name(operation.inputs[0])],
            strides=(operation.number(2), operation.number(1)),
            kernel_shape=(operation.number(4), operation.number(3)),
            auto_pad=_padding_of(operation),
        )

    def _resizing(self, operation: Operation) -> None:
        aligned, half_pixel = operation.flag(2), operation.flag(3)
        mode = "align_corners" if aligned else "half_pixel" if half_pixel else "asymmetric"
        _, height, width, channels = self.source.shape(operation.outputs[0])
        sizes = self._constant(np.array([1, channels, height, width]))
        inputs = [_name(operation.inputs[0]), "", "", sizes]
        self._emit("Resize", operation, inputs, mode="linear", coordinate_transformation_mode=mode)

    def _reshaping(self, operation: Operation) -> None:
        channels_last = self._node("Transpose", [_name(operation.inputs[0])], perm=(0, 2, 3, 1))
        shape = self._constant(np.array(self.source.shape(operation.outputs[0])))
        self._node("Reshape", [channels_last, shape], _name(operation.outputs[0]))

    def _concatenation(self, operation: Operation) -> None:
        self._emit("Concat", operation, [_name(number) for number in operation.inputs], axis=operation.number(0, "i"))

    def _emit(self, kind: str, operation: Operation, inputs: list[str], activation: int = 0, **settings: Any) -> None:
        """A node in the place of ``operation``, and what it does to its result."""
        if activation not in ACTIVATIONS:
            raise UserError(f"activation {activation} of {operation.code} is not one of a face detector's")
        result, after = _name(operation.outputs[0]), ACTIVATIONS[activation]
        if after is None:
            self._node(kind, inputs, result, **settings)
        else:
            self._node(after, [self._node(kind, inputs, **settings)], result)

    def _columns(self, values: str, start: int, stop: int) -> str:
        """Those of the last axis from ``start`` up to ``stop``."""
        return self._node("Slice", [values, *(self._constant(np.array([v])) for v in (start, stop, -1))])

    def _value(self, number: int) -> np.ndarray:
        return self._values[number] if number in self._values else self.source.constant(number)

    def _weights(self, values: np.ndarray) -> str:
        """Kept at the precision they have; the runtime widens them once, while it loads."""
        return self._node("Cast", [self._constant(values)], to=TensorProto.FLOAT)

    def _constant(self, values: np.ndarray | np.generic) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(self, kind: str, inputs: list[str], result: str = "", **settings: Any) -> str:
        result = result or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [result], **settings))
        return result


def _name(number: int) -> str:
    return f"t{number}"


def _padding_of(operation: Operation) -> str:
    return "VALID" if operation.number(0, "b") == 1 else "SAME_UPPER"


if __name__ == "__main__":
    run_cli(main)
