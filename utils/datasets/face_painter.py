"""Paints batches of grey faces from numbers that say whose they are, what they do, how they are lit."""

from types import SimpleNamespace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


def paint_faces(person: SimpleNamespace, photo: SimpleNamespace, au: SimpleNamespace, size: int) -> Array:
    """Paint a batch of faces, each a person making a face in front of a camera.

    Shapes are signed distances to their edges, which gives soft edges at any size; the face is symmetrical,
    so that one stroke at ``|x|`` draws both sides. No picture depends on the others of its batch.

    Args:
        person: float32 columns ``[B, 1]`` by the names in ``drawn_faces.PERSON`` and ``PERSON_CHANCES``.
        photo: the same for ``PHOTO`` and ``PHOTO_CHANCES``.
        au: the same for ``ACTION_UNITS``, about 0 to 1.
        size: height and width in pixels.

    Returns:
        float32 ``[B, size * size]``: light, about 0 (black) to 1 (white).
    """
    u, v, flat, face = _place(photo, size)
    image = flat.image
    skull = _hair_outline(flat, person)
    inside = _draw_head(flat, skull, person, photo, au)
    behind = image.copy()
    if (person.beard + person.moustache).any():
        _draw_beard(face.rows(0.3, 1), person)
    _draw_folds(face, person, au)
    _draw_eyes(face.rows(0.22, 0.75), person, photo, au)
    _draw_brows(face.rows(0.1, 0.6), person, photo, au)
    _draw_nose(face.rows(0.3, 0.85), person, au)
    _draw_mouth(face.rows(0.5, 1), person, photo, au)
    image -= behind
    image *= inside
    image += behind  # what a turned head carries past its edge is out of sight
    _draw_hair(face, flat, skull, person)
    if person.glasses.any():
        _draw_glasses(face.rows(0.22, 0.75), person)
    if photo.covered.any():
        _cover_up(flat, photo)
    image *= 1 + photo.light_x * u + photo.light_y * v
    return ((image - 0.5) * photo.contrast + 0.5) * photo.exposure


def _place(photo: SimpleNamespace, size: int) -> tuple[Array, Array, "_Canvas", "_Canvas"]:
    """Picture coordinates ``u, v`` from -1 to 1, and the empty picture in head and in face coordinates."""
    ticks = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1).astype(np.float32)
    u, v = (grid.reshape(1, -1) for grid in np.meshgrid(ticks, ticks))
    cos, sin = np.cos(photo.roll) / photo.zoom, np.sin(photo.roll) / photo.zoom
    x = (u - photo.shift_x) * cos + (v - photo.shift_y) * sin
    y = (v - photo.shift_y) * cos - (u - photo.shift_x) * sin
    # The face turns on a ball: sin(a - b) = sin a cos b - cos a sin b, with the picture's x and y as sines.
    sx, sy = np.clip(x, -1, 1), np.clip(y, -1, 1)
    turned_x = x * np.cos(photo.yaw) - np.sqrt(1 - sx * sx) * np.sin(photo.yaw)
    turned_y = y * np.cos(photo.pitch) - np.sqrt(1 - sy * sy) * np.sin(photo.pitch)
    sharp = size / (2 * np.clip(photo.blur, 0.9, None))  # an edge is `blur` pixels wide
    image = photo.background + photo.ramp * u + 0 * v
    return u, v, _Canvas(image, x, y, sharp, size), _Canvas(image, turned_x, turned_y, sharp, size)


