"""The page judges what the camera shows, and lets go of it."""

import re

import numpy as np
import page
import pytest
from playwright.sync_api import expect

LIVE = "forTests.page.camera.video.srcObject?.getTracks().some(track => track.readyState === 'live') ?? false"

COUNTING = """() => {
    const { page } = forTests;
    const judge = page.judgeFrame.bind(page);
    globalThis.judged = 0;
    page.judgeFrame = (...given) => { judged++; return judge(...given); };
}"""


def watch(tab):
    tab.click("#camera")
    expect(tab.locator("#named")).to_have_text("happy", timeout=60_000)


def test_camera_is_judged_paused_and_switched_off(tab):
    watch(tab)
    expect(tab.locator("#pace")).to_contain_text("pictures a second")
    tab.click("#pause")
    assert tab.inner_text("#pause") == "Go on" and tab.evaluate(LIVE)
    tab.evaluate(COUNTING)
    tab.wait_for_timeout(500)
    assert tab.evaluate("judged") <= 1  # the one that was asked for before
    tab.click("#pause")
    for _ in range(100):  # `wait_for_function` needs eval, which the page's policy forbids
        tab.wait_for_timeout(100)
        if tab.evaluate("judged") > 2:
            break
    assert tab.evaluate("judged") > 2
    tab.click("#camera")
    assert page.settled(tab) == "the camera is off" and not tab.evaluate(LIVE)
    assert tab.is_hidden("#pause") and tab.inner_text("#camera") == "Camera"


def test_lost_camera_is_told_and_can_be_started_again(tab):
    watch(tab)
    tab.evaluate("forTests.page.camera.stream.getTracks()[0].dispatchEvent(new Event('ended'))")
    assert page.settled(tab) == "the camera was lost; plug it in and press Camera again"
    assert not tab.evaluate(LIVE)
    watch(tab)


@pytest.mark.parametrize("leave", [lambda tab: tab.evaluate("dispatchEvent(new Event('pagehide'))"), page.hide])
def test_camera_goes_off_when_the_page_is_left_or_hidden(tab, leave):
    watch(tab)
    leave(tab)
    assert not tab.evaluate(LIVE) and tab.inner_text("#camera") == "Camera"


@pytest.fixture
def prompt(tab):
    """The page, whose browser asks whether the camera may be used until `allow()`."""
    tab.evaluate("""() => {
        const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        const allowed = new Promise(settle => { globalThis.allow = settle });
        globalThis.streams = [];
        navigator.mediaDevices.getUserMedia = async (wish) => {
            await allowed;
            streams.push(await ask(wish));
            return streams.at(-1);
        };
    }""")
    page.hush(tab)
    tab.click("#camera")
    return tab


STREAMS = "streams.map(stream => stream.getTracks().every(track => track.readyState === 'live'))"


@pytest.mark.parametrize(
    "leave",
    [
        lambda tab: tab.evaluate("dispatchEvent(new Event('pagehide'))"),
        page.hide,
        lambda tab: page.upload(tab, "wall.png", page.png(np.full((40, 60), 128, np.uint8))),
    ],
    ids=["left", "hidden", "photo"],
)
def test_camera_that_comes_too_late_is_switched_off(prompt, leave):
    leave(prompt)
    prompt.evaluate("allow()")
    prompt.wait_for_selector("#camera:enabled")
    assert prompt.evaluate(STREAMS) == [False] and not prompt.evaluate(LIVE)
    assert "error" not in (prompt.get_attribute("#said", "class") or "")


def test_camera_is_asked_for_once(prompt):
    assert prompt.is_disabled("#camera")
    prompt.evaluate("document.getElementById('camera').click()")
    prompt.evaluate("allow()")
    expect(prompt.locator("#named")).to_have_text("happy", timeout=60_000)
    assert prompt.evaluate(STREAMS) == [True]


def test_network_is_changed_under_the_camera(tab):
    """Another number of classes: nothing of the old network is averaged with the new one's."""
    shipped = (page.WEB / "made" / "model.onnx").read_bytes()
    watch(tab)
    for content, classes in [(page.network(["dark", "grey", "light"]), 3), (shipped, 7)]:
        assert page.open_network(tab, content) == "faces are now judged by mine.onnx"
        expect(tab.locator("#bars output").last).to_have_text(re.compile("%"))
        shares = [int(text.rstrip("%")) for text in tab.locator("#bars output").all_inner_texts()]
        assert len(shares) == classes and abs(sum(shares) - 100) <= classes and tab.evaluate(LIVE)
    expect(tab.locator("#named")).to_have_text("happy")


def test_no_face_of_a_photo_is_averaged_with_those_of_the_camera(tab):
    assert page.press(tab, "#draw").startswith("6 faces")
    tab.evaluate("""() => {
        const { page } = forTests;
        const judge = page.judgeFrame.bind(page);
        globalThis.before = [];
        page.judgeFrame = (...given) => {
            before.push(page.show.readings.length);
            return judge(...given);
        };
    }""")
    watch(tab)
    assert tab.evaluate("before[0]") == 0


def test_camera_goes_off_when_judging_fails(tab):
    watch(tab)
    page.hush(tab)
    tab.evaluate("() => { forTests.page.detector.find = () => { throw new Error('out of memory') } }")
    tab.wait_for_selector("#said:has-text('out of memory')")
    assert not tab.evaluate(LIVE) and tab.inner_text("#camera") == "Camera"


def test_refused_camera_is_told(browser, site):
    context = browser.new_context(permissions=[])
    tab = context.new_page()
    tab.add_init_script(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
    )
    tab.goto(site)
    tab.wait_for_selector("#choose:enabled")
    said = page.press(tab, "#camera")
    assert said == "the camera may not be used; allow it in the browser's address bar"
    context.close()


def test_name_on_video_changes_only_for_a_reason(tab):
    """A class must lead by a tenth before it is named, and the threshold be crossed by a twentieth."""
    steps = """([steps, unsureBelow]) => {
        const box = { left: 0, top: 0, side: 10 };
        let before = [];
        const { read, follow } = forTests;
        return steps.map(first => {
            const now = read(box, box, new Float32Array([first, 1 - first]), unsureBelow);
            before = [{ ...now, ...follow(before, now, unsureBelow) }];
            return [before[0].named, before[0].sure];
        });
    }"""
    assert tab.evaluate(steps, [[0.9, 0.5, 0.45, 0.55], 0.6]) == [[0, True]] * 4  # flickers about the middle
    said = tab.evaluate(steps, [[0.9] + [0.1] * 12, 0.7])
    assert said[0] == [0, True] and said[-1] == [1, True]
    names = [name for name, _ in said]
    assert names == sorted(names) and any(not sure for _, sure in said)  # once over, by way of unsure
