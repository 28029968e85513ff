"""Augmentation against Pillow and written-out arithmetic; draws that belong to (seed, epoch, sample) alone."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from utils.augment import (
    VIEWS,
    Affine,
    _drawn_affine,
    apply_affine,
    size_in_epoch,
    training_batch,
    view_batch,
)
from utils.config import Config
from utils.normalizing import normalized
from utils.randomness import coarse_uniforms, shuffled, stream_seed, uniforms

RANDOM = np.random.default_rng(0)
# Smooth pictures: where two programs round a coordinate differently, the pixels hardly differ.
NOISE = RANDOM.integers(0, 256, (6, 48, 48)).astype(float)
SMOOTH = np.stack([ndimage.gaussian_filter(image, 3) for image in NOISE])
SMOOTH = ((SMOOTH - SMOOTH.min()) / (SMOOTH.max() - SMOOTH.min()) * 255).astype(np.uint8)
SHARP = torch.from_numpy(NOISE.astype(np.uint8))
FACES = torch.from_numpy(SMOOTH)
CLASSIC = Config(image_size=96, in_channels=1, augment="classic")
FAST = dataclasses.replace(CLASSIC, augment="fast", rotation=15.0, shift=0.1, scale=0.1)


def affine(flip=1.0, angle=0.0, scale=1.0, shift_x=0.0, shift_y=0.0, count=1) -> Affine:
    return Affine(*(torch.full((count,), float(value)) for value in (flip, angle, scale, shift_x, shift_y)))


def moved(image: np.ndarray, **transform) -> np.ndarray:
    """``image`` float [H, W] under one transform."""
    return apply_affine(torch.from_numpy(image).float()[None, None], affine(**transform))[0, 0].numpy()


def pil_rotated(image: np.ndarray, angle: float) -> np.ndarray:
    return np.asarray(Image.fromarray(image.astype(np.float32)).rotate(angle, Image.Resampling.BILINEAR))


def bilinear(image: np.ndarray, size: int) -> np.ndarray:
    """Resize float [H, W] with pixel centres at one half, by hand: no antialiasing, edges repeated."""
    for axis in (0, 1):
        length = image.shape[axis]
        where = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(where).astype(int)
        share = (where - low).reshape([-1, 1] if axis == 0 else [1, -1])
        high = np.minimum(low + 1, length - 1)
        image = np.take(image, low, axis) * (1 - share) + np.take(image, high, axis) * share
    return image


def disc(side: int, margin: float) -> np.ndarray:
    """Pixels so near the centre that a rotation brings in nothing from outside."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.hypot(x, y) < side / 2 - margin


# ------------------------------------------------------------------------------------------------ one transform


def test_nothing_to_do_changes_nothing():
    np.testing.assert_allclose(moved(NOISE[0]), NOISE[0], atol=5e-3)


def test_flip_is_a_mirror():
    np.testing.assert_allclose(moved(NOISE[0], flip=-1), NOISE[0][:, ::-1], atol=5e-3)


@pytest.mark.parametrize(("shift_x", "shift_y"), [(3, 0), (0, 5), (-4, 7)])
def test_a_shift_moves_right_and_down_and_fills_with_zeros(shift_x, shift_y):
    expected = np.roll(NOISE[0], (shift_y, shift_x), axis=(0, 1))
    expected[: max(shift_y, 0)] = 0
    expected[:, : max(shift_x, 0)] = 0
    if shift_x < 0:
        expected[:, shift_x:] = 0
    got = moved(NOISE[0], shift_x=shift_x / 48, shift_y=shift_y / 48)
    np.testing.assert_allclose(got, expected, atol=5e-3)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact_and_counter_clockwise(turns):
    np.testing.assert_allclose(moved(NOISE[0], angle=90 * turns), np.rot90(NOISE[0], turns), atol=2e-2)