class _Canvas:
    """A batch of pictures ``[B, P]`` under the brush, with face coordinates ``x, y`` of every pixel."""

    def __init__(self, image: Array, x: Array, y: Array, sharp: Array, size: int):
        self.image, self.x, self.y, self.sharp, self.size = image, x, y, sharp, size
        self.ax = np.abs(x)

    def rows(self, top: float, bottom: float) -> "_Canvas":
        """The same canvas between two heights (0 to 1), where the rest cannot be reached: saves time."""
        part = np.s_[:, round(top * self.size) * self.size : round(bottom * self.size) * self.size]
        return _Canvas(self.image[part], self.x[part], self.y[part], self.sharp, self.size)

    def cover(self, distance: Array) -> Array:
        """Share of each pixel inside a shape, from the signed distance to its edge (negative inside)."""
        share = distance * -self.sharp
        share += 0.5
        return np.clip(share, 0, 1, out=share)

    def paint(self, share: Array, tone: Array | float) -> None:
        self.image += share * (tone - self.image)

    def stroke(self, distance: Array, width: Array | float, tone: Array | float, strength: Array | float = 1.0) -> None:
        """Paint a line where ``distance`` to it is below ``width``."""
        share = self.cover(distance - width)
        share *= strength
        self.paint(share, tone)


def _hypot(a: Array, b: Array) -> Array:
    return np.sqrt(a * a + b * b)


def _hair_outline(canvas: _Canvas, person: SimpleNamespace) -> Array:
    """Distance to an egg around the skull, drawn out downwards where the hair is long."""
    y = canvas.y + 0.12
    y = np.minimum(y, 0) + np.maximum(y - 0.75 * person.long_hair, 0)
    across = canvas.x / (person.head_w + person.hair_volume * 0.35)
    egg = (_hypot(across, y / (person.head_h - 0.12 + person.hair_volume)) - 1) * 0.7
    return egg + np.clip(person.curl, 0, None) * np.sin(17 * canvas.x) * np.cos(17 * canvas.y)


def _draw_head(
    canvas: _Canvas, skull: Array, person: SimpleNamespace, photo: SimpleNamespace, au: SimpleNamespace
) -> Array:
    """Hair behind, shoulders, neck, ears and the shaded head; returns the head's share of each pixel."""
    x, y, ax = canvas.x, canvas.y, canvas.ax
    canvas.stroke(skull, 0.0, person.hair * 0.8, person.long_hair)
    low = canvas.rows(0.7, 1)
    low.paint(low.cover(low.ax - 0.62 * person.head_w), person.skin * 0.72)
    low.paint(low.cover(1.02 + 0.1 * low.ax * low.ax - low.y - 0.25 * np.minimum(low.ax, 0.4)), photo.cloth)
    ear = _hypot((ax - person.head_w * 0.98) / 0.085, (y - 0.03) / 0.17) - 1
    canvas.paint(canvas.cover(ear * 0.1), person.skin * 0.84)
    height = np.where(y > 0, person.head_h + 0.07 * au.jaw_drop, person.head_h)
    down = np.clip(y / person.head_h, 0, 1)
    radius = _hypot(x / (person.head_w * (1 - person.taper * down * down)), y / height)
    inside = canvas.cover((radius - 1) * 0.7)
    depth = np.sqrt(np.clip(1.15 - radius * radius, 0.02, None))
    canvas.paint(inside, person.skin * (0.72 + 0.3 * depth + 0.25 * photo.light_x * x))
    return inside


def _draw_beard(canvas: _Canvas, person: SimpleNamespace) -> None:
    bare = _hypot(canvas.x / 0.5, (canvas.y - 0.02) / 0.42)
    edge = np.clip((bare - 1) * 6, 0, 1) * np.clip((canvas.y + 0.02) * 8, 0, 1)
    canvas.paint(edge * (0.75 * person.beard), person.hair)
    lip = _hypot(canvas.x / 0.24, (canvas.y - person.nose_y - 0.135 - 0.6 * canvas.x * canvas.x) / 0.05) - 1
    canvas.stroke(lip * 0.06, 0.0, person.hair, 0.85 * np.maximum(person.beard, person.moustache))


