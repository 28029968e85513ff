"""How long faces in pictures take: ``python -m benchmarks.pictures`` judges one face, and goes through a video.

The video is one of 1280x720 with two drawn faces that move; it counts from the file to what is said and drawn of each
frame, with and without writing the drawn copy. Seconds of the processor stand beside those of the clock: on a machine
that does other things, they say what a free one would need.
"""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from benchmarks.records import write_records
from utils.cli import Parser, run_cli
from utils.datasets.drawn_faces import draw_face
from utils.datasets.images import resized
from utils.errors import UserError
from utils.files import require_file
from utils.pictures import FaceReader
from utils.pictures.detectors import CASCADE
from utils.pictures.records import JsonLines, Record
from utils.pictures.tracking import FaceTracker
from utils.pictures.video import VideoWriter, open_video
from Visualization.labelled_faces import draw_faces

WIDTH, HEIGHT, FRAMES = 1280, 720, 50
FACE = 220  # pixels
# What is measured, as the table has it.
SINGLE, EXPORTED, FRAME = "face", "face, exported file", "frame"
SINGLES = 20  # faces judged one by one, in each round


@dataclass(frozen=True)
class Cost:
    """Milliseconds for one: of the clock, at best and in the middle of all rounds, and of the processor at best."""

    what: str
    network: str
    threads: int
    best: float
    median: float
    processor: float


def main() -> None:
    """Measure, write, say."""
    parser = Parser("What one face and one frame of a video cost, from pixels to what is said of them.")
    parser.add_argument("--threads", type=int, default=2, help="of the video (default 2; a face has one)")
    parser.add_argument("--rounds", type=int, default=10, help="of which the best counts (default 10)")
    parser.add_argument("--table", type=Path, default=Path("results/bench/pictures.csv"), help="where it is written")
    parser.add_argument("--exported", type=Path, metavar="FILE", help="ONNX of the same network, by export.py")
    options = parser.parse_args()
    with FaceReader(detector=CASCADE) as reader, TemporaryDirectory() as folder:
        video, copy = Path(folder, "video.mp4"), Path(folder, "copy.mp4")
        write_video(video)
        face = draw_face(3, subject=1, seed=0, size=FACE)
        jobs: list[tuple[str, int, int, Callable[[], object]]] = [
            (SINGLE, 1, SINGLES, lambda: [reader.judge([face]) for _ in range(SINGLES)]),
            (FRAME, options.threads, FRAMES, lambda: through(reader, video, None)),
            ("frame, drawn copy written", options.threads, FRAMES, lambda: through(reader, video, copy)),
        ]
        if options.exported:
            judge = exported(options.exported)
            jobs.insert(1, (EXPORTED, 1, SINGLES, lambda: [judge(face) for _ in range(SINGLES)]))
        costs = [measured(reader.path.stem, *job, rounds=options.rounds) for job in jobs]
    write_records(costs, options.table, ".2f")
    print(options.table.read_text(), end="")


def pictures_text(rows: Sequence[Mapping[str, str]]) -> str:
    """The table, as Markdown.

    Args:
        rows: of ``pictures.csv``.
    """
    best = {row["what"]: float(row["best"]) for row in rows}
    medians = {row["what"]: float(row["median"]) for row in rows}
    threads = {row["what"]: row["threads"] for row in rows}
    lines = ["| | cores | at best | median |", "|---|---|---|---|"]
    for what in best:
        lines.append(f"| {what} | {threads[what]} | {best[what]:.1f} ms | {medians[what]:.1f} ms |")
    rate = f"{1000 / medians[FRAME]:.0f} frames a second by the median; 15 were aimed at."
    return "\n".join([*lines, "", f"That is {rate} For one face 5 ms were aimed at."])


def measured(network: str, what: str, threads: int, count: int, job: Callable[[], object], *, rounds: int) -> Cost:
    """What one costs of the ``count`` things that ``job`` does."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    job()
    clock, processor = [], []
    for _ in range(rounds):
        begun, worked = time.perf_counter(), time.process_time()
        job()
        clock.append(1000 * (time.perf_counter() - begun) / count)
        processor.append(1000 * (time.process_time() - worked) / count)
    return Cost(what, network, threads, min(clock), median(clock), min(processor))


def exported(path: Path) -> Callable[[np.ndarray], object]:
    """What judges a face, uint8 [S, S], by the exported file of a network of one channel, on one thread.

    Raises:
        UserError: onnxruntime is missing.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError("--exported needs onnxruntime: pip install -r requirements-export.txt") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    require_file(path)
    session = onnxruntime.InferenceSession(str(path), options)
    side = session.get_inputs()[0].shape[-1]
    return lambda face: session.run(None, {"pixels": resized(face, side)[None, None].astype(np.float32)})


def write_video(path: Path) -> None:
    """Two drawn faces that move before a grey wall."""
    faces = [np.repeat(draw_face(label, subject=label, seed=0, size=FACE)[..., None], 3, 2) for label in (3, 5)]
    writer = VideoWriter(path, 25.0)
    for number in range(FRAMES):
        frame = np.full((HEIGHT, WIDTH, 3), 190, np.uint8)
        for face, left in zip(faces, (100 + 2 * number, 900 - 2 * number), strict=True):
            frame[200 : 200 + FACE, left : left + FACE] = face
        writer.write(frame)
    writer.close()


def through(reader: FaceReader, path: Path, copy: Path | None) -> None:
    """What `predict.py` does with a video."""
    tracker, records = FaceTracker(reader), JsonLines(io.StringIO(), reader.classes)
    with open_video(path) as video:
        writer = VideoWriter(copy, video.rate) if copy else None
        for number, (seconds, frame) in enumerate(video.frames()):
            faces = tracker.step(frame, seconds)
            records.write(Record(video.name, faces, number, seconds))
            drawn = draw_faces(frame, faces)
            if writer:
                writer.write(drawn)
        if writer:
            writer.close()


if __name__ == "__main__":
    run_cli(main)
