"""An exported network as torch.export's .pt2, which needs torch, but none of this project's code."""

import io
import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from utils.export.judge import Judge, noise

KEY = "face_expression"  # of the facts, in ONNX's metadata; with .json the name of their file in a .pt2


class TorchFile:
    """A traced network, ready to judge and to be written.

    Attributes:
        made_with: the packages whose versions matter.
    """

    made_with: tuple[str, ...] = ("torch",)

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self._program = program
        self._module = torch.export.load(io.BytesIO(self.content({}))).module()

    def judge(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [N, K], of float32 [N, C, S, S] with values 0 to 255."""
        with torch.no_grad():
            return self._module(torch.from_numpy(pixels))[0].numpy()

    def content(self, facts: Mapping[str, Any]) -> bytes:
        """What `torch.export.load` reads, with the facts as an extra file ``face_expression.json``."""
        buffer = io.BytesIO()
        torch.export.save(self._program, buffer, extra_files={f"{KEY}.json": json.dumps(facts)})
        return buffer.getvalue()


def traced(judge: Judge) -> torch.export.ExportedProgram:
    """The operations of ``judge`` for any number of faces; where in this machine's files they stand is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about torch
        pixels = torch.from_numpy(noise(2, judge.config))
        shapes = {"pixels": {0: torch.export.Dim("N")}}
        program = torch.export.export(judge, (pixels,), dynamic_shapes=shapes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program