@pytest.mark.parametrize("angle", [30, -30, 7.5, 44])
def test_rotation_agrees_with_pillow(angle):
    inner = disc(48, 2)
    np.testing.assert_allclose(moved(NOISE[0], angle=angle)[inner], pil_rotated(NOISE[0], angle)[inner], atol=0.1)


def test_rotation_fills_the_corners_with_zeros():
    white = np.full((48, 48), 255.0)
    got = moved(white, angle=30)
    assert (got[[0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
    outside = ndimage.binary_erosion(pil_rotated(white, 30) == 0, iterations=2, border_value=1)
    assert outside.any() and (got[outside] == 0).all()


def test_scale_enlarges_about_the_centre():
    got = moved(NOISE[0], scale=2)
    expected = bilinear(NOISE[0], 96)[24:72, 24:72]
    np.testing.assert_allclose(got, expected, atol=2e-2)
    small = moved(NOISE[0], scale=0.5)
    np.testing.assert_allclose(small[12:36, 12:36], NOISE[0].reshape(24, 2, 24, 2).mean((1, 3)), atol=2e-2)
    border = small.copy()
    border[11:37, 11:37] = 0
    assert (border == 0).all()


def test_mirror_first_then_rotate_scale_and_shift():
    got = moved(SMOOTH[0].astype(float), flip=-1, angle=20, scale=1.25, shift_x=5 / 48, shift_y=-3 / 48)
    rotated = pil_rotated(SMOOTH[0][:, ::-1].astype(float), 20)
    enlarged = bilinear(rotated, 60)[6:54, 6:54]
    expected = np.roll(enlarged, (-3, 5), axis=(0, 1))
    inner = disc(48, 10)
    assert np.abs(got - expected)[inner].max() < 6 and np.abs(got - expected)[inner].mean() < 1


def test_each_image_of_a_batch_has_its_own_transform():
    pixels = torch.from_numpy(NOISE).float()[:, None]
    random = np.random.default_rng(1)
    many = Affine(*(torch.from_numpy(random.uniform(low, high, 6)).float() for low, high in [(1, 1), (-30, 30)]
                    + [(0.8, 1.2)] + [(-0.1, 0.1)] * 2))  # fmt: skip
    together = apply_affine(pixels, many)
    for index in range(6):
        alone = Affine(*(getattr(many, field.name)[index : index + 1] for field in dataclasses.fields(Affine)))
        torch.testing.assert_close(together[index : index + 1], apply_affine(pixels[index : index + 1], alone))


# ------------------------------------------------------------------------------------------------ the two orders


def drawn(config: Config, samples: torch.Tensor, epoch: int) -> Affine:
    return _drawn_affine(uniforms(config.seed, epoch, samples, 10), config)


def test_classic_order_is_resize_then_flip_and_rotate_with_zeros():
    config = dataclasses.replace(CLASSIC, image_size=224)
    samples = torch.arange(20, 26)
    batch = training_batch(SHARP, samples, 3, config)
    transform = drawn(config, samples, 3)
    assert batch.shape == (6, 1, 224, 224) and batch.dtype == torch.float32
    assert set(transform.flip.tolist()) == {-1.0, 1.0} and transform.angle.abs().max() > 10
    for index in range(6):
        angle = float(transform.angle[index])
        large = bilinear(NOISE[index] / 255, 224)
        expected = pil_rotated(large[:, ::-1] if transform.flip[index] < 0 else large, angle)
        outside = pil_rotated(np.ones((224, 224)), angle) < 1
        # the two programs blend the border with the zeros differently; on either side of it they agree
        seam = ndimage.binary_dilation(outside, iterations=2)
        seam[:2] = seam[-2:] = seam[:, :2] = seam[:, -2:] = True
        seam &= ~ndimage.binary_erosion(outside, iterations=2)
        assert seam.mean() < 0.1
        np.testing.assert_allclose(batch[index, 0].numpy()[~seam], expected[~seam], atol=2e-3)
        assert abs(angle) < 2 or (batch[index] == 0).float().mean() > 0.005


def test_fast_order_is_transform_at_native_size_then_resize():
    samples = torch.arange(6)
    batch = training_batch(SHARP, samples, 5, FAST)
    native = apply_affine(SHARP[:, None].float() / 255, drawn(FAST, samples, 5))
    for index in range(6):
        np.testing.assert_allclose(batch[index, 0].numpy(), bilinear(native[index, 0].numpy(), 96), atol=1e-5)
    other = training_batch(SHARP, samples, 5, dataclasses.replace(FAST, augment="classic"))
    assert (batch - other).abs().max() > 0.01


def test_no_augmentation_is_the_clean_view():
    config = dataclasses.replace(CLASSIC, augment="none")
    torch.testing.assert_close(
        training_batch(FACES, torch.arange(6), 0, config), view_batch(FACES, 0, config), rtol=0, atol=0
    )


@pytest.mark.parametrize("size", [24, 40, 48, 96, 224])
def test_resizing_is_bilinear_with_half_pixel_centres(size):
    config = dataclasses.replace(CLASSIC, image_size=size)
    got = view_batch(SHARP, 0, config)[:, 0].numpy()
    expected = np.stack([bilinear(image / 255, size) for image in NOISE])
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_enlarging_agrees_with_pillow():
    got = view_batch(SHARP, 0, dataclasses.replace(CLASSIC, image_size=224))[0, 0].numpy()
    large = Image.fromarray(NOISE[0].astype(np.float32)).resize((224, 224), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(got * 255, np.asarray(large), atol=0.01)


# ------------------------------------------------------------------------------------------------ the draws


def test_draws_have_the_right_ranges_and_means():
    config = dataclasses.replace(FAST, rotation=30.0, shift=0.1, scale=0.2)
    transform = drawn(config, torch.arange(100_000), 0)
    assert set(transform.flip.unique().tolist()) == {-1.0, 1.0}
    assert abs((transform.flip < 0).float().mean() - 0.5) < 0.01
    for values, centre, reach in (
        (transform.angle, 0, 30),
        (transform.scale, 1, 0.2),
        (transform.shift_x, 0, 0.1),
        (transform.shift_y, 0, 0.1),
    ):
        share = (values - centre) / reach
        assert share.abs().max() <= 1 + 1e-5 and share.abs().max() > 0.999
        assert abs(share.mean()) < 0.01 and abs(share.std() - 3**-0.5) < 0.01
        counts = torch.histc(share, 20, -1, 1)
        assert (counts - 5000).abs().max() < 350  # five standard deviations
    together = torch.stack([transform.flip, transform.angle, transform.scale, transform.shift_x, transform.shift_y])
    correlation = torch.corrcoef(together) - torch.eye(5)
    assert correlation.abs().max() < 0.02


def test_neighbouring_samples_epochs_and_seeds_are_not_alike():
    samples = torch.arange(50_000)
    first = uniforms(0, 0, samples, 3)
    shifted = torch.cat([first[1:], first[:1]])
    others = [shifted, uniforms(0, 1, samples, 3), uniforms(1, 0, samples, 3)]
    for other in others:
        for column in range(3):
            both = torch.stack([first[:, column], other[:, column]])
            assert torch.corrcoef(both)[0, 1].abs() < 0.02
    assert len(first[:, 0].unique()) > 49_000


def test_uniforms_are_the_published_mixing_function_on_64_bits():
    """SplitMix64's finalizer, written out on Python's whole numbers."""

    def mix(z: int) -> int:
        most = 2**64 - 1
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & most
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & most
        return z ^ (z >> 31)

    samples = [0, 1, 7, 28708, 2**40]
    got = uniforms(3, 5, torch.tensor(samples), 4)
    for row, sample in zip(got.tolist(), samples, strict=True):
        base = mix((sample + stream_seed(3, 5)) % 2**64)
        assert row == [(mix((base + k * 0x9E3779B97F4A7C15) % 2**64) >> 40) / 2**24 for k in (1, 2, 3, 4)]
    assert got.min() >= 0 and got.max() < 1


def test_coarse_uniforms_are_spread_evenly_and_unlike_each_other():
    got = coarse_uniforms(3, 5, torch.arange(5000), 101)
    assert got.shape == (5000, 101) and got.dtype == torch.float32 and got.min() >= -0.5 and got.max() < 0.5
    counts = torch.histc(got, 20, -0.5, 0.5)
    assert (counts - 25_250).abs().max() < 800  # five standard deviations
    correlation = torch.corrcoef(got.T) - torch.eye(101)
    assert correlation.abs().max() < 0.08
    torch.testing.assert_close(coarse_uniforms(3, 5, torch.arange(7, 9), 50), got[7:9, :50], rtol=0, atol=0)
    assert (coarse_uniforms(3, 6, torch.arange(9), 101) != got[:9]).float().mean() > 0.99


def test_stream_seeds_differ_and_fit_where_they_are_used():
    seeds = {stream_seed(seed, stream, step) for seed in range(10) for stream in range(10) for step in range(50)}
    assert len(seeds) == 5000 and min(seeds) >= 0 and max(seeds) < 2**63
    assert stream_seed(1, 23) != stream_seed(12, 3)


def test_an_epoch_goes_through_every_sample_once():
    order = shuffled(0, 0, 1000)
    assert order.sort().values.tolist() == list(range(1000)) and order.tolist() != list(range(1000))
    assert order.tolist() == shuffled(0, 0, 1000).tolist()
    assert order.tolist() != shuffled(0, 1, 1000).tolist() and order.tolist() != shuffled(1, 0, 1000).tolist()


@pytest.mark.parametrize("config", [CLASSIC, dataclasses.replace(FAST, erase=0.5, image_size=48)])
def test_a_sample_is_augmented_the_same_whatever_its_batch(config):
    images, samples = FACES.repeat(4, 1, 1), torch.arange(100, 124)
    whole = training_batch(images, samples, 2, config)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(training_batch(images[order], samples[order], 2, config), whole[order], rtol=0, atol=0)
    for size in (1, 5, 16):
        pieces = [training_batch(i, s, 2, config) for i, s in zip(images.split(size), samples.split(size), strict=True)]
        torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=0)
    torch.manual_seed(1)
    torch.testing.assert_close(training_batch(images, samples, 2, config), whole, rtol=0, atol=0)


def test_another_epoch_seed_or_sample_is_another_draw():
    samples = torch.arange(6)
    first = training_batch(FACES, samples, 0, FAST)
    for other in (
        training_batch(FACES, samples, 1, FAST),
        training_batch(FACES, samples, 0, dataclasses.replace(FAST, seed=1)),
        training_batch(FACES, samples + 6, 0, FAST),
    ):
        assert (first - other).abs().amax((1, 2, 3)).min() > 0.01


def test_switches_switch_off():
    config = dataclasses.replace(FAST, flip=False, rotation=0.0, shift=0.0, scale=0.0)
    clean = view_batch(FACES, 0, config)
    torch.testing.assert_close(training_batch(FACES, torch.arange(6), 0, config), clean, rtol=0, atol=1e-4)
    flipped = training_batch(FACES, torch.arange(6), 0, dataclasses.replace(config, flip=True))
    mirrored = [(flipped[i] - clean[i].flip(-1)).abs().max() < 1e-3 for i in range(6)]
    same = [(flipped[i] - clean[i]).abs().max() < 1e-3 for i in range(6)]
    assert any(mirrored) and any(same) and all(a or b for a, b in zip(mirrored, same, strict=True))


def mirrored_in(config: Config, epoch: int, count: int = 400) -> np.ndarray:
    """bool [count]: which images of a slope from black to white are mirrored."""
    slope = torch.arange(0, 240, 5, dtype=torch.uint8).expand(count, 48, 48)
    batch = training_batch(slope, torch.arange(count), epoch, config)[:, 0]
    return (batch[:, :, 0] > batch[:, :, -1]).all(1).numpy()


def test_alternating_flips_begin_at_random_and_then_take_turns():
    config = dataclasses.replace(CLASSIC, augment="fast", rotation=0.0, flip_mode="alternate")
    epochs = [mirrored_in(config, epoch) for epoch in range(5)]
    assert abs(epochs[0].mean() - 0.5) < 0.1
    for epoch in (1, 3):
        np.testing.assert_array_equal(epochs[epoch], ~epochs[0])
    for epoch in (2, 4):
        np.testing.assert_array_equal(epochs[epoch], epochs[0])
    assert 0.3 < (mirrored_in(dataclasses.replace(config, seed=1), 0) != epochs[0]).mean() < 0.7
    assert not mirrored_in(dataclasses.replace(config, flip=False), 0).any()
    np.testing.assert_array_equal(mirrored_in(dataclasses.replace(config, flip_mode="random"), 0), epochs[0])


def test_random_flips_are_drawn_anew_and_nothing_else_depends_on_how_images_are_flipped():
    first, second = (mirrored_in(dataclasses.replace(CLASSIC, augment="fast", rotation=0.0), epoch) for epoch in (0, 1))
    assert 0.3 < (first != second).mean() < 0.7
    still = dataclasses.replace(FAST, flip=False)
    alternating = dataclasses.replace(still, flip_mode="alternate")
    batches = [training_batch(FACES, torch.arange(6), 1, config) for config in (still, alternating)]
    torch.testing.assert_close(*batches, rtol=0, atol=0)


def test_a_share_of_the_images_is_moved_by_whole_pixels_and_stays_sharp():
    config = dataclasses.replace(FAST, image_size=48, normalize="none", sharp=0.4)
    noise = torch.randint(0, 256, (1000, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pixels = 255 * training_batch(noise, torch.arange(1000), 0, config)[:, 0]
    sharp = (pixels - pixels.round()).abs().amax((1, 2)) < 0.01  # interpolated values would not be whole
    assert abs(sharp.float().mean() - 0.4) < 0.05
    for moved, image in zip(pixels[sharp][:100], noise[sharp][:100].float(), strict=True):
        candidates = (
            torch.roll(mirrored, (y, x), (0, 1))[8:-8, 8:-8]
            for mirrored in (image, image.flip(-1))
            for y in range(-5, 6)
            for x in range(-5, 6)
        )
        assert any(torch.allclose(moved[8:-8, 8:-8], candidate, atol=0.01) for candidate in candidates)
    blurred = training_batch(noise, torch.arange(1000), 0, dataclasses.replace(config, sharp=0.0))[:, 0] * 255
    torch.testing.assert_close(blurred[~sharp], pixels[~sharp], rtol=0, atol=0)


@pytest.mark.parametrize("size", [48, 64])
def test_with_the_classic_order_it_is_whole_pixels_of_the_resized_image(size):
    config = dataclasses.replace(CLASSIC, image_size=size, normalize="none", sharp=1.0, flip=False, erase=0.0)
    noise = torch.randint(0, 256, (20, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    resized = view_batch(noise, 0, config)[:, 0]
    for moved, image in zip(training_batch(noise, torch.arange(20), 0, config)[:, 0], resized, strict=True):
        candidates = (torch.roll(image, (y, x), (0, 1)) for y in range(-9, 10) for x in range(-9, 10))
        inside = np.s_[12:-12, 12:-12]
        assert any(torch.allclose(moved[inside], candidate[inside], atol=1e-4) for candidate in candidates)


def test_the_stored_images_are_not_changed():
    before = FACES.clone()
    for config in (CLASSIC, dataclasses.replace(FAST, erase=1.0, normalize="per_image")):
        training_batch(FACES, torch.arange(6), 0, config)
        view_batch(FACES, 3, config)
    assert torch.equal(FACES, before)


# ------------------------------------------------------------------------------------------------ erasing


def test_a_rectangle_is_erased_in_the_asked_share():
    config = Config(image_size=48, in_channels=1, augment="fast", flip=False, rotation=0.0, erase=0.25)
    count = 4000
    white = torch.full((count, 48, 48), 255, dtype=torch.uint8)
    batch = training_batch(white, torch.arange(count), 0, config)[:, 0]
    black = batch < 0.5
    touched = black.any(-1).any(-1)
    assert abs(touched.float().mean() - 0.25) < 0.03
    for hole in black[touched][:300].numpy():
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole[np.ix_(rows, columns)].all() and hole.sum() == len(rows) * len(columns)
        assert np.ptp(rows) == len(rows) - 1 and np.ptp(columns) == len(columns) - 1
        assert len(rows) <= 0.45 * 48 + 1 and len(columns) <= 0.45 * 48 + 1
    assert (training_batch(white, torch.arange(count), 0, dataclasses.replace(config, erase=0.0)) > 0.99).all()
    every = training_batch(white, torch.arange(count), 0, dataclasses.replace(config, erase=1.0)) < 0.5
    assert every.any(-1).any(-1).float().mean() > 0.99


# ------------------------------------------------------------------------------------------------ views


@pytest.mark.parametrize("config", [CLASSIC, FAST, dataclasses.replace(FAST, normalize="per_image", image_size=48)])
def test_the_first_view_is_clean_and_the_second_its_mirror(config):
    clean, mirror = view_batch(SHARP, 0, config), view_batch(SHARP, 1, config)
    expected = np.stack([bilinear(image, config.image_size) for image in normalized(SHARP, config)[:, 0].numpy()])
    np.testing.assert_allclose(clean[:, 0].numpy(), expected, atol=1e-5)
    torch.testing.assert_close(mirror, clean.flip(-1), rtol=0, atol=1e-4)
    assert VIEWS[0] == (1.0, 0.0, 0.0, 0.0) and VIEWS[1] == (-1.0, 0.0, 0.0, 0.0)


def test_views_are_fixed_and_all_different():
    assert len(VIEWS) == len(set(VIEWS)) == 18 == Config.__dataclass_fields__["views"].metadata["most"]
    views = [view_batch(FACES, view, FAST) for view in range(18)]
    for index, view in enumerate(views):
        torch.testing.assert_close(view, view_batch(FACES, index, FAST), rtol=0, atol=0)
        torch.testing.assert_close(
            view, view_batch(FACES, index, dataclasses.replace(FAST, seed=9, erase=1.0)), rtol=0, atol=0
        )
        assert all((view - other).abs().max() > 0.005 for other in views[:index])


def test_all_views_together_are_closed_under_mirroring():
    mirrors = {(-flip, -angle, -x, y) for flip, angle, x, y in VIEWS}
    assert {tuple(0.0 + v for v in view) for view in mirrors} == set(VIEWS)


def test_a_turned_view_agrees_with_pillow():
    index = VIEWS.index((1.0, 12.0, 0.0, 0.0))
    got = view_batch(FACES, index, Config(image_size=48, in_channels=1, augment="fast"))[0, 0].numpy() * 255
    inner = disc(48, 2)
    np.testing.assert_allclose(got[inner], pil_rotated(SMOOTH[0], 12)[inner], atol=0.1)


# ------------------------------------------------------------------------------------------------ normalising


def test_no_normalisation_is_zero_to_one():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    got = normalized(pixels, Config())
    assert got.shape == (1, 1, 16, 16) and got.min() == 0 and got.max() == 1
    np.testing.assert_allclose(got.numpy().ravel(), np.arange(256) / 255, rtol=1e-6)


def test_imagenet_normalisation():
    config = Config(normalize="imagenet")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    grey = normalized(SHARP, config)
    assert grey.shape == (6, 3, 48, 48)
    for channel in range(3):
        expected = (NOISE / 255 - mean[channel]) / std[channel]
        np.testing.assert_allclose(grey[:, channel].numpy(), expected, atol=1e-5)
    colour = torch.stack([SHARP, SHARP, SHARP], dim=-1)
    torch.testing.assert_close(normalized(colour, config), grey, rtol=0, atol=0)


def test_per_image_normalisation():
    got = normalized(SHARP, Config(normalize="per_image"))[:, 0].numpy()
    for image, value in zip(NOISE / 255, got, strict=True):
        np.testing.assert_allclose(value, (image - image.mean()) / (image.std(ddof=1) + 0.04), atol=1e-4)


@pytest.mark.parametrize("normalize", ["none", "imagenet", "per_image"])
@pytest.mark.parametrize("tone", [0, 128, 255])
def test_images_of_one_tone_stay_finite_and_even(normalize, tone):
    flat = torch.full((3, 48, 48), tone, dtype=torch.uint8)
    for config in (CLASSIC, FAST):
        config = dataclasses.replace(config, normalize=normalize, in_channels=3)
        assert torch.isfinite(training_batch(flat, torch.arange(3), 0, config)).all()
        clean = view_batch(flat, 0, config)
        assert torch.isfinite(clean).all()
        assert (clean.amax((2, 3)) - clean.amin((2, 3))).max() < 1e-5
        if normalize == "per_image":
            assert clean.abs().max() < 1e-3


@pytest.mark.parametrize("augment", ["none", "classic", "fast"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_become_the_channels_that_the_network_sees(augment, channels):
    config = Config(image_size=56, in_channels=channels, augment=augment)
    colour = torch.stack([FACES, 255 - FACES, FACES // 2], dim=-1)
    for images in (FACES, colour):
        batch = training_batch(images, torch.arange(6), 0, config)
        assert batch.shape == (6, channels, 56, 56) and torch.isfinite(batch).all()
        assert view_batch(images, 3, config).shape == (6, channels, 56, 56)
    grey = view_batch(FACES, 0, config)
    assert all(torch.equal(grey[:, 0], grey[:, c]) for c in range(channels))
    shown = view_batch(colour, 0, config)
    expected = np.moveaxis(colour.numpy() / 255.0, -1, 1)
    expected = expected if channels == 3 else expected.mean(1, keepdims=True)
    large = np.stack([[bilinear(c, 56) for c in image] for image in expected])
    np.testing.assert_allclose(shown.numpy(), large, atol=1e-5)


def test_values_stay_within_the_range_of_the_image():
    batch = training_batch(SHARP, torch.arange(6), 0, dataclasses.replace(CLASSIC, shift=0.3, scale=0.5))
    assert batch.min() >= 0 and batch.max() <= 1 + 1e-5


def test_images_grow_from_start_size_to_image_size_and_stay_there():
    config = dataclasses.replace(FAST, image_size=48, start_size=24, max_epoch_num=20)
    sizes = [size_in_epoch(config, epoch) for epoch in range(20)]
    assert sizes == [24] * 5 + [32] * 5 + [40] * 5 + [48] * 5
    assert size_in_epoch(dataclasses.replace(config, start_size=None), 0) == 48
    assert size_in_epoch(dataclasses.replace(config, start_size=64), 0) == 48
    batch = training_batch(SHARP, torch.arange(len(SHARP)), 5, config)
    assert batch.shape[-2:] == (32, 32)
    assert view_batch(SHARP, 0, config).shape[-2:] == (48, 48)


def test_autocast_leaves_the_pixels_where_they_are():
    """The views of a test are made while the network's arithmetic is bf16; coordinates must not be."""
    for view in (1, 2, 6):
        with torch.autocast("cpu", torch.bfloat16):
            inside = view_batch(FACES, view, FAST)
        assert torch.equal(inside, view_batch(FACES, view, FAST))


def test_the_stored_images_are_not_written_to():
    kept = FACES.clone()
    for normalize in ("none", "imagenet", "per_image"):
        training_batch(FACES, torch.arange(6), 0, dataclasses.replace(FAST, normalize=normalize, erase=1.0))
    assert torch.equal(FACES, kept)
