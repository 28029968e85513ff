"""What the page of ``web/`` costs a visitor: ``python -m benchmarks.page``.

Bytes of the first load, seconds until the page can be used, pictures a second of the camera, and memory over time: in a
headless Chromium with a drawn face before its camera. Network and detector run on one thread, as they always do there.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.job import results_folder
from benchmarks.records import write_records
from utils.cli import Parser, run_cli
from utils.errors import UserError
from utils.runtime import environment
from web.visit import browser_with_camera, build, chromium, served

MINUTES, VISITS = 10, 5
# What is measured, as the table has it.
LOAD, COLD, WARM = "first load", "ready, first visit", "ready, later visit"
PACE, WORK = "pictures of the camera", "work for a picture"
MEMORY, HEAP = "renderer, minute {}", "JavaScript heap, minute {}"
READY = "performance.getEntriesByName('ready')[0].startTime / 1000"
# Counts the camera's pictures, and the milliseconds that the page works for them.
COUNTED = """() => {
    const { page } = forTests;
    const judge = page.judgeFrame.bind(page);
    globalThis.counted = { pictures: 0, work: 0 };
    page.judgeFrame = async (...given) => {
        const begun = performance.now();
        await judge(...given);
        counted.pictures++;
        counted.work += performance.now() - begun;
    };
}"""


@dataclass(frozen=True)
class Cost:
    """`page_text` finds it by ``what``."""

    what: str
    value: float
    unit: str


def main() -> None:
    """Measure, print and write ``results/bench/page.csv`` (over another time: saved/results/bench).

    Raises:
        UserError: fewer than one minute; no Chromium, or no page; not Linux, whose /proc tells what memory is held.
    """
    parser = Parser("What the page costs a visitor: bytes, seconds, pictures a second, memory.")
    parser.add_argument("--minutes", type=int, default=MINUTES, help=f"the camera is on (default {MINUTES})")
    minutes = parser.parse_args().minutes
    if minutes < 1:
        raise UserError(f"--minutes must be at least 1; got {minutes}")
    if not Path("/proc/self/status").is_file():
        raise UserError("memory is read from /proc, which this system has not")
    program = chromium()
    with tempfile.TemporaryDirectory() as name:
        site = Path(name, "site")
        build(site)
        with browser_with_camera(program, Path(name, "face.y4m")) as browser:
            costs = [*_loading(browser, site), *_watching(browser, site, minutes)]
            version = browser.version
    print(", ".join(f"{key} {value}" for key, value in (environment() | {"chromium": version}).items()))
    for cost in costs:
        print(f"{cost.what:30s}{cost.value:>10g} {cost.unit}")
    path = results_folder(minutes == MINUTES) / "page.csv"
    write_records(costs, path)
    print(path)


def page_text(costs: Mapping[str, float]) -> str:
    """The figures, as Markdown.

    Args:
        costs: value by what was measured, of ``page.csv``.
    """
    last = max(minute for minute in range(1, MINUTES + 1) if MEMORY.format(minute) in costs)
    memory = " and ".join(f"{costs[MEMORY.format(minute)]:.0f} MB" for minute in (1, last))
    heap = " and ".join(f"{costs[HEAP.format(minute)]:.0f} MB" for minute in (1, last))
    return (
        f"The first load takes {costs[LOAD]:.1f} MB from the network, with what is kept for use without one. The page "
        f"can be used after {costs[COLD]:.1f} s, on later visits after {costs[WARM]:.1f} s (medians of {VISITS}). With "
        f"one face before the camera it judges {costs[PACE]:.0f} pictures a second on one thread, {costs[WORK]:.0f} ms "
        f"each. After 1 and {last} minutes of that its process holds {memory}, JavaScript's heap {heap} "
        "(`python -m benchmarks.page`)."
    )


def _loading(browser: Any, site: Path) -> list[Cost]:
    """Visits of new browsers, each followed by one more from what the page has kept."""
    loads, cold, warm = [], [], []
    for _ in range(VISITS):
        sent: list[int] = []
        context = browser.new_context()
        tab = context.new_page()
        with served(site, sent) as address:
            cold.append(_ready(tab, address))
            tab.evaluate("navigator.serviceWorker.ready.then(() => true)")
            loads.append(sum(sent) / 1e6)
            warm.append(_ready(tab, address))
        context.close()
    return [
        Cost(LOAD, round(median(loads), 2), "MB"),
        Cost(COLD, round(median(cold), 2), "s"),
        Cost(WARM, round(median(warm), 2), "s"),
    ]


def _ready(tab: Any, address: str) -> float:
    """Seconds until the page can be used."""
    tab.goto(address)
    tab.wait_for_selector("#choose:enabled")
    return float(tab.evaluate(READY))


def _watching(browser: Any, site: Path, minutes: int) -> list[Cost]:
    """The camera's first minute, and the memory after each."""
    memory = []
    context = browser.new_context(permissions=["camera"])
    tab = context.new_page()
    with served(site) as address:
        _ready(tab, address)
        tab.click("#camera")
        tab.wait_for_selector("#pace:has-text('pictures')", timeout=60_000)
        tab.evaluate(COUNTED)
        for minute in range(1, minutes + 1):
            tab.wait_for_timeout(60_000)
            counted = tab.evaluate("({ ...counted })")
            if minute == 1:
                pace = counted["pictures"] / 60
                work = counted["work"] / max(1, counted["pictures"])
            renderer, heap = _memory(browser, context, tab)
            memory += [
                Cost(MEMORY.format(minute), round(renderer / 1e6, 1), "MB"),
                Cost(HEAP.format(minute), round(heap / 1e6, 1), "MB"),
            ]
    context.close()
    return [Cost(PACE, round(pace, 1), "pictures/s"), Cost(WORK, round(work, 1), "ms"), *memory]


def _memory(browser: Any, context: Any, tab: Any) -> tuple[int, int]:
    """Bytes that the page's process holds, and those in use on JavaScript's heap, after collecting garbage."""
    page = context.new_cdp_session(tab)
    page.send("HeapProfiler.collectGarbage")
    heap = page.send("Runtime.getHeapUsage")["usedSize"]
    page.detach()
    whole = browser.new_browser_cdp_session()
    processes = whole.send("SystemInfo.getProcessInfo")["processInfo"]
    whole.detach()
    return max(_resident(process["id"]) for process in processes if process["type"] == "renderer"), int(heap)


def _resident(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return 1024 * int(line.split()[1])
    return 0


if __name__ == "__main__":
    run_cli(main)