def _draw_folds(canvas: _Canvas, person: SimpleNamespace, au: SimpleNamespace) -> None:
    """The creases that the skin is pushed into: forehead, between the brows, beside nose and mouth, chin."""
    line = person.skin * 0.62
    top = canvas.rows(0.05, 0.62)
    for height in (0.19, 0.27):
        arc = top.y - person.brow_y + height + 0.07 * au.inner_brow - 0.35 * top.x * top.x
        reach = 0.16 + 0.14 * au.outer_brow
        wrinkle = np.maximum(np.abs(arc), top.ax - reach)
        top.stroke(wrinkle, 0.008, line, 0.55 * np.maximum(au.inner_brow, au.outer_brow))
    down = top.y - person.brow_y
    frown = np.maximum(np.abs(top.ax - 0.045 + 0.1 * down), np.abs(down - 0.03) - 0.08)
    top.stroke(frown, 0.009, line, 0.75 * np.clip(au.brow_lower + 0.3 * au.nose_wrinkle, 0, 1))
    low = canvas.rows(0.3, 1)
    start, end = person.nose_y - 0.1, person.mouth_y + 0.04 - 0.06 * au.smile
    along = (low.y - start) / (end - start)
    bulge = person.nose_w + 0.03 + (0.15 + 0.09 * au.smile) * along * (1.6 - 0.6 * along)
    fold = np.maximum(np.abs(low.ax - bulge) * 0.8, np.abs(along - 0.5) * 0.4 - 0.2)
    depth = np.clip(0.12 + 0.55 * au.smile + 0.6 * au.lip_raise + 0.4 * au.nose_wrinkle, 0, 0.8)
    low.stroke(fold, 0.012, line, depth)
    cheek = _hypot((low.ax - 0.37) / 0.15, (low.y - 0.2 + 0.03 * au.cheek_raise) / 0.11)
    low.paint(np.clip(1 - cheek, 0, 1) * (0.6 * au.cheek_raise), person.skin * 1.25)
    chin = np.maximum(np.abs(low.y - person.mouth_y - 0.15 + 1.2 * low.x * low.x), low.ax - 0.13)
    low.stroke(chin, 0.012, line, 0.2 + 0.6 * np.clip(au.chin_raise, 0, 1))


def _draw_eyes(canvas: _Canvas, person: SimpleNamespace, photo: SimpleNamespace, au: SimpleNamespace) -> None:
    across = (canvas.ax - person.eye_x) / person.eye_w
    y = canvas.y - person.eye_y + (person.slant - 0.02 * au.lid_droop) * across
    bow = 1 - across * across
    squint = 0.3 * au.lid_tight + 0.2 * au.cheek_raise + 0.3 * au.nose_wrinkle
    raised = 1 + 0.75 * au.lid_raise - 0.45 * au.lid_droop - squint
    upper = -person.eye_h * np.clip(raised, 0.25, 1.6) * bow
    pushed = 0.45 * au.lid_tight + 0.65 * au.cheek_raise + 0.2 * au.nose_wrinkle
    lower = person.eye_h * np.clip(0.7 + 0.15 * au.lid_raise - pushed, 0.08, None) * bow
    opening = canvas.cover(np.maximum(upper - y, y - lower) * 0.8)
    canvas.paint(opening, np.minimum(person.skin + 0.32, 0.97))
    side = np.sign(canvas.x)
    center = canvas.ax - person.eye_x - photo.gaze * side
    iris = _hypot(center, y + 0.01)
    canvas.paint(opening * canvas.cover(iris - 0.078), person.iris)
    canvas.paint(opening * canvas.cover(iris - 0.038), 0.04)
    glint = _hypot(center + 0.025 * side, y + 0.037)
    canvas.paint(opening * canvas.cover(glint - 0.016), 0.95)
    ends = (np.abs(across) - 1.06) * person.eye_w
    canvas.stroke(np.maximum(np.abs(y - upper), ends), 0.015, 0.1)
    canvas.stroke(np.maximum(np.abs(y - lower), ends), 0.006, person.skin * 0.5, 0.7)
    canvas.stroke(np.maximum(np.abs(y - upper + 0.045), ends), 0.006, person.skin * 0.6, 0.6)
    bag = np.maximum(np.abs(y - person.eye_h * 0.75 * bow - 0.035), ends)
    canvas.stroke(bag, 0.007, person.skin * 0.65, 0.15 + 0.55 * np.clip(au.cheek_raise + au.lid_tight, 0, 1))


