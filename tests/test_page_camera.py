"""The page judges what the camera shows, and lets go of it."""

import page
from playwright.sync_api import expect

LIVE = "page.camera.video.srcObject?.getTracks().some(track => track.readyState === 'live') ?? false"


def watch(tab):
    tab.click("#camera")
    expect(tab.locator("#named")).to_have_text("happy", timeout=60_000)


def test_camera_is_judged_paused_and_switched_off(tab):
    watch(tab)
    expect(tab.locator("#pace")).to_contain_text("pictures a second")
    tab.click("#pause")
    assert tab.inner_text("#pause") == "Go on" and tab.evaluate(LIVE)
    tab.click("#pause")
    tab.click("#camera")
    assert page.settled(tab) == "the camera is off" and not tab.evaluate(LIVE)
    assert tab.is_hidden("#pause") and tab.inner_text("#camera") == "Camera"


def test_lost_camera_is_told_and_can_be_started_again(tab):
    watch(tab)
    tab.evaluate("page.camera.stream.getTracks()[0].dispatchEvent(new Event('ended'))")
    assert page.settled(tab) == "the camera was lost; plug it in and press Camera again"
    assert not tab.evaluate(LIVE)
    watch(tab)


def test_camera_goes_off_when_the_page_is_left_or_hidden(tab):
    watch(tab)
    tab.evaluate("dispatchEvent(new Event('pagehide'))")
    assert not tab.evaluate(LIVE)


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
