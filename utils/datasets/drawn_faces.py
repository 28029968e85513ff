"""Draws grey faces with the seven expressions of FER2013, so that everything runs without a download."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt

from utils.datasets.face_painter import Array, paint_faces
from utils.labels import FER2013_CLASSES

# The muscle movements that a face is made of here, with the numbers that FACS gives them (Ekman & Friesen,
# Facial Action Coding System, 1978).
ACTION_UNITS: Mapping[int, str] = {
    1: "inner_brow", 2: "outer_brow", 4: "brow_lower", 5: "lid_raise", 6: "cheek_raise", 7: "lid_tight",
    9: "nose_wrinkle", 10: "lip_raise", 12: "smile", 15: "frown", 17: "chin_raise", 20: "lip_stretch",
    23: "lip_tight", 25: "lips_part", 26: "jaw_drop", 43: "lid_droop",
}  # fmt: skip

# Two common forms of each expression in FACS notation: action unit and intensity, A (trace) to E (maximum).
# After the emotion prototypes of Friesen & Ekman, EMFACS-7 (1983), and of the FACS Investigator's Guide
# (2002), table 10-2; the intensities are our own. A drawn face lies anywhere between the two.
PROTOTYPES: Mapping[str, tuple[str, str]] = {
    "angry": ("4E+5B+7D+15A+17B+23E", "4E+5C+7C+10B+20A+25E+26B"),
    "disgust": ("4B+6C+7D+9E+10E+15C+25C", "4C+6C+7D+9E+10C+15D+17D"),
    "fear": ("1E+2B+4C+5E+20E+25E+26A", "1E+2C+4C+5E+20D+25D+26C"),
    "happy": ("6E+12E+25E+26B", "6D+12E"),
    "sad": ("1E+4C+15E+17C+43C", "1D+4C+7B+15D+20B+25B+43B"),
    "surprise": ("1E+2E+5E+25C+26E", "1E+2E+5D+25C+26C"),
    "neutral": ("", "25A+43B"),
}

# What each expression is mixed with in an ambiguous face: the pairs that people too confuse.
NEIGHBOURS: Mapping[str, tuple[str, str]] = {
    "angry": ("disgust", "neutral"),
    "disgust": ("angry", "sad"),
    "fear": ("surprise", "sad"),
    "happy": ("neutral", "surprise"),
    "sad": ("neutral", "fear"),
    "surprise": ("fear", "happy"),
    "neutral": ("sad", "angry"),
}

# Who is drawn: (mean, spread). Lengths are in half picture widths, y points down, tones run from 0 to 1.
PERSON = {
    "head_w": (0.64, 0.045), "head_h": (0.85, 0.04), "taper": (0.17, 0.07), "skin": (0.66, 0.12),
    "eye_x": (0.285, 0.018), "eye_y": (-0.07, 0.03), "eye_w": (0.15, 0.013), "eye_h": (0.078, 0.009),
    "slant": (0.0, 0.012), "iris": (0.22, 0.1), "brow_y": (-0.285, 0.022), "brow_w": (0.032, 0.009),
    "brow_arch": (0.03, 0.018), "brow_slope": (0.0, 0.02), "nose_y": (0.24, 0.03), "nose_w": (0.11, 0.015),
    "mouth_y": (0.5, 0.025), "mouth_w": (0.25, 0.022), "mouth_curve": (-0.004, 0.012), "lip": (0.042, 0.011),
    "lip_tone": (0.68, 0.07), "hair": (0.2, 0.16), "hair_line": (-0.57, 0.06), "hair_part": (0.0, 0.25),
    "hair_volume": (0.1, 0.04), "temple": (1.15, 0.25), "curl": (0.008, 0.012),
}  # fmt: skip
PERSON_CHANCES = {
    "long_hair": 0.35, "fringe": 0.22, "bald": 0.1, "glasses": 0.18, "beard": 0.2, "moustache": 0.16,
}  # fmt: skip

# How the photograph was taken, likewise; ``draw_face`` takes the means and none of the chances.
PHOTO = {
    "yaw": (0.0, 0.16), "pitch": (0.0, 0.08), "roll": (0.0, 0.08), "zoom": (1.03, 0.06),
    "shift_x": (0.0, 0.04), "shift_y": (0.03, 0.04), "gaze": (0.0, 0.02), "brow_tilt": (0.0, 0.03),
    "mouth_tilt": (0.0, 0.04), "light_x": (-0.08, 0.16), "light_y": (-0.1, 0.1), "exposure": (1.0, 0.11),
    "contrast": (1.0, 0.16), "background": (0.74, 0.2), "ramp": (0.0, 0.1), "cloth": (0.35, 0.18),
    "blur": (1.3, 0.45), "noise": (0.0, 0.022), "cover_x": (0.0, 0.5), "cover_y": (0.3, 0.4),
}  # fmt: skip
PHOTO_CHANCES = {"covered": 0.06}

_CHUNK = 28  # faces drawn together: few enough that the layers stay in the processor's cache


@dataclass(frozen=True)
class DrawnFaces:
    """Drawn pictures with what they show.

    Attributes:
        images: uint8 ``[N, size, size]``, grey.
        labels: int64 ``[N]``, indices into ``FER2013_CLASSES``.
        subjects: int64 ``[N]``, the number of the person drawn.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    subjects: npt.NDArray[np.int64]


