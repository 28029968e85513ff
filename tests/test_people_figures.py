"""Figures about people: best first, the worst named, and whatever names and numbers there are."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from test_figures import texts

from Visualization.people import inflation_figure, person_accuracy_figure
from Visualization.saving import save_figure
from Visualization.style import BLUE, ORANGE

ODD = ("Überraschung_$x$ 100% {\\a}", "$1 of $2", "a_b^c", "  two\nlines  ", "100%")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@dataclass(frozen=True)
class Row:
    """One network under two protocols."""

    name: str = "a network"
    images: int = 1234
    persons: int = 56
    apart: float = 0.602
    apart_interval: tuple[float, float] = (0.55, 0.65)
    mixed: float = 0.953
    mixed_interval: tuple[float, float] = (0.93, 0.97)
    difference: float = 0.351
    difference_interval: tuple[float, float] = (0.3, 0.4)


def some(count: int, images: int = 10) -> list[tuple[str, int, int]]:
    random = np.random.default_rng(0)
    return [(f"S{number:03d}", int(random.integers(0, images + 1)), images) for number in range(count)]


def assert_within(figure: Figure) -> None:
    """All that is drawn lies in the picture."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    assert box.x0 >= -0.05 and box.x1 <= figure.get_figwidth() + 0.05
    assert box.y0 >= -0.05 and box.y1 <= figure.get_figheight() + 0.05