def _draw_brows(canvas: _Canvas, person: SimpleNamespace, photo: SimpleNamespace, au: SimpleNamespace) -> None:
    inner = 0.135 - 0.045 * au.brow_lower
    length = person.eye_x + person.eye_w + 0.035 - inner
    along = np.clip((canvas.ax - inner) / length, 0, 1)
    # With the inner brow raised, AU 4 draws the brows together more than down: the slant of grief and fear.
    down = np.clip(au.brow_lower + 0.5 * au.nose_wrinkle, 0, 1.2) * (1 - 0.75 * np.clip(au.inner_brow, 0, 1))
    rise_inner = 0.13 * au.inner_brow - 0.13 * down
    rise_outer = 0.12 * au.outer_brow - 0.015 * down + person.brow_slope
    arch = 4 * (person.brow_arch + 0.02 * au.outer_brow) * along * (1 - along)
    height = person.brow_y - rise_inner - (rise_outer - rise_inner) * along - arch + photo.brow_tilt * canvas.x
    distance = _hypot(canvas.ax - inner - along * length, canvas.y - height)
    tone = np.minimum(person.hair, person.skin * 0.6) * 0.85
    canvas.stroke(distance, person.brow_w * (1.1 - 0.7 * along), tone)


def _draw_nose(canvas: _Canvas, person: SimpleNamespace, au: SimpleNamespace) -> None:
    x, ax, tip = canvas.x, canvas.ax, person.nose_y - 0.035 * au.nose_wrinkle - 0.01 * au.lip_raise
    y = canvas.y - tip
    side = np.maximum(np.abs(ax - 0.055 - 0.03 * (y + 0.3)), np.abs(y + 0.17) - 0.14)
    canvas.stroke(side * 0.4, 0.004, person.skin * 0.8, 0.45)
    canvas.paint(np.clip(1 - _hypot(x / 0.08, (y + 0.05) / 0.09), 0, 1) * 0.5, np.minimum(person.skin * 1.35, 1.0))
    wing = person.nose_w * (1 + 0.15 * au.nose_wrinkle)
    flare = np.maximum(np.abs(_hypot((ax - wing + 0.045) / 0.05, (y + 0.01) / 0.055) - 1) * 0.05, wing - 0.05 - ax)
    canvas.stroke(flare, 0.009, person.skin * 0.55, 0.8)
    nostril = _hypot((ax - wing * 0.5) / 0.032, (y - 0.028 - 0.1 * ax) / 0.018) - 1
    canvas.stroke(nostril * 0.022, 0.0, person.skin * 0.25, 0.9)
    for height in (0.22, 0.29):
        wrinkle = np.maximum(np.abs(y + height - 0.5 * ax), ax - 0.1)
        canvas.stroke(wrinkle, 0.01, person.skin * 0.5, np.clip(au.nose_wrinkle, 0, 1) * 0.9)