def draw_faces(count: int, *, seed: int, size: int = 48, subjects: int = 200, first_subject: int = 0) -> DrawnFaces:
    """Draw photographs of people who show the seven expressions in turn, one person after the other.

    Picture ``i`` shows expression ``i % 7`` on subject ``first_subject + i // 7 % subjects``. A person
    depends on (seed, subject), a picture on (seed, subject, i) alone, so that ``draw_faces(n)`` begins like
    any longer set, and sets with disjoint subjects share neither people nor noise.

    Args:
        count: number of pictures, at least 1.
        seed: 0 to 2**64 - 1.
        size: height and width in pixels, at least 16.
        subjects: how many people there are, at least 1.
        first_subject: number of the first one, at least 0; numbers stay below 2**32.

    Raises:
        ValueError: an argument lies outside its range.
    """
    _check("count", count, 1, 2**32)
    _check("seed", seed, 0, 2**64)
    _check("size", size, 16, 4096 + 1)
    _check("first_subject", first_subject, 0, 2**32)
    _check("subjects", subjects, 1, 2**32 - first_subject + 1)
    index = np.arange(count)
    labels = index % len(FER2013_CLASSES)
    people = first_subject + index // len(FER2013_CLASSES) % subjects
    images = np.empty((count, size, size), np.uint8)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part] = _photograph(labels[part], people[part], index[part], seed, size)
    return DrawnFaces(images, labels.astype(np.int64), people.astype(np.int64))


def draw_face(
    expression: int, *, subject: int, seed: int, intensity: float = 1.0, size: int = 192
) -> npt.NDArray[np.uint8]:
    """Draw one person with one expression in even light, from the front, without noise: a picture for people.

    Args:
        expression: index into ``FER2013_CLASSES``.
        subject: number of the person, the same one as in ``draw_faces`` under this seed.
        seed: 0 to 2**64 - 1.
        intensity: 0 (at rest) to 1 (full).
        size: height and width in pixels, at least 16.

    Returns:
        uint8 ``[size, size]``, grey.

    Raises:
        ValueError: an argument lies outside its range.
    """
    _check("expression", expression, 0, len(FER2013_CLASSES))
    _check("subject", subject, 0, 2**32)
    _check("seed", seed, 0, 2**64)
    _check("size", size, 16, 4096 + 1)
    if not 0 <= intensity <= 1:
        raise ValueError(f"intensity must be a number from 0 to 1; got {intensity!r}")
    person = _people(np.array([subject]), seed)
    photo = _named(PHOTO, PHOTO_CHANCES, np.zeros((1, len(PHOTO))), np.ones((1, len(PHOTO_CHANCES))))
    units = intensity * _FORMS[[expression], 0]
    light = paint_faces(person, photo, _units(units), size)
    return _to_bytes(light).reshape(size, size)


def person_traits(subject: int, seed: int) -> dict[str, float]:
    """The numbers of `PERSON` and `PERSON_CHANCES` that subject ``subject`` is drawn with under this seed."""
    return {name: float(column[0, 0]) for name, column in vars(_people(np.array([subject]), seed)).items()}


