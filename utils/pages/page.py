"""The page itself: a report of one run, or of several side by side."""

from collections.abc import Sequence
from pathlib import Path

from utils.files import write_atomically
from utils.pages.compared import compared_section
from utils.pages.judged import (
    accuracy_section,
    calibration_section,
    classes_section,
    copies_section,
    curves_section,
    people_section,
    summary,
)
from utils.pages.maps import map_sheets
from utils.pages.markup import Html, breakable, document, element, joined, missing, paragraph, picture, section, table
from utils.pages.material import Material
from utils.pages.told import repeat_section, training_section

# The parts of a report in their order.
SECTIONS = (
    training_section,
    accuracy_section,
    copies_section,
    curves_section,
    classes_section,
    people_section,
    calibration_section,
)


def write_report(runs: Sequence[Material], path: Path) -> None:
    """Write the report of one run, or of several side by side, as one file that needs no other.

    Raises:
        MachineError: it cannot be written.
    """
    write_atomically(path, report(runs))


def report(runs: Sequence[Material]) -> bytes:
    """The page, HTML in UTF-8."""
    if len(runs) == 1:
        (run,) = runs
        return document(f"Report of {run.name}", element("h1", breakable(run.name)), _article(run, 2))
    title = f"{len(runs)} runs side by side"
    links = [element("li", element("a", breakable(run.name), href=f"#run-{n}")) for n, run in enumerate(runs, 1)]
    articles = [
        element("article", element("h2", breakable(run.name)), _article(run, 3), id=f"run-{number}")
        for number, run in enumerate(runs, 1)
    ]
    contents = element("nav", element("ul", *links), aria_label="runs")
    return document(title, element("h1", title), contents, compared_section(runs), *articles)


def _article(run: Material, level: int) -> Html:
    parts = [make(run, level) for make in SECTIONS]
    lead = element("p", summary(run), class_="lead")
    return joined(lead, *parts, maps_section(run, level), repeat_section(run, level))


def maps_section(material: Material, level: int) -> Html:
    """Where the network looks on drawn faces."""
    title = "Where it looks"
    if material.network is None:
        text = "The weights that made these predictions are not here, so there are no maps."
        return section(title, missing(text), level=level)
    how = "Maps on drawn faces, which every reader may see, of the class that the network named."
    if material.network.config.dataset != "sample":
        how += " A network trained on photographs has never seen such faces; its maps are a hint, not a proof."
    sheets = map_sheets(material.network)
    pictures = [
        picture(s.figure, f"Maps over {len(s.drawn)} drawn faces of {s.name}; the table says more") for s in sheets
    ]
    head = ("drawn", *(sheet.name for sheet in sheets))
    rows = list(zip(sheets[0].drawn, *(sheet.said for sheet in sheets), strict=True))
    said = table(f"What {material.name} says of the drawn faces, from one view of each", head, rows)
    return section(title, paragraph(how), *pictures, said, level=level)
