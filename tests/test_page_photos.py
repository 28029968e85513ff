"""The page judges photos: several faces, none, broken, enormous and rotated files, another network."""

import json
import struct
import zlib

import numpy as np
import onnx
import page
import pytest
from PIL import Image

from utils.datasets.drawn_faces import draw_face
from utils.labels import FER2013_CLASSES

HAPPY = FER2013_CLASSES.index("happy")
ORIENTATION = 0x112  # of EXIF


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """Two drawn faces side by side: the one on the left smiles, the one on the right is surprised."""
    return np.hstack([draw_face(HAPPY, subject=3, seed=1, size=300), draw_face(5, subject=5, seed=1, size=300)])


def test_upload_finds_each_face_and_names_it(tab, people):
    assert page.upload(tab, "two.png", page.png(people)) == "2 faces: happy, surprise"
    assert tab.inner_text("#named") == "happy" and tab.inner_text("#which") == "face 1 of 2"
    shares = [int(text.rstrip("%")) for text in tab.locator("#bars output").all_inner_texts()]
    assert len(shares) == len(FER2013_CLASSES) and abs(sum(shares) - 100) <= 4 and max(shares) == shares[HAPPY]
    tab.click("#later")
    assert tab.inner_text("#named") == "surprise" and tab.inner_text("#which") == "face 2 of 2"


def test_faces_are_found_in_a_crowd_of_small_ones(tab):
    assert page.press(tab, "#draw").startswith("6 faces: ") and tab.inner_text("#pictures span") == "picture 1 of 3"
    assert page.press(tab, "#previous").startswith("21 faces: ")


def test_faces_are_counted_row_by_row(tab):
    page.press(tab, "#draw")
    middles = tab.evaluate("""forTests.page.show.readings.map(({ box }) =>
        [Math.floor((box.top + box.side / 2) / 360), Math.floor((box.left + box.side / 2) / 360)])""")
    assert middles == [[row, column] for row in range(2) for column in range(3)]


def test_picture_without_a_face_says_so_and_can_be_taken_as_one(tab):
    assert page.upload(tab, "wall.png", page.png(np.full((200, 300), 128, np.uint8))) == "no face found in wall.png"
    assert tab.is_hidden("#reading") and tab.is_visible("#hint")
    assert page.press(tab, "#whole").startswith("the whole picture taken as one face: 1 face: ")
    assert tab.is_hidden("#whole") and tab.is_hidden("#faces") and tab.is_hidden("#pictures")


def test_rotated_photo_is_set_upright_by_its_exif(tab, people):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # lies on its left side
    lying = Image.fromarray(np.rot90(people).copy())
    said = page.upload(tab, "lying.jpg", page.encoded(lying, "JPEG", exif=exif, quality=95), "image/jpeg")
    assert said == "2 faces: happy, surprise"
    assert tab.evaluate("[forTests.page.show.picture.canvas.width, forTests.page.show.picture.canvas.height]") == [
        600,
        300,
    ]