def _draw_mouth(canvas: _Canvas, person: SimpleNamespace, photo: SimpleNamespace, au: SimpleNamespace) -> None:
    width = person.mouth_w * (
        1 + 0.3 * au.smile + 0.25 * au.lip_stretch - 0.1 * au.lip_tight - 0.28 * au.jaw_drop * (1 - au.smile)
    )
    across = canvas.x / width
    square = across * across
    bow = 1 - square
    curve = person.mouth_curve - 0.15 * au.smile + 0.11 * au.frown + 0.03 * au.lip_stretch
    y = canvas.y - person.mouth_y - photo.mouth_tilt * canvas.x - curve * (square - 0.45)
    y = y + 0.025 * au.chin_raise + 0.03 * au.lip_raise
    parted = au.lips_part * (0.02 + 0.03 * au.smile + 0.02 * au.lip_stretch)
    boxy = bow * (1 + np.clip(au.lip_stretch + au.smile + au.lip_raise, 0, 1) * square)
    lifted = 0.08 * au.jaw_drop * (1 - 0.7 * np.clip(au.smile, 0, 1))
    lifted = lifted + 0.045 * au.lip_raise * (0.3 + au.lips_part)
    upper = -(parted * 0.5 + lifted) * boxy
    lower = (parted + 0.17 * au.jaw_drop) * boxy
    thin = 1 - 0.7 * np.clip(au.lip_tight, 0, 1)
    cupid = 0.85 + 0.5 * np.clip(np.abs(across) * 3, 0, 1)
    lips = np.maximum(upper - person.lip * thin * 0.75 * bow * cupid - y, y - lower - person.lip * thin * 1.15 * bow)
    canvas.paint(canvas.cover(lips * 0.9), person.skin * person.lip_tone)
    opening = np.maximum(upper - y, y - lower)
    canvas.paint(canvas.cover(np.maximum(opening - 0.009, canvas.ax - width)), person.skin * 0.22)
    hole = canvas.cover(opening)
    teeth = np.clip(au.smile + au.lip_raise + 0.6 * au.lip_stretch, 0, 1) * 0.075 + 0.02
    canvas.paint(hole * canvas.cover(y - upper - teeth * boxy), 0.93)
    tongue = _hypot(canvas.x / (width * 0.6), (y - lower) / 0.09) - 1
    canvas.paint(hole * canvas.cover(tongue * 0.1) * 0.6, person.skin * 0.65)
    corner = _hypot(canvas.ax - width, y)
    canvas.stroke(corner, 0.012 + 0.008 * au.smile, person.skin * 0.5, 0.6)


def _draw_hair(face: _Canvas, flat: _Canvas, skull: Array, person: SimpleNamespace) -> None:
    """The hair over the forehead: inside the skull's outline and above the hair line."""
    x = face.x
    line = person.hair_line + person.hair_part * 0.3 * x + person.temple * x * x
    fringe = -0.42 + 0.35 * x * x + person.hair_part * 0.15 * x
    line = line + person.fringe * (fringe - line)
    edge = np.maximum(skull, np.maximum((face.y - line) * 0.8, flat.y - 0.05 - 0.9 * person.long_hair))
    strands = person.hair * (0.98 + 0.05 * np.sin(40 * x / (1.4 + face.y)) + 0.2 * np.cos(6 * face.y + 3.6))
    flat.paint(flat.cover(edge) * (1 - person.bald), strands)


def _draw_glasses(canvas: _Canvas, person: SimpleNamespace) -> None:
    left, drop = canvas.ax - person.eye_x, canvas.y - person.eye_y
    rim, end = 0.215, person.head_w - person.eye_x
    # A rim is a superellipse of degree 4, between a circle and a square.
    ring = np.abs(np.sqrt(_hypot(np.square(left / rim), np.square((drop - 0.015) / 0.175))) - 1) * 0.19
    bridge = np.maximum(np.abs(drop + 0.03 - np.square(canvas.x)), left + rim)
    arm = np.maximum(np.abs(drop + 0.03), np.maximum(rim - left, left - end))
    canvas.stroke(np.minimum(np.minimum(ring, bridge), arm), 0.014, 0.12, person.glasses * 0.9)


def _cover_up(canvas: _Canvas, photo: SimpleNamespace) -> None:
    """Now and then something is in the way: a hand, a microphone, an edge."""
    blob = _hypot((canvas.x - photo.cover_x) / 0.28, (canvas.y - photo.cover_y) / 0.24) - 1
    canvas.stroke(blob * 0.25, 0.0, photo.cloth, photo.covered)
