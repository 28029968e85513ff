"""Drawn faces: the same seed gives the same bytes, people stay themselves, expressions can be told apart."""

import itertools

import numpy as np
import pytest

from utils.datasets.drawn_faces import ACTION_UNITS, NEIGHBOURS, PROTOTYPES, draw_face, draw_faces
from utils.labels import FER2013_CLASSES

EXPRESSIONS = range(len(FER2013_CLASSES))


def test_shapes_types_and_use_of_the_tones():
    faces = draw_faces(50, seed=0)
    assert faces.images.shape == (50, 48, 48) and faces.images.dtype == np.uint8
    assert faces.labels.shape == (50,) and faces.labels.dtype == np.int64
    assert faces.subjects.shape == (50,) and faces.subjects.dtype == np.int64
    assert (faces.images.reshape(50, -1).std(axis=1) > 5).all()


def test_same_seed_same_bytes_and_another_seed_other_faces():
    first, again, other = draw_faces(40, seed=3), draw_faces(40, seed=3), draw_faces(40, seed=4)
    np.testing.assert_array_equal(first.images, again.images)
    assert all((a != b).any() for a, b in zip(first.images, other.images, strict=True))


@pytest.mark.parametrize("count", [1, 7, 33, 70])
def test_a_shorter_set_is_the_beginning_of_a_longer_one(count):
    long, short = draw_faces(100, seed=5, subjects=4), draw_faces(count, seed=5, subjects=4)
    np.testing.assert_array_equal(short.images, long.images[:count])
    np.testing.assert_array_equal(short.labels, long.labels[:count])
    np.testing.assert_array_equal(short.subjects, long.subjects[:count])


def test_a_picture_does_not_depend_on_how_many_are_drawn_together(monkeypatch):
    together = draw_faces(40, seed=6)
    monkeypatch.setattr("utils.datasets.drawn_faces._CHUNK", 3)
    np.testing.assert_array_equal(draw_faces(40, seed=6).images, together.images)


def test_no_two_pictures_are_alike_even_of_the_same_person_and_expression():
    faces = draw_faces(70, seed=0, subjects=2)
    assert len({image.tobytes() for image in faces.images}) == 70


def test_classes_are_balanced_overall_and_for_each_subject():
    faces = draw_faces(213, seed=1, subjects=10)
    counts = np.bincount(faces.labels, minlength=len(EXPRESSIONS))
    assert counts.max() - counts.min() <= 1
    table = np.zeros((10, len(EXPRESSIONS)), int)
    np.add.at(table, (faces.subjects, faces.labels), 1)
    assert table.min() >= 3


def test_sets_with_disjoint_subjects_share_no_picture():
    train = draw_faces(70, seed=2, subjects=10)
    test = draw_faces(70, seed=2, subjects=5, first_subject=10)
    assert set(train.subjects) == set(range(10))
    assert set(test.subjects) == set(range(10, 15))
    assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}


def test_the_largest_numbers_are_accepted():
    faces = draw_faces(2, seed=2**64 - 1, subjects=1, first_subject=2**32 - 1)
    assert faces.subjects.tolist() == [2**32 - 1] * 2


def test_expressions_of_one_person_differ_where_the_face_moves():
    faces = [draw_face(e, subject=1, seed=0, size=96).astype(float) for e in EXPRESSIONS]
    for one, other in itertools.combinations(faces, 2):
        difference = np.abs(one - other)
        assert difference[62:84, 28:68].mean() > 1.5, "mouth"
        assert difference[24:50, 20:76].mean() > 1, "eyes and brows"
        assert difference[:6].max() == 0, "the background stays"


def test_intensity_zero_is_a_face_at_rest_and_more_moves_it_further():
    rest = draw_face(FER2013_CLASSES.index("neutral"), subject=2, seed=0)
    smile = FER2013_CLASSES.index("happy")
    moved = [np.abs(draw_face(smile, subject=2, seed=0, intensity=i) - rest.astype(float)).mean() for i in (0, 0.5, 1)]
    assert moved[0] == 0 < moved[1] < moved[2]


def test_the_person_drawn_depends_on_subject_and_seed():
    faces = [draw_face(6, subject=s, seed=seed, size=32).tobytes() for s in range(4) for seed in range(2)]
    assert len(set(faces)) == 8


def test_the_tables_name_every_expression_and_only_known_action_units():
    assert set(PROTOTYPES) == set(NEIGHBOURS) == set(FER2013_CLASSES)
    parts = [part for forms in PROTOTYPES.values() for code in forms if code for part in code.split("+")]
    assert all(int(part[:-1]) in ACTION_UNITS and part[-1] in "ABCDE" for part in parts)
    assert all(name not in others and set(others) <= set(FER2013_CLASSES) for name, others in NEIGHBOURS.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "count must be an integer from 1 to 4294967295; got 0"),
        ({"count": 1.5}, "count must be an integer from .*; got 1.5"),
        ({"count": True}, "count must be an integer from .*; got True"),
        ({"seed": -1}, "seed must be an integer from 0 to .*; got -1"),
        ({"size": 8}, "size must be an integer from 16 to 4096; got 8"),
        ({"subjects": 0}, "subjects must be an integer from 1 to .*; got 0"),
        ({"first_subject": -1}, "first_subject must be an integer from 0 to .*; got -1"),
        ({"first_subject": 2**32 - 1, "subjects": 2}, "subjects must be an integer from 1 to 1; got 2"),
    ],
)
def test_draw_faces_refuses_bad_arguments_in_one_line(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        draw_faces(**({"count": 3, "seed": 0} | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expression": 7}, "expression must be an integer from 0 to 6; got 7"),
        ({"subject": -1}, "subject must be an integer from 0 to .*; got -1"),
        ({"intensity": 1.5}, "intensity must be a number from 0 to 1; got 1.5"),
        ({"intensity": float("nan")}, "intensity must be a number from 0 to 1; got nan"),
    ],
)
def test_draw_face_refuses_bad_arguments_in_one_line(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        draw_face(**({"expression": 0, "subject": 0, "seed": 0} | change))
