"""Make one file of a trained network that runs elsewhere: python export.py [RUN] --format onnx."""

import argparse
import os
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.calibration import at_its_bound
from utils.cli import Parser, run_cli
from utils.config import load_config
from utils.datasets.faces import Split
from utils.errors import UserError
from utils.export.facts import facts_of, own_data
from utils.export.judge import Judge
from utils.export.parity import ExportedFile, drawn, judged, parity, to_size
from utils.export.torch_file import TorchFile, traced
from utils.files import machine_errors, write_atomically
from utils.inference import Recognizer, predict
from utils.predictions import softmax
from utils.shipped import network_path
from utils.trust import Trust, own_dump, trusted_by

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


def main() -> None:
    """Export, prove that the file says what the network says, and only then write it.

    Raises:
        UserError: no such run, one that has not ended, or a package or the images for int8 are missing.
        ParityError: the file would say something else.
        MachineError: it cannot be written.
    """
    options = _options()
    recognizer = Recognizer(network_path(options.run, load_config(None)), precision="fp32")
    target = options.out or Path("saved/exports") / f"{recognizer.name}{_suffix(options)}"
    _require_writable(target)
    split = own_data(recognizer) if options.int8 else _data_if_there(recognizer)
    dumps = {part: own_dump(recognizer, part) for part in ("val", "test")}
    if dumps["val"] is None and split is not None:
        dumps["val"] = recognizer.predict(split, "val", views=1)
    trust = trusted_by(dumps["val"], recognizer)
    if line := at_its_bound(trust.temperature):
        print(line)
    judge = Judge(recognizer.model, recognizer.config, trust.temperature)
    facts = facts_of(recognizer, trust, judge.maps_at, dumps)

    program = traced(judge)
    file = TorchFile(program) if options.format == "torch" else _onnx_file(program, judge.outputs)
    facts |= {"parity": _proof(file, recognizer, trust, split, options.images)}
    if options.int8:
        assert split is not None
        file, found = _in_8_bits(program, judge.outputs, file, recognizer, split)
        facts |= {"int8": found, "parity": None, "accuracy": None}  # those are the float network's
    facts |= {"made_with": {name: version(name) for name in file.made_with}}
    write_atomically(target, file.content(facts))
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


def _proof(file: ExportedFile, recognizer: Recognizer, trust: Trust, split: Split | None, count: int) -> dict[str, Any]:
    """That ``file`` says what the network says, of ``count`` drawn faces and as many validation images."""
    config = recognizer.config
    parts = {"drawn": drawn(count, config)}
    if split is not None:
        parts["validation"] = to_size(split.val.images[:count], config)
    images = np.concatenate(list(parts.values()))
    expected = softmax(predict(recognizer.model, images, config)[0] / np.float64(trust.temperature))
    found = parity(expected, judged(file.judge, images))
    told = " and ".join(f"{len(part)} {name}" for name, part in parts.items())
    differ = f"probabilities differ by at most {found.max_abs_difference:.1e}, {found.flips} flips"
    print(f"parity over {told} faces: {differ}")
    found.require()
    return asdict(found) | {name: len(part) for name, part in parts.items()}


def _onnx_file(program: torch.export.ExportedProgram, outputs: list[str]) -> ExportedFile:
    try:
        from utils.export.onnx_file import OnnxFile, onnx_graph, packed
    except ImportError as error:
        raise UserError(f"export.py needs {error.name}: pip install -r requirements-export.txt") from None
    return OnnxFile(packed(onnx_graph(program, outputs), program.state_dict))


def _in_8_bits(
    program: torch.export.ExportedProgram,
    outputs: list[str],
    exact: ExportedFile,
    recognizer: Recognizer,
    split: Split,
) -> tuple[ExportedFile, dict[str, Any]]:
    """The 8-bit file, and what it is worth beside the ``exact`` one on validation."""
    from utils.export.int8 import MOST_IMAGES, price, quantised, some_of
    from utils.export.onnx_file import OnnxFile, onnx_graph

    seen = to_size(some_of(split.train.images, MOST_IMAGES), recognizer.config)
    file = OnnxFile(quantised(onnx_graph(program, outputs), seen))
    found = price(exact.judge, file.judge, to_size(split.val.images, recognizer.config), split.val.labels)
    print(
        f"int8, calibrated on {len(seen)} training images: {found.accuracy:.2%} of {found.images} validation images "
        f"right, {found.accuracy_float:.2%} without; {found.flips} called by another name\n"
        f"one face on one core: {found.ms_per_face:.2f} ms, {found.ms_per_face_float:.2f} ms without"
    )
    return file, asdict(found) | {"calibrated_on": len(seen)}


def _data_if_there(recognizer: Recognizer) -> Split | None:
    try:
        return own_data(recognizer)
    except UserError as error:
        print(f"without validation images: {str(error).splitlines()[0]}")
        return None


def _require_writable(target: Path) -> None:
    """So that a refusal comes before the work and not after it."""
    if target.is_dir():
        raise UserError(f"{target}: is a folder; name a file")
    with machine_errors(target, 0):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(target.parent, os.W_OK):
            raise PermissionError(13, "permission denied")


def _suffix(options: argparse.Namespace) -> str:
    return ".int8" * options.int8 + SUFFIXES[options.format]


def _options() -> argparse.Namespace:
    parser = Parser("Write a trained network as one file with its preprocessing, classes and calibration inside.")
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="run, checkpoint or .safetensors (default: the network that is shipped)"
    )
    parser.add_argument("--format", choices=SUFFIXES, default="onnx", help="onnx, or torch.export's .pt2")
    parser.add_argument("--out", type=Path, help="the file (default: saved/exports/RUN.onnx, .int8.onnx or .pt2)")
    parser.add_argument(
        "--images", type=int, default=1000, help="prove it on so many drawn faces and validation images"
    )
    parser.add_argument(
        "--int8", action="store_true", help="onnx in 8-bit integers: faster, nearly as good; needs the training images"
    )
    options = parser.parse_args()
    if options.images < 1:
        raise UserError(f"command line: --images must be at least 1; got {options.images}")
    if options.out and options.out.suffix.lower() != SUFFIXES[options.format] and not options.out.is_dir():
        raise UserError(
            f"--out {options.out}: what --format {options.format} writes ends in {SUFFIXES[options.format]}"
        )
    if options.int8 and options.format != "onnx":
        raise UserError(f"command line: --int8 is for --format onnx; got {options.format}")
    return options


if __name__ == "__main__":
    run_cli(main)
