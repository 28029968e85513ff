"""HTML by small functions: whatever is not `Html` already is text, and is escaped."""

import base64
import hashlib
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

CSS = Path(__file__).with_name("page.css")
# No script, and nothing from elsewhere, even if a name in a dump were to ask for it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_EMPTY = ("img", "link", "meta")  # elements that hold nothing
_NUMBER = re.compile(r"[-+−<]?\d|–?$")
_NOT_DRAWN = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_IDENTITIES = re.compile(r'(\bid="|href="#|url\(#)')


class Html(str):
    """Markup; plain text is `str`."""

    __slots__ = ()


def element(name: str, /, *content: str, **attributes: str) -> Html:
    """One element.

    Args:
        name: its tag.
        content: what it holds; text is escaped.
        attributes: their values are escaped; ``class_`` means class, and ``aria_label`` aria-label.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>" + ("" if name in _EMPTY else f"{joined(*content)}</{name}>"))


def joined(*parts: str) -> Html:
    """The parts one after the other; text is escaped."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def section(title: str, *content: str, level: int = 2) -> Html:
    """A part of the page under a heading of ``level``."""
    return element("section", element(f"h{level}", title), *content)


def paragraph(*content: str) -> Html:
    """A paragraph."""
    return element("p", *content)


def missing(what: str) -> Html:
    """One line in place of what cannot be shown, and why."""
    return element("p", what, class_="missing")


def facts(pairs: Sequence[tuple[str, str]]) -> Html:
    """Names with what is to be said of each; those of which there is nothing to say are left out."""
    rows = (element("div", element("dt", name), element("dd", value)) for name, value in pairs if value)
    return element("dl", *rows)


def breakable(text: str) -> Html:
    """Text with a name in it, which may go on in a new line after an underscore."""
    return joined(text) if isinstance(text, Html) else Html(html.escape(text).replace("_", "_<wbr>"))


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """A table that scrolls inside its own box where it is wider than the page; the first cell names its row.

    Names in it are broken after an underscore, where they have to be; the caption stays in sight.
    """
    numeric = [all(_NUMBER.match(row[column]) for row in rows) for column in range(len(head))]
    kind = ["number" if is_number and column else "text" for column, is_number in enumerate(numeric)]
    headings = [element("th", breakable(name), scope="col", class_=k) for name, k in zip(head, kind, strict=True)]
    body = []
    for first, *others in rows:
        cells = [element("td", breakable(text), class_=k) for text, k in zip(others, kind[1:], strict=True)]
        body.append(element("tr", element("th", breakable(first), scope="row"), *cells))
    parts = element("thead", element("tr", *headings)), element("tbody", *body)
    return _scrolling(element("table", element("caption", element("span", caption)), *parts), caption)


def folded(summary: str, *content: str) -> Html:
    """What is shown on demand only."""
    return element("details", element("summary", summary), *content)


def chart(figure: Figure, name: str, words: str, caption: str = "") -> Html:
    """A figure as drawing (SVG) within the page; its letters stay text.

    Args:
        figure: without photographs, whose colours the dark page would turn round.
        name: what it shows; ``words``: what is to be seen, for those who do not see it.
        caption: how to read it.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report", "savefig.bbox": None}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = _NOT_DRAWN.sub("", buffer.getvalue()).replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    # names within a drawing must not meet those of another one on the page
    key = hashlib.sha256((name + drawing).encode("utf-8", "replace")).hexdigest()[:8]
    drawing = _IDENTITIES.sub(rf"\g<1>{key}-", drawing)
    width, height = (72 * inches for inches in figure.get_size_inches())
    opening = (
        f'<svg role="img" aria-labelledby="{key}-name {key}-words" viewBox="0 0 {width:g} {height:g}" '
        f'style="min-width: {width:.0f}px; max-width: {1.4 * width:.0f}px">'
    )
    told = joined(element("title", name, id=f"{key}-name"), element("desc", words, id=f"{key}-words"))
    drawn = Html(re.sub(r"^<svg[^>]*>", lambda _: opening + told, drawing))
    return _captioned(_scrolling(drawn, name), caption)


def picture(figure: Figure, alt: str, caption: str = "", dpi: int = 150) -> Html:
    """A figure with photographs as picture (PNG) within the page; ``alt`` says what it shows."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    width, height = (f"{100 * inches:.0f}" for inches in figure.get_size_inches())
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return _captioned(element("img", src=source, alt=alt, width=width, height=height), caption)


def document(title: str, *content: str) -> bytes:
    """The whole page, in UTF-8.

    Args:
        title: of the page.
        content: of its ``main`` part.
    """
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),  # else a browser asks for one
        element("title", title),
        element("style", Html(CSS.read_text(encoding="utf-8"))),
    ]
    page = element("html", element("head", *head), element("body", element("main", *content)), lang="en")
    return f"<!doctype html>\n{page}\n".encode("utf-8", "replace")


def _captioned(shown: Html, caption: str) -> Html:
    return element("figure", shown, *([element("figcaption", caption)] if caption else []))


def _scrolling(content: Html, name: str) -> Html:
    """A box of its own width, reached by the keyboard too."""
    return element("div", content, class_="scroll", role="group", tabindex="0", aria_label=name)
