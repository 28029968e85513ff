"""The program that looks at photos and videos: what it says, draws and refuses."""

import csv
import io
import json
import re

import cv2
import numpy as np
import pytest
from conftest import SMALL, start, start_here
from PIL import Image, ImageChops
from test_pictures import HAPPY, SURPRISE, scene

from utils.pictures import FaceReader
from utils.pictures.video import VideoWriter, open_video


@pytest.fixture
def photos(tmp_path):
    """A folder: two faces, none, a video of one face, and a text that is no concern of ours."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(scene((HAPPY, 40, 220), (SURPRISE, 360, 220))).save(folder / "a.png")
    Image.new("L", (200, 100), 128).save(folder / "b.jpg")
    writer = VideoWriter(folder / "c.mp4", 5.0)
    for left in range(100, 130, 10):
        writer.write(scene((HAPPY, left, 220)))
    writer.close()
    (folder / "notes.txt").write_text("nothing")
    return folder


def test_a_folder_is_said_and_drawn(tmp_path, photos):
    done = start_here(tmp_path, "predict.py", "photos", "--detector", "cascade")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [re.sub(r" \d+ %.*", "", line) for line in lines] == [
        "photos/a.png: happy",
        "photos/a.png: surprise",
        "photos/b.jpg: no face found",
        "photos/c.mp4: 0.0 s, face 1: happy",
    ]
    out = tmp_path / "saved" / "predictions"
    assert sorted(path.name for path in out.iterdir()) == ["a.png.faces.jpg", "b.jpg.faces.jpg", "c.mp4.faces.mp4"]
    with Image.open(out / "a.png.faces.jpg") as drawn, Image.open(photos / "a.png") as plain:
        changed = ImageChops.difference(drawn, plain).convert("L").point(lambda value: 255 * (value > 60))
        assert drawn.size == plain.size and changed.crop((0, 0, 320, 360)).getbbox() and changed.getbbox()[2] > 400
    with open_video(out / "c.mp4.faces.mp4") as video:
        assert video.rate == 5 and [image.shape for _, image in video.frames()] == [(360, 640, 3)] * 3


def test_json_has_a_line_for_each_picture_and_frame(tmp_path, photos):
    done = start_here(tmp_path, "predict.py", "photos", "--json", "--no-pictures", "--detector", "cascade")
    assert done.returncode == 0 and done.stderr == "" and not (tmp_path / "saved").exists()
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["source"], one["frame"], len(one["faces"])) for one in told] == [
        ("photos/a.png", None, 2),
        ("photos/b.jpg", None, 0),
        *[("photos/c.mp4", frame, 1) for frame in range(3)],
    ]
    assert [one["seconds"] for one in told] == [None, None, 0.0, 0.2, 0.4]
    face = told[-1]["faces"][0]
    assert face["track"] == 1 and face["label"] == "happy"
    assert face["confidence"] == max(face["probabilities"].values())
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    left, top, right, bottom = face["box"]
    assert right - left == bottom - top and 120 < left < 220


def test_csv_has_a_row_for_each_face(tmp_path, photos):
    done = start_here(
        tmp_path, "predict.py", "photos/a.png", "photos/b.jpg", "--csv", "--no-pictures", "--unsure-below=1"
    )
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["source"], row["face"], row["label"]) for row in rows] == [
        ("photos/a.png", "1", ""),
        ("photos/a.png", "2", ""),
    ]
    assert float(rows[0]["happy"]) == float(rows[0]["confidence"]) < 1


def test_what_cannot_be_read_is_named_and_the_others_are_looked_at(tmp_path, photos):
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:200])
    done = start_here(tmp_path, "predict.py", "photos", "--no-pictures")
    first, last = done.stderr.splitlines()
    assert done.returncode == 2 and first.startswith("photos/broken.png: not a readable image")
    assert last == "1 of 4 photos and videos could not be read in full" and "photos/c.mp4" in done.stdout


def test_a_video_that_is_cut_is_looked_at_as_far_as_it_goes_and_called_damaged(tmp_path, photos):
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 360))
    for left in range(100, 160, 3):
        writer.write(scene((HAPPY, left, 220)))
    writer.release()
    whole = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(whole[: len(whole) // 2])
    done = start_here(tmp_path, "predict.py", "a.avi", "--detector", "cascade")
    drawn, last = done.stderr.splitlines()
    assert done.returncode == 2 and re.fullmatch(r"a.avi: damaged or cut; \d+ of its 20 frames can be read", last)
    assert done.stdout.startswith("a.avi: 0.0 s, face 1: happy") and drawn.endswith("a.avi.faces.mp4")


def test_a_video_without_a_face_says_so(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", 5.0)
    for _ in range(3):
        writer.write(scene())
    writer.close()
    done = start_here(tmp_path, "predict.py", "a.mp4", "--no-pictures", "--detector", "cascade")
    assert (done.returncode, done.stdout) == (0, "a.mp4: no face found in 3 frames\n")


def test_options_may_stand_between_the_names_of_photos(tmp_path, photos):
    done = start_here(tmp_path, "predict.py", "photos/a.png", "--json", "photos/b.jpg", "--no-pictures")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2


def test_a_camera_that_is_missing_is_the_machines_fault_beside_photos_too(tmp_path, photos):
    done = start_here(tmp_path, "predict.py", "97", "photos/b.jpg", "--no-pictures")
    assert done.returncode == 4 and done.stdout == "photos/b.jpg: no face found\n"
    assert [line[:17] for line in done.stderr.splitlines()] == ["camera 97 is not ", "1 of 2 photos and"]


def test_copies_that_were_drawn_are_not_looked_at_again(tmp_path, photos):
    for _ in range(2):
        done = start_here(tmp_path, "predict.py", "photos", "--out", "photos", "--detector", "cascade")
        assert done.returncode == 0 and len(done.stderr.splitlines()) == 3
    assert len([path for path in photos.iterdir() if ".faces" in path.name]) == 3


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path, photos):
    (tmp_path / "more").mkdir()
    Image.new("L", (50, 50)).save(tmp_path / "more" / "b.jpg")
    assert start_here(tmp_path, "predict.py", "photos/b.jpg", "more/b.jpg", "--out", "drawn").returncode == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["b.jpg.faces-2.jpg", "b.jpg.faces.jpg"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "name a photo, a folder, a video or the number of a camera: python predict.py photo.jpg"),
        (["none.jpg"], 2, "none.jpg: no such file"),
        (["x" * 300], 2, "not a usable file name"),
        (["empty"], 2, "empty: no photo or video in this folder"),
        (["text.png"], 2, "text.png: not a readable image"),
        (["text.mp4"], 2, "text.mp4: not a readable video"),
        (["97"], 4, "camera 97 is not there"),
        (["text.png", "--network", "nobody"], 2, "no run 'nobody'"),
        (["text.png", "--network", "good.png"], 2, "good.png: not a network; expected the name of a run"),
        (["", "good.png"], 2, "an empty name"),
        (["text.png", "--detector", "text.png"], 2, "text.png: not a model"),
        (["text.png", "--unsure-below", "2"], 2, "unsure_below must be a number from 0 to 1; got 2.0"),
        (["text.png", "--jsn"], 2, "unknown option --jsn; did you mean --json?"),
        (["text.png", "--csv", "--json"], 2, "not allowed with"),
        (["good.png", "--out", "text.png"], 4, "text.png: cannot be written"),
    ],
)
def test_refusals_are_one_line(tmp_path, arguments, code, said):
    (tmp_path / "empty").mkdir()
    for name in ("text.png", "text.mp4"):
        (tmp_path / name).write_text("nothing")
    Image.new("L", (40, 40)).save(tmp_path / "good.png")
    done = start_here(tmp_path, "predict.py", *arguments)
    assert done.returncode == code and said in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "saved").exists()


def test_a_run_of_ones_own_says_that_it_is_not_calibrated_until_it_is(tmp_path):
    assert start_here(tmp_path, "main_fer.py", *SMALL, "max_epoch_num=1").returncode == 0
    (run,) = (path.name for path in (tmp_path / "saved" / "checkpoints").iterdir())
    (tmp_path / "saved" / "results" / f"{run}.val.npz").unlink(missing_ok=True)
    Image.fromarray(scene((HAPPY, 40, 220))).save(tmp_path / "a.png")
    ask = (tmp_path, "predict.py", "a.png", "--network", run, "--no-pictures", "--detector", "cascade")
    done = start_here(*ask)
    assert done.returncode == 0 and f"python gen_results.py {run} --split val" in done.stderr
    assert start_here(tmp_path, "gen_results.py", run, "--split", "val").returncode == 0
    done = start_here(*ask)
    assert done.returncode == 0 and "gen_results" not in done.stderr and done.stdout.startswith("a.png: ")


def test_the_program_and_python_say_the_same(tmp_path, photos):
    done = start(tmp_path, "predict.py", "photos/a.png", "--json", "--no-pictures")
    (told,) = map(json.loads, done.stdout.splitlines())
    with FaceReader() as reader:
        faces = reader.read(photos / "a.png")
    assert [face.label for face in faces] == [face["label"] for face in told["faces"]]
    assert np.allclose([face.confidence for face in faces], [face["confidence"] for face in told["faces"]], atol=1e-3)
