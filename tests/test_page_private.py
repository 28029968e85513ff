"""Nothing leaves the page's origin, nothing is kept but its own files, and it opens without a network."""

import os
import re
import socket
import subprocess

import conftest
import numpy as np
import page
import pytest
from playwright.sync_api import Error

from web import visit


def test_no_request_leaves_the_origin(browser, site):
    context = browser.new_context(permissions=["camera"])
    asked: list[tuple[str, str]] = []
    context.on("request", lambda request: asked.append((request.method, request.url)))
    tab = context.new_page()
    tab.goto(site)
    tab.wait_for_selector("#choose:enabled")
    assert page.press(tab, "#draw").startswith("6 faces")
    tab.click("#camera")
    tab.wait_for_selector("#pace:has-text('pictures')")
    tab.click("#camera")
    own = {f"{site}{name}" for name in ("", "model.onnx", "detector.onnx", "drawn/one.png")}
    assert own <= {url for _, url in asked}
    # Only the page's own files are asked for, and nothing is sent along.
    assert all(method == "GET" and url.startswith(site) and "?" not in url for method, url in asked)
    context.close()


@pytest.mark.parametrize(
    "leak",
    [
        "fetch('https://example.org/')",
        "fetch('https://example.org/', {method: 'POST', mode: 'no-cors', body: 'picture'})",
        """new Promise((done, failed) => {
            const picture = new Image();
            picture.onload = done;
            picture.onerror = () => failed(Error("refused"));
            picture.src = "https://example.org/?picture";
        })""",
    ],
)
def test_policy_stops_what_would_leave_the_origin(tab, leak):
    asked: list[str] = []
    tab.context.route("https://example.org/**", lambda route: (asked.append(route.request.url), route.abort()))
    tab.evaluate("globalThis.stopped = []")
    tab.evaluate("addEventListener('securitypolicyviolation', event => stopped.push(event.effectiveDirective))")
    with pytest.raises(Error):
        tab.evaluate(leak)
    (directive,) = tab.evaluate("stopped")
    assert directive in ("connect-src", "img-src") and asked == []


def test_nothing_is_kept_but_the_pages_own_files(tab, site):
    tab.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.press(tab, "#draw")
    kept = """async () => {
        const names = await caches.keys();
        const requests = await Promise.all(names.map(async name => (await caches.open(name)).keys()));
        return { cached: requests.flat().map(request => request.url), stored: localStorage.length +
            sessionStorage.length + (await indexedDB.databases()).length, cookies: document.cookie };
    }"""
    found = tab.evaluate(kept)
    assert found["stored"] == 0 and found["cookies"] == ""
    own = {"", "app.js", "model.onnx", "detector.onnx", "ort.wasm.gz", "style.css", "drawn/one.png"}
    cached = {url.removeprefix(site) for url in found["cached"]}
    assert own <= cached and all(not name.startswith("http") for name in cached)


@pytest.mark.parametrize("address", ["", "index.html", "?model="])
def test_installed_page_opens_and_judges_without_a_network(tab, site, address):
    tab.evaluate("navigator.serviceWorker.ready.then(() => true)")
    tab.context.set_offline(True)
    tab.goto(site + address)
    tab.wait_for_selector("#choose:enabled")
    assert page.press(tab, "#draw").startswith("6 faces: ")


def test_newer_page_replaces_the_one_that_is_kept(browser, tmp_path):
    """Also where the browser's own cache holds the older files for as long as it likes."""
    visit.build(tmp_path)
    context = browser.new_context()
    tab = context.new_page()
    with visit.served(tmp_path, headers={"Cache-Control": "max-age=86400"}) as address:
        tab.goto(address)
        tab.wait_for_selector("#choose:enabled")
        tab.evaluate("navigator.serviceWorker.ready.then(() => true)")
        style, worker = tmp_path / "style.css", tmp_path / "offline.js"
        style.write_text(style.read_text() + "/* newer */")
        older = re.search('"([0-9a-f]{16})"', worker.read_text())[1]
        worker.write_text(worker.read_text().replace(older, "0" * 16))
        os.utime(style, (4e9, 4e9))
        tab.reload()
        tab.wait_for_selector("#said:has-text('a newer version of this page is there: reload to use it')")
        tab.reload()
        text = "fetch('style.css', { cache: 'force-cache' }).then(answer => answer.text())"
        assert tab.evaluate(text).endswith("/* newer */")
    context.close()