def ticks(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


# ------------------------------------------------------------------------------------------------ each person


def test_each_person_has_a_name_a_bar_and_numbers():
    figure = person_accuracy_figure([("KA", 20, 23), ("YM", 1, 22), ("NA", 21, 21)], "run 7", "93% of 66 images")
    shown = texts(figure)
    for expected in ("KA", "YM", "NA", "87%  (20 of 23)", "5%  (1 of 22)", "100%  (21 of 21)", "run 7"):
        assert expected in shown
    assert "93% of 66 images" in shown and "images of this person classified rightly; dashed: all images" in shown
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([100, 100 * 20 / 23, 100 / 22])
    (line,) = figure.axes[0].lines
    assert line.get_xdata()[0] == pytest.approx(100 * 42 / 66)  # of all images, not of all persons


def test_persons_stand_best_first_from_the_top():
    persons = [("b", 5, 10), ("a", 5, 10), ("few", 1, 2), ("worst", 0, 9), ("best", 9, 9), ("many", 10, 20)]
    figure = person_accuracy_figure(persons, "t")
    # of equal shares, that over more images first, then by name
    assert ticks(figure) == ["best", "many", "a", "b", "few", "worst"]
    assert figure.axes[0].yaxis_inverted()
    heights = [bar.get_y() for bar in figure.axes[0].patches]
    assert heights == sorted(heights)
    numbers = [text.get_text() for text in figure.axes[0].texts if " of " in text.get_text()]
    assert numbers[:2] == ["100%  (9 of 9)", "50%  (10 of 20)"] and numbers[-1] == "0%  (0 of 9)"


@pytest.mark.parametrize("count", [1, 2, 40])
def test_up_to_forty_persons_are_all_named(count):
    persons = some(count)
    figure = person_accuracy_figure(persons, "t")
    assert sorted(ticks(figure)) == [name for name, _, _ in persons]
    assert len(figure.axes[0].patches) == count
    assert_within(figure)


@pytest.mark.parametrize("count", [41, 200])
def test_of_more_than_forty_persons_the_worst_five_are_named(count):
    persons = some(count, images=97)
    figure = person_accuracy_figure(persons, "t", "s")
    (label,) = [text for text in texts(figure) if text.startswith(f"the {count} persons, best first; ")]
    numbers = {name: right for name, right, _ in persons}
    whole = sum(right == images for _, right, images in persons)
    assert label.splitlines()[0].endswith(f"; {whole} of them without an error")
    worst = " ".join(label.splitlines()[1:]).removeprefix("worst: ")
    named = [words.split() for words in worst.split(", ")]
    assert [int(right) for _, right, _, _ in named] == sorted(numbers.values())[:5]
    assert all((int(right), of, images) == (numbers[name], "of", "97") for name, right, of, images in named)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert len(heights) == count and heights == sorted(heights, reverse=True)
    mean = sum(right for _, right, _ in persons) / (97 * count)
    assert any("all images" in text and f"{100 * mean:.1f}%" in text for text in texts(figure))
    assert len({words[0] for words in named}) == 5 and not set(ticks(figure)) & set(numbers)
    assert_within(figure)


def test_nobody_is_refused():
    with pytest.raises(ValueError, match="an accuracy of nobody"):
        person_accuracy_figure([], "t")


@pytest.mark.parametrize("count", [3, 60])
@pytest.mark.parametrize("right", [0, 7])
def test_all_alike(count, right):
    figure = person_accuracy_figure([(f"p{i}", right, 7) for i in range(count)], "t")
    assert not any("nan" in text for text in texts(figure))
    assert_within(figure)


@pytest.mark.parametrize("count", [3, 60])
def test_very_long_names_are_shortened_and_stay_within_the_picture(count):
    persons = [(f"{i} {'w' * 100} {i}", i, 2 * count) for i in range(count)]
    figure = person_accuracy_figure(persons, "x" * 150, "y " * 90)
    words = " ".join(texts(figure))
    assert "…" in words and "w" * 20 not in words
    assert_within(figure)
    axes = figure.axes[0].get_position()
    assert axes.width * axes.height > 0.1


def test_the_worst_of_many_drawn_persons_fit_under_the_columns():
    assert_within(person_accuracy_figure([(f"person{i:05d}", i, 100) for i in range(60)], "t", "s"))


@pytest.mark.parametrize("rest", [0, 60])
def test_odd_names_stand_as_they_are_written(rest, tmp_path: Path):
    persons = [(name, 0, 9) for name in ODD] + [(f"S{i}", 5, 9) for i in range(rest)]
    figure = person_accuracy_figure(persons, ODD[0], ODD[1])
    words = " ".join(texts(figure)).replace("\\$", "$")
    for name in ("$1 of $2", "a_b^c", "two lines", "100%"):
        assert name in words
    save_figure(figure, tmp_path / "x.png")  # mathematics that makes no sense would be an error here
    with Image.open(tmp_path / "x.png") as image:
        assert image.width == 1200


# ------------------------------------------------------------------------------------------------ two protocols


def test_comparison_says_both_shares_and_their_difference():
    figure = inflation_figure([Row()], "jaffe")
    shown = texts(figure)
    for expected in (
        "a network",
        "60.2",
        "95.3",
        "+35.1 points",
        "other people in train and test",
        "same people in train and test",
        "What knowing the people is worth",
        "jaffe, 1,234 images of 56 persons; every image judged once",
        "images classified rightly (bar: 95% interval, drawing whole persons)",
    ):
        assert expected in shown
    assert "a title" in texts(inflation_figure([Row()], "jaffe", "a title"))


def test_points_and_bars_stand_where_the_numbers_say():
    rows = [Row(), Row("other", apart=0.5, mixed=0.4, difference=-0.1, apart_interval=(0.41, 0.59))]
    figure = inflation_figure(rows, "ck")
    assert "-10.0 points" in texts(figure) or "−10.0 points" in texts(figure)
    for place, row in enumerate(rows):
        for share, interval, colour in ((row.apart, row.apart_interval, BLUE), (row.mixed, row.mixed_interval, ORANGE)):
            own = [line for line in figure.axes[0].lines if line.get_color() == colour and place in line.get_ydata()]
            points = [line.get_xdata() for line in own]
            assert [x for x in points if len(x) == 1][0] == pytest.approx([100 * share])
            assert [x for x in points if len(x) == 2][0] == pytest.approx([100 * bound for bound in interval])
    assert ticks(figure) == ["a network", "other"] and figure.axes[0].yaxis_inverted()
    low, high = figure.axes[0].get_xlim()
    assert low < 41 and high > 97


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("name", ["net", "timm:vit_tiny_patch16_224, from imagenet", "w" * 90], ids=len)
def test_comparison_of_any_number_of_networks_stays_within_the_picture(count, name):
    figure = inflation_figure([Row(f"{name}{i}") for i in range(count)], "a data set of a very long name " * 5)
    assert_within(figure)
    assert figure.axes[0].get_window_extent().width / figure.dpi > 2.5
    assert any(f"{count - 1}" in tick for tick in ticks(figure))


@pytest.mark.parametrize(("apart", "mixed"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.0)])
def test_comparison_at_the_ends_of_the_scale(apart, mixed):
    row = Row(
        apart=apart, mixed=mixed, apart_interval=(apart,) * 2, mixed_interval=(mixed,) * 2, difference=mixed - apart
    )
    figure = inflation_figure([row], "set")
    assert not any("nan" in text for text in texts(figure))
    low, high = figure.axes[0].get_xlim()
    assert low <= 100 * min(apart, mixed) and high >= 100 * max(apart, mixed)
    assert_within(figure)


def test_odd_names_of_networks_and_sets(tmp_path: Path):
    figure = inflation_figure([Row(name) for name in ODD], "100% $x$", "a $title$ of 5%")
    words = " ".join(texts(figure)).replace("\\$", "$")
    for name in ("$1 of $2", "a_b^c", "two lines", "100% $x$", "a $title$ of 5%"):
        assert name in words
    save_figure(figure, tmp_path / "x.png")


def test_a_comparison_of_nothing_is_refused():
    with pytest.raises(ValueError, match="a comparison of nothing"):
        inflation_figure([], "set")


def test_the_same_figure_is_saved_as_the_same_bytes(tmp_path: Path):
    for name in ("a.png", "b.png"):
        save_figure(person_accuracy_figure(some(12), "t", "s"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