def stated(width: int, height: int) -> bytes:
    """The first bytes of a PNG that says it is so large."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def test_bad_files_are_refused_in_one_line_and_the_page_goes_on(tab, people):
    good = page.png(people)
    page.upload(tab, "two.png", good)
    for name, content, said in [
        ("notes.png", b"dear diary", "notes.png is not a JPEG, PNG, WebP, AVIF, GIF or BMP picture"),
        ("empty.png", b"", "empty.png is not a JPEG, PNG, WebP, AVIF, GIF or BMP picture"),
        ("torn.png", good[:40], "torn.png is damaged: the browser cannot open it"),
        ("bomb.png", stated(60_000, 60_000), "bomb.png is 60000 × 60000; up to 80 million pixels can be opened"),
    ]:
        assert page.upload(tab, name, content) == said
        assert "error" in (tab.get_attribute("#said", "class") or "")
        assert tab.is_hidden("#stage") and tab.is_hidden("#reading") and tab.is_disabled("#save-numbers")
    assert page.upload(tab, "two.png", good).startswith("2 faces")
    assert "error" not in (tab.get_attribute("#said", "class") or "")


def test_every_kind_of_picture_states_its_size(tab, people):
    """AVIF among them, and a JPEG with more before its size than any camera writes."""
    image = Image.fromarray(people).convert("RGB")
    for kind in ("JPEG", "PNG", "WebP", "AVIF", "GIF", "BMP"):
        assert page.upload(tab, f"two.{kind}", page.encoded(image, kind)) == "2 faces: happy, surprise"
    plain = page.encoded(image, "JPEG", quality=95)
    padding = b"\xff\xed" + struct.pack(">H", 65_535) + bytes(65_533)
    padded = plain[:2] + 8 * padding + b"\xff\xff" + plain[2:]
    assert page.upload(tab, "long.jpg", padded) == "2 faces: happy, surprise"
    small = page.encoded(image, "AVIF")
    at = small.index(b"ispe") + 8
    bomb = small[:at] + struct.pack(">II", 60_000, 60_000) + small[at + 8 :]
    assert page.upload(tab, "bomb.avif", bomb).startswith("bomb.avif is 60000 × 60000; up to 80 million")


def test_page_answers_while_a_photo_is_judged(tab):
    """A click is dealt with between two looks of the detector, and what it asks for ends the work on the photo."""
    tab.evaluate("""() => {
        const { detector } = forTests.page;
        const look = detector.look.bind(detector);
        globalThis.looks = 0;
        detector.look = (...given) => {
            if (++looks === 3) setTimeout(() => document.getElementById("next").click());
            return look(...given);
        };
    }""")
    page.hush(tab)
    tab.click("#draw")
    tab.wait_for_selector("#said:has-text('1 face: ')")
    assert tab.evaluate("looks") <= 59 + 5  # all that a square needs, and few of the first picture's 39
    assert tab.inner_text("#pictures span") == "picture 2 of 3"


@pytest.mark.parametrize("name", ["NM.SA2.99", "NM.SU2.102", "UY.SU3.145"])
def test_hair_of_a_portrait_is_not_another_face(tab, real_data, name):
    (path,) = real_data("jaffe").rglob(f"{name}.tiff")
    assert page.upload(tab, f"{name}.png", page.encoded(Image.open(path), "PNG")).startswith("1 face: ")


def test_large_photo_is_judged_at_its_largest_allowed_side(tab, people):
    large = Image.fromarray(people).resize((4800, 2400))
    assert page.upload(tab, "large.jpg", page.encoded(large, "JPEG"), "image/jpeg") == "2 faces: happy, surprise"
    assert tab.evaluate("forTests.page.show.picture.canvas.width") == 1600
    saved = numbers(tab)
    assert (saved["width"], saved["height"]) == (4800, 2400)
    assert [face["box"]["left"] > 2400 for face in saved["faces"]] == [False, True]


def test_face_below_the_networks_threshold_is_unsure(tab, people):
    tab.evaluate("forTests.page.classifier.facts.unsureBelow = 1.01")
    assert page.upload(tab, "two.png", page.png(people)) == "2 faces: unsure, unsure"
    assert tab.inner_text("#named") == "unsure"


def numbers(tab) -> dict:
    """What *Save numbers* hands over."""
    with tab.expect_download() as download:
        tab.click("#save-numbers")
    assert download.value.suggested_filename.endswith(".expressions.json")
    return json.loads(download.value.path().read_text())


def test_picture_and_numbers_can_be_saved(tab, people):
    page.upload(tab, "two.png", page.png(people))
    saved = numbers(tab)
    assert (saved["picture"], saved["width"], saved["height"]) == ("two", 600, 300)
    assert [face["expression"] for face in saved["faces"]] == ["happy", "surprise"]
    assert all(sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-5) for face in saved["faces"])
    with tab.expect_download() as picture:
        tab.click("#save-picture")
    drawn = Image.open(picture.value.path()).convert("L")
    assert drawn.size == (960, 480)  # small pictures are enlarged, so that what is written on them can be read
    assert (np.abs(np.asarray(drawn.resize((600, 300)), float) - people) > 60).mean() > 0.01


def test_face_that_is_clicked_is_chosen(tab, people):
    """The picture is higher than wide, so that the stage is empty on both sides of it."""
    page.upload(tab, "two.png", page.png(np.vstack([people[:, :300], people[:, 300:]])))
    stage = tab.locator("#stage").bounding_box()
    scale = stage["height"] / 600
    left = (stage["width"] - 300 * scale) / 2
    for row, name in [(1, "surprise"), (0, "happy")]:
        tab.locator("#stage").click(position={"x": left + 90 * scale, "y": (300 * row + 150) * scale})
        assert tab.inner_text("#named") == name


@pytest.mark.parametrize("ratio", [1, 3])
def test_boxes_are_drawn_in_pixels_of_the_screen(browser, site, people, ratio):
    context = browser.new_context(device_scale_factor=ratio, viewport={"width": 390, "height": 844})
    tab = context.new_page()
    tab.goto(site)
    tab.wait_for_selector("#choose:enabled")
    page.upload(tab, "small.png", page.png(np.asarray(Image.fromarray(people[:, :300]).resize((48, 48)))))
    stage = tab.locator("#stage").bounding_box()
    assert tab.evaluate("document.getElementById('stage').width") == round(stage["width"] * ratio)
    context.close()


def test_map_is_laid_over_the_face_and_taken_away_again(tab, people):
    page.upload(tab, "two.png", page.png(people))
    coloured = """(() => { const { data } = forTests.page.show.stage.getContext('2d').getImageData(0, 0, 4000, 4000);
        return data.filter((v, i) => i % 4 === 0 && v > data[i + 2] + 20).length })()"""
    assert tab.evaluate(coloured) == 0
    tab.check("#maps")
    assert tab.evaluate(coloured) > 1000
    tab.uncheck("#maps")
    assert tab.evaluate(coloured) == 0


def test_another_network_drops_in_with_its_own_classes(tab, people, tmp_path):
    model = onnx.load(page.WEB / "made" / "model.onnx")
    (entry,) = [entry for entry in model.metadata_props if entry.key == "face_expression"]
    facts = json.loads(entry.value)
    entry.value = json.dumps(facts | {"run": "mine", "classes": [f"class {i}" for i in range(7)]})
    page.upload(tab, "two.png", page.png(people))
    page.hush(tab)
    content = model.SerializeToString()
    network = {"name": "mine.onnx", "mimeType": "application/octet-stream", "buffer": content}
    tab.set_input_files("#network-file", network)
    tab.wait_for_selector("#run:has-text('mine')", state="attached")
    assert tab.locator("#bars span").all_inner_texts() == [f"class {i}" for i in range(7)]
    assert page.upload(tab, "two.png", page.png(people)) == f"2 faces: class {HAPPY}, class 5"


def test_of_two_networks_the_one_asked_for_last_stays_however_long_the_other_takes(tab):
    tab.evaluate("""() => {
        const read = File.prototype.arrayBuffer;
        File.prototype.arrayBuffer = async function () {
            if (this.name === "slow.onnx") await new Promise((go) => setTimeout(go, 1000));
            document.body.dataset.read = this.name;
            return read.call(this);
        };
    }""")
    for name, classes in (("slow.onnx", ["a", "b", "c"]), ("quick.onnx", ["dark", "light"])):
        network = {"name": name, "mimeType": "application/octet-stream", "buffer": page.network(classes)}
        tab.set_input_files("#network-file", network)
    tab.wait_for_selector("body[data-read='slow.onnx']", state="attached")
    tab.wait_for_timeout(500)
    assert tab.locator("#bars span").all_inner_texts() == ["dark", "light"]


def test_photos_and_networks_can_be_dropped(tab, people):
    assert page.drop(tab, ("two.png", page.png(people))) == "2 faces: happy, surprise"
    assert page.drop(tab, ("a.png", page.png(people)), ("b.png", b"dear diary")) == "2 faces: happy, surprise"
    assert page.press(tab, "#next").startswith("b.png is not a")  # one of several, and it can be left again
    assert page.press(tab, "#previous") == "2 faces: happy, surprise"
    page.drop(tab, ("mine.onnx", page.network(["dark", "light"])))
    assert tab.inner_text("#network") == "small" and tab.locator("#bars li").count() == 2


def test_drop_while_the_page_loads_does_not_lead_away(browser, site):
    context = browser.new_context(service_workers="block")
    tab = context.new_page()
    tab.route("**/model.onnx", lambda route: None)  # never answered
    tab.goto(site)
    stopped = """["dragover", "drop"].map(kind =>
        !document.body.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true })))"""
    assert tab.evaluate(stopped) == [True, True]
    context.close()


@pytest.mark.parametrize(
    ("model", "refusal"),
    [
        ("", ""),
        ("mine.onnx", ""),
        ("none.onnx", "none.onnx could not be loaded (status 404)"),
        ("app.js", "app.js is not an ONNX file, or is cut off"),
        ("https://example.org/a.onnx", "https://example.org/a.onnx is not of this site, whose files alone are opened"),
        ("http://", "http:// is not of this site, whose files alone are opened"),
    ],
)
def test_network_is_named_in_the_address(browser, site, model, refusal, people):
    context = browser.new_context(service_workers="block")
    tab = context.new_page()
    content = page.network(["dark", "light"])
    tab.route("**/mine.onnx", lambda route: route.fulfill(body=content))
    tab.goto(f"{site}?model={model}")
    tab.wait_for_selector("#choose:enabled")
    assert page.settled(tab) == (f"{refusal}; the page's own network is used" if refusal else "ready")
    assert tab.locator("#network").inner_text() == ("small" if model == "mine.onnx" else "compact_vgg")
    assert page.upload(tab, "two.png", page.png(people)).startswith("2 faces: ")
    context.close()


def test_files_that_are_no_network_are_refused_in_one_line(tab):
    for content, said in [
        (b"\xff" * 50, "x.onnx is not an ONNX file, or is cut off"),
        (b"", "x.onnx does not say which expressions it knows; make it with export.py"),
        ((page.WEB / "made" / "model.onnx").read_bytes()[:-100], "x.onnx is not an ONNX file, or is cut off"),
    ]:
        page.hush(tab)
        tab.set_input_files(
            "#network-file", {"name": "x.onnx", "mimeType": "application/octet-stream", "buffer": content}
        )
        assert page.settled(tab) == said


@pytest.mark.parametrize(
    ("facts", "refusal"),
    [
        ({"text": "{broken"}, 'x.onnx: what it says of itself ("face_expression") is not a JSON object'),
        ({"format": 2}, "x.onnx is of format 2; this page reads format 1"),
        ({"classes": None}, "x.onnx: classes is null; expected two or more different names"),
        ({"classes": ["a", "a"]}, 'x.onnx: classes is ["a","a"]; expected two or more different names'),
        ({"classes": ["a", "b", "c"]}, "x.onnx names 3 classes; its graph gives 2"),
        ({"image_size": "48"}, 'x.onnx: image_size is "48"; expected 1 to 1024'),
        ({"image_size": 9}, "x.onnx says that it takes 1 × 9 × 9 numbers; its graph takes others"),
        ({"channels": 3}, "x.onnx says that it takes 3 × 8 × 8 numbers; its graph takes others"),
        ({"channels": 2}, "x.onnx: channels is 2; expected 1 or 3"),
        ({"unsure_below": "high"}, 'x.onnx: unsure_below is "high"; expected a probability'),
        ({"cam": [6, 6]}, 'x.onnx does not turn "pixels" into "cam"; make it with export.py'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_network_that_is_not_what_its_file_says_is_refused_when_it_is_opened(tab, facts, refusal):
    content = page.network(["dark", "light"], **facts)
    assert page.open_network(tab, content, "x.onnx").startswith(refusal)
    assert tab.inner_text("#network") == "compact_vgg"