def _check(name: str, value: int, low: int, stop: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value < stop:
        raise ValueError(f"{name} must be an integer from {low} to {stop - 1}; got {value!r}")


def _activations(code: str) -> list[float]:
    """How far a FACS code such as ``"6D+12E"`` moves each of the action units."""
    parts = {int(part[:-1]): "ABCDE".index(part[-1]) + 1 for part in code.split("+") if part}
    return [parts.get(unit, 0) / 5 for unit in ACTION_UNITS]


_FORMS = np.array([[_activations(code) for code in PROTOTYPES[name]] for name in FER2013_CLASSES], np.float32)
_NEIGHBOURS = np.array([[FER2013_CLASSES.index(n) for n in NEIGHBOURS[name]] for name in FER2013_CLASSES])


def _named(table: Mapping, chances: Mapping, z: npt.NDArray, u: npt.NDArray) -> SimpleNamespace:
    """Give each row of normal ``z`` and uniform ``u`` its traits, as columns ``[B, 1]`` by name."""
    values = np.array(list(table.values()))
    columns = (values[:, 0] + values[:, 1] * np.clip(z, -2.2, 2.2)).astype(np.float32)
    flags = (u < np.array(list(chances.values()))).astype(np.float32)
    both = np.concatenate([columns, flags], axis=1)
    return SimpleNamespace(**{name: both[:, k, None] for k, name in enumerate([*table, *chances])})


def _units(values: Array) -> SimpleNamespace:
    return SimpleNamespace(**{name: values[:, k, None] for k, name in enumerate(ACTION_UNITS.values())})


def _stream(seed: int, subject: int, picture: int) -> np.random.Generator:
    """The random numbers of one picture of one subject; picture 0 is the subject in person."""
    return np.random.Generator(np.random.Philox(key=[seed, (int(subject) << 32) + int(picture)]))


def _people(subjects: npt.NDArray, seed: int) -> SimpleNamespace:
    """Who the subjects are; one person's traits never depend on who else is drawn."""
    known, back = np.unique(subjects, return_inverse=True)
    streams = [_stream(seed, subject, 0) for subject in known]
    z = np.stack([stream.standard_normal(len(PERSON)) for stream in streams])[back]
    u = np.stack([stream.random(len(PERSON_CHANCES)) for stream in streams])[back]
    person = _named(PERSON, PERSON_CHANCES, z, u)
    person.hair = np.clip(person.hair, 0.05, person.skin - 0.2)
    # Traits that would hide each other: no beard under long hair, nothing to cut or comb on a bald head.
    short = 1 - person.long_hair
    person.beard, person.moustache = person.beard * short, person.moustache * short
    person.fringe, person.long_hair = (flag * (1 - person.bald) for flag in (person.fringe, person.long_hair))
    return person


def _photograph(
    labels: npt.NDArray, subjects: npt.NDArray, index: npt.NDArray, seed: int, size: int
) -> npt.NDArray[np.uint8]:
    streams = [_stream(seed, subject, 1 + i) for subject, i in zip(subjects, index, strict=True)]
    z = np.stack([stream.standard_normal(len(PHOTO)) for stream in streams])
    u = np.stack([stream.random(len(PHOTO_CHANCES)) for stream in streams])
    photo = _named(PHOTO, PHOTO_CHANCES, z, u)
    act = np.stack([stream.random(6 + len(ACTION_UNITS)) for stream in streams]).astype(np.float32)
    light = paint_faces(_people(subjects, seed), photo, _units(_expressions(labels, act)), size)
    grain = np.stack([stream.standard_normal(size * size, dtype=np.float32) for stream in streams])
    grain *= np.abs(photo.noise)
    return _to_bytes(light + grain).reshape(-1, size, size)


def _expressions(labels: npt.NDArray, u: Array) -> Array:
    """Action units ``[B, A]`` of the labels' expressions, from uniform numbers ``[B, 6 + A]``.

    Most are plain; some are weak, and some are blended with a neighbour, which is what makes the task hard.
    """
    form = np.clip(1.6 * u[:, :1] - 0.3, 0, 1)  # a good third are one form or the other, pure
    other_form = u[:, 1:2]
    other = _NEIGHBOURS[labels, (u[:, 2] < 0.4).astype(int)]
    main = _FORMS[labels, 0] * form + _FORMS[labels, 1] * (1 - form)
    blend = _FORMS[other, 0] * other_form + _FORMS[other, 1] * (1 - other_form)
    share = 0.5 * np.clip(u[:, 3:4] - 0.6, 0, None) / 0.4
    strength = 0.4 + 0.7 * u[:, 4:5] ** 0.6
    own = 0.75 + 0.5 * u[:, 6:]
    # A little of what does not belong: nobody's face rests quite still.
    stray = 0.25 * u[:, 5:6] * (u[:, 6:] < 0.12)
    return np.clip(strength * own * (main * (1 - share) + blend * share) + stray, 0, 1.15).astype(np.float32)


def _to_bytes(light: Array) -> npt.NDArray[np.uint8]:
    return np.rint(np.clip(light, 0, 1) * 255).astype(np.uint8)
