"""Write a figure to a file."""

import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from utils.errors import UserError
from utils.files import write_atomically

# Without dates and versions, so that equal figures give equal bytes.
_METADATA = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}


def save_figure(figure: Figure, path: Path, dpi: int = 200) -> None:
    """Write a figure as PNG or PDF, as the suffix of ``path`` says, atomically.

    Args:
        figure: what `Visualization.figures` returns.
        path: ends in ``.png`` or ``.pdf``.
        dpi: pixels per inch of a PNG, and of the pictures within a PDF.

    Raises:
        UserError: another suffix.
        MachineError: it cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _METADATA:
        raise UserError(f"{path}: figures are saved as .png or .pdf; got '{path.suffix}'")
    buffer = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42, "savefig.bbox": None}):
        figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white", metadata=_METADATA[kind])
    write_atomically(path, buffer.getvalue())