def test_first_visit_loads_nothing_twice(browser, tmp_path):
    visit.build(tmp_path)
    context = browser.new_context()
    tab = context.new_page()
    sent: list[int] = []
    with visit.served(tmp_path, sent) as address:
        tab.goto(address)
        tab.evaluate("navigator.serviceWorker.ready.then(() => true)")
        whole = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert sum(sent) <= 1.01 * whole <= 12e6
    context.close()


def test_first_load_stays_small(site, tmp_path):
    visit.build(tmp_path / "site")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "site").rglob("*") if path.is_file()}
    assert sizes["model.onnx"] <= 6e6 and sum(sizes.values()) <= 12e6
    assert {"mediapipe.txt", "onnxruntime.txt"} <= set(sizes) and "done" not in sizes


def test_building_again_keeps_the_networks_of_others(site, tmp_path):
    visit.build(tmp_path)
    before = (tmp_path / "offline.js").read_text()
    for name in ("mine.onnx", "old.js", "model.onnx"):
        (tmp_path / name).write_text("mine")
    visit.build(tmp_path)
    assert (tmp_path / "mine.onnx").read_text() == "mine" and not (tmp_path / "old.js").exists()
    assert (tmp_path / "model.onnx").stat().st_size > 1e6
    assert (tmp_path / "offline.js").read_text() == before  # no visitor loads it unasked


@pytest.mark.skipif(not (conftest.ROOT / ".venv").exists(), reason="make starts the Python of .venv")
def test_taken_port_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ["make", "--no-print-directory", "--old-file=page", "web", f"PORT={port}"]
        done = subprocess.run(command, cwd=conftest.ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[0] == f"port {port} is taken; make web PORT={port + 1}"
    assert done.returncode == 2 and done.stdout == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious_and_nothing_sticks_out(browser, site, scheme, width):
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    tab = context.new_page()
    tab.goto(site)
    tab.wait_for_selector("#choose:enabled")
    page.press(tab, "#draw")
    tab.add_script_tag(path=page.WEB / "node_modules" / "axe-core" / "axe.min.js")
    found = tab.evaluate("axe.run().then(found => found.violations)")
    assert [(finding["id"], finding["nodes"][0]["html"]) for finding in found] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


@pytest.mark.parametrize("size", [(390, 844), (1280, 800)])
def test_page_is_one_screen(browser, site, size):
    context = browser.new_context(viewport=dict(zip(("width", "height"), size, strict=True)), permissions=["camera"])
    tab = context.new_page()
    tab.goto(site)
    tab.wait_for_selector("#choose:enabled")

    def fits() -> bool:
        assert tab.locator("#stage").bounding_box()["height"] >= 180
        return tab.evaluate("document.documentElement.scrollHeight <= innerHeight")

    page.press(tab, "#draw")
    assert fits()
    page.press(tab, "#previous")  # the crowd
    assert fits()
    page.upload(tab, "wall.png", page.png(np.full((400, 300), 128, np.uint8)))
    assert fits()
    tab.click("#camera")
    tab.wait_for_selector("#pace:has-text('pictures')")
    assert fits()
    said, pace = (tab.locator(name).bounding_box() for name in ("#said", "#pace"))
    assert said["width"] > 200 and said["height"] < 60 and pace["width"] > 100
    tab.click("#pause")
    assert tab.inner_text("#pace") == ""
    context.close()


def test_keyboard_alone_reaches_and_works_everything(tab):
    reached = []
    for _ in range(12):
        tab.keyboard.press("Tab")
        reached.append(tab.evaluate("document.activeElement.id"))
    assert reached[:3] == ["choose", "draw", "camera"] and {"maps", "choose-network"} <= set(reached)
    tab.focus("#draw")
    page.hush(tab)
    tab.keyboard.press("Enter")
    assert page.settled(tab).startswith("6 faces")
    tab.focus("#later")
    tab.keyboard.press("Space")
    assert tab.inner_text("#which") == "face 2 of 6"


def test_reduced_motion_is_honoured(browser, site):
    context = browser.new_context(reduced_motion="reduce")
    tab = context.new_page()
    tab.goto(site)
    assert tab.evaluate("getComputedStyle(document.getElementById('choose')).transitionDuration") == "0s"
    page.settled(tab)
    bar = "getComputedStyle(document.querySelector('progress'), '::-webkit-progress-value').transitionDuration"
    assert tab.evaluate(bar) == "0s"
    context.close()
