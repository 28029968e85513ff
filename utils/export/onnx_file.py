"""An exported network as ONNX: what onnxruntime, and whatever else reads it, needs no torch for."""

import json
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from utils.export.torch_file import KEY

OPSET = 18
# Weights below this size are not worth two more nodes.
_WORTH_PACKING = 1024


class OnnxFile:
    """An ONNX graph, ready to judge on one core and to be written.

    Attributes:
        made_with: the packages whose versions matter.
        graph: what `onnx_graph`, or a function of it, gives.
    """

    made_with: tuple[str, ...] = ("torch", "onnx", "onnxscript", "onnxruntime")

    def __init__(self, graph: onnx.ModelProto) -> None:
        self.graph = graph
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def judge(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [N, K], of float32 [N, C, S, S] with values 0 to 255."""
        return self._session.run(["probabilities"], {"pixels": pixels})[0]

    def content(self, facts: Mapping[str, Any]) -> bytes:
        """The file, with the facts as JSON in its metadata.

        Raises:
            onnx.checker.ValidationError: the graph is not valid ONNX.
        """
        told = onnx.ModelProto()
        told.CopyFrom(self.graph)
        helper.set_model_props(told, {KEY: json.dumps(facts)})
        onnx.checker.check_model(told)
        return told.SerializeToString(deterministic=True)


def onnx_graph(program: torch.export.ExportedProgram, outputs: list[str]) -> onnx.ModelProto:
    """The graph in ONNX, batch norms folded into the convolutions before them.

    Args:
        program: what `utils.export.torch_file.traced` gives.
        outputs: the names of its outputs.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about torch
        exported = torch.onnx.export(
            program, input_names=["pixels"], output_names=outputs, opset_version=OPSET, dynamo=True, verbose=False
        )
    assert exported is not None
    model = exported.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # how torch came to it, line by line
    del model.graph.value_info[:], model.metadata_props[:]
    model.graph.name = "judge"
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
        del value.metadata_props[:]
    return model


def packed(model: onnx.ModelProto, weights: Mapping[str, torch.Tensor]) -> onnx.ModelProto:
    """The same graph in half the bytes, where the network's kernels and matrices are float16 by nature.

    Those of a network that `utils.shipped.shipped_bytes` made are. The batch norms folded into them are kept apart, as
    a scale for each first index, so that nothing is rounded; a runtime multiplies them out once, as it loads the file.

    Args:
        model: what `onnx_graph` gives.
        weights: the network's own, by name, before anything was folded into them.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    graph, unpacking = small.graph, []
    for tensor in list(graph.initializer):
        name, parts = tensor.name, _parts(numpy_helper.to_array(tensor), weights.get(tensor.name))
        if parts is None:
            continue
        halves, scale = parts
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(halves, f"{name}.half"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        unpacking.append(helper.make_node("Cast", [f"{name}.half"], [f"{name}.single"], to=TensorProto.FLOAT))
        unpacking.append(helper.make_node("Mul", [f"{name}.single", f"{name}.scale"], [name]))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend(unpacking + rest)
    return small


def _parts(folded: np.ndarray, own: torch.Tensor | None) -> tuple[np.ndarray, np.ndarray] | None:
    """float16 values and a float32 scale for each first index, of which ``folded`` is the product; or None."""
    if own is None or own.ndim < 2 or own.numel() < _WORTH_PACKING or not torch.equal(own.half().float(), own):
        return None
    values, others = own.detach().double().numpy(), tuple(range(1, own.ndim))
    power = np.square(values).sum(others, keepdims=True)
    scale = ((values * folded).sum(others, keepdims=True) / np.where(power > 0, power, 1)).astype(np.float32)
    halves = values.astype(np.float16)
    return (halves, scale) if np.allclose(halves * scale, folded, rtol=1e-6, atol=0) else None
