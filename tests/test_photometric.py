"""Focus, light and grain: against scipy and written-out arithmetic, drawn for (seed, epoch, sample) alone."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from utils.augment import training_batch, view_batch
from utils.config import Config
from utils.normalizing import normalized
from utils.photometric import blurred
from utils.randomness import uniforms

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 48, 48)).astype(np.uint8)
IMAGES = torch.from_numpy(PIXELS)
SAMPLES = torch.arange(30, 38)
STILL = Config(image_size=48, in_channels=1, augment="fast", flip=False, rotation=0.0)
ALL = dataclasses.replace(STILL, brightness=0.3, contrast=0.4, blur=0.02, noise=0.1)
MOVED = dataclasses.replace(ALL, flip=True, rotation=10.0, shift=0.08, scale=0.08, erase=0.3, sharp=0.4)


def changed(config: Config, images: torch.Tensor = IMAGES, samples: torch.Tensor = SAMPLES, epoch: int = 0):
    """What augmentation makes of ``images``, as values 0 to 255 where nothing is normalised."""
    return 255 * training_batch(images, samples, epoch, config)


# ------------------------------------------------------------------------------------------------ blur


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_blur_agrees_with_scipy_inside_and_keeps_tones_at_the_edge(sigma):
    pixels = torch.from_numpy(PIXELS).float()[:, None]
    got = blurred(pixels, torch.full((8,), sigma))[:, 0].numpy()
    inner = slice(12, -12)
    for image, found in zip(PIXELS.astype(float), got, strict=True):
        expected = ndimage.gaussian_filter(image, sigma, truncate=4.5)
        np.testing.assert_allclose(found[inner, inner], expected[inner, inner], atol=0.05)
    white = torch.full((1, 1, 48, 48), 255.0)
    torch.testing.assert_close(blurred(white, torch.tensor([sigma])), white)


def test_each_image_is_blurred_by_its_own_width_and_not_at_all_by_none():
    pixels = torch.from_numpy(PIXELS).float()[:, None]
    sigma = torch.linspace(0, 2, 8)
    together = blurred(pixels, sigma)
    torch.testing.assert_close(together[0], pixels[0], rtol=0, atol=1e-9)
    for index in range(8):
        alone = blurred(pixels[index : index + 1], sigma[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone)
    kept = together.std((1, 2, 3)) / pixels.std((1, 2, 3))
    assert kept[0] == 1 and (kept[1:] < kept[:-1]).all()


def test_blur_is_as_exact_where_networks_compute_in_bf16():
    pixels, sigma = torch.from_numpy(PIXELS).float()[:, None], torch.full((8,), 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        got = blurred(pixels, sigma)
    torch.testing.assert_close(got, blurred(pixels, sigma), rtol=0, atol=0)


def test_blur_is_a_share_of_the_side_up_to_the_setting():
    config = dataclasses.replace(STILL, blur=0.04)
    sigma = 0.04 * 48 * uniforms(0, 0, SAMPLES, 14)[:, 13]
    expected = blurred(IMAGES[:, None].float(), sigma)
    torch.testing.assert_close(changed(config), expected, rtol=0, atol=5e-3)


# ------------------------------------------------------------------------------------------------ light


def test_contrast_about_the_mean_then_brightness_then_what_leaves_the_range_is_lost():
    config = dataclasses.replace(STILL, brightness=0.3, contrast=0.5)
    got = changed(config)[:, 0].numpy()
    draws = uniforms(0, 0, SAMPLES, 13).numpy() * 2 - 1
    for image, found, draw in zip(PIXELS.astype(float), got, draws, strict=True):
        expected = image.mean() + (1 + 0.5 * draw[12]) * (image - image.mean()) + 255 * 0.3 * draw[11]
        np.testing.assert_allclose(found, np.clip(expected, 0, 255), atol=0.01)
    assert (got == 0).any() and (np.abs(got - 255) < 1e-4).any()


def test_an_image_that_each_is_to_itself_shows_only_what_is_lost():
    config = dataclasses.replace(STILL, brightness=0.2, normalize="per_image")
    grey = (IMAGES // 4 + 96).to(torch.uint8)  # 96 to 159: nothing leaves the range
    torch.testing.assert_close(training_batch(grey, SAMPLES, 0, config), normalized(grey, config), rtol=0, atol=1e-3)
    assert (training_batch(IMAGES, SAMPLES, 0, config) - normalized(IMAGES, config)).abs().max() > 0.1


# ------------------------------------------------------------------------------------------------ grain


def noise_of(config: Config, images: torch.Tensor, samples: torch.Tensor, epoch: int = 0) -> torch.Tensor:
    """What the setting ``noise`` adds."""
    return training_batch(images, samples, epoch, config) - training_batch(
        images, samples, epoch, dataclasses.replace(config, noise=0.0)
    )


def test_noise_has_the_drawn_deviation_and_no_pattern():
    count = 500
    grey, samples = torch.full((count, 48, 48), 128, dtype=torch.uint8), torch.arange(count)
    noise = noise_of(dataclasses.replace(STILL, noise=0.1), grey, samples)[:, 0]
    deviation = 0.1 * uniforms(0, 0, samples, 15)[:, 14]
    np.testing.assert_allclose(noise.std((1, 2)), deviation, rtol=0.05)
    assert deviation.max() > 0.099 and deviation.min() < 0.001
    unit = noise / deviation[:, None, None]
    assert unit.mean().abs() < 0.01
    for pairs in ((unit[:, 1:], unit[:, :-1]), (unit[:, :, 1:], unit[:, :, :-1]), (unit[1:], unit[:-1])):
        assert (pairs[0] * pairs[1]).mean().abs() < 0.01


@pytest.mark.parametrize("normalize", ["none", "imagenet", "per_image"])
def test_noise_is_a_share_of_the_range_however_images_are_normalised(normalize):
    soft = torch.from_numpy(np.stack([ndimage.gaussian_filter(image.astype(float), 2) for image in PIXELS]))
    images = soft.clamp(20, 235).to(torch.uint8)
    config = dataclasses.replace(STILL, in_channels=3, normalize=normalize, noise=0.05)
    got = noise_of(config, images, SAMPLES)
    clean = dataclasses.replace(config, noise=0.0)
    one, ten = ((normalized(images, clean)), normalized((images + 10).to(torch.uint8), clean))
    raw = noise_of(dataclasses.replace(config, normalize="none"), images, SAMPLES)
    if normalize == "per_image":  # by its own deviation: what the image itself is stretched by
        stretched = (one.amax((1, 2, 3)) - one.amin((1, 2, 3))) / (
            (images.amax((1, 2)).float() - images.amin((1, 2)).float()) / 255
        )
        torch.testing.assert_close(got, raw * stretched[:, None, None, None], rtol=1e-3, atol=1e-4)
    else:
        step = ((ten - one) / 10 * 255).mean((0, 2, 3))
        torch.testing.assert_close(got, raw * step[:, None, None], rtol=1e-3, atol=1e-4)


def test_noise_is_not_smoothed_by_rotation_and_alike_in_all_channels():
    config = dataclasses.replace(STILL, rotation=30.0, noise=0.1, in_channels=3)
    still = dataclasses.replace(config, rotation=0.0)
    colour = IMAGES[..., None].repeat(1, 1, 1, 3)
    turned = noise_of(config, colour, SAMPLES)
    torch.testing.assert_close(turned, noise_of(still, colour, SAMPLES), rtol=0, atol=1e-5)
    torch.testing.assert_close(turned[:, 0], turned[:, 2], rtol=0, atol=1e-5)


def test_noise_is_of_the_size_of_the_stored_image_in_both_orders():
    grey = torch.full((8, 48, 48), 128, dtype=torch.uint8)
    native = noise_of(dataclasses.replace(STILL, noise=0.1), grey, SAMPLES)
    expected = torch.nn.functional.interpolate(native, (96, 96), mode="bilinear", align_corners=False)
    for order in ("classic", "fast"):
        got = noise_of(dataclasses.replace(STILL, noise=0.1, image_size=96, augment=order), grey, SAMPLES)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


# ------------------------------------------------------------------------------------------------ all together


@pytest.mark.parametrize("config", [ALL, MOVED, dataclasses.replace(MOVED, augment="classic", normalize="per_image")])
def test_a_sample_is_augmented_the_same_whatever_its_batch(config):
    images, samples = IMAGES.repeat(3, 1, 1), torch.arange(100, 124)
    whole = training_batch(images, samples, 2, config)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(training_batch(images[order], samples[order], 2, config), whole[order])
    for size in (1, 5, 16):
        pieces = [training_batch(i, s, 2, config) for i, s in zip(images.split(size), samples.split(size), strict=True)]
        torch.testing.assert_close(torch.cat(pieces), whole)


@pytest.mark.parametrize("key", ["brightness", "contrast", "blur", "noise"])
def test_each_strength_is_drawn_anew_for_another_epoch_seed_or_sample(key):
    config = dataclasses.replace(STILL, **{key: 0.1})
    first = changed(config)
    clean = 255 * view_batch(IMAGES, 0, config)
    assert ((first - clean).abs().amax((1, 2, 3)) > 0.5).sum() >= 7
    for other in (
        changed(config, epoch=1),
        changed(dataclasses.replace(config, seed=1)),
        changed(config, samples=SAMPLES + 8),
    ):
        assert ((first - other).abs().amax((1, 2, 3)) > 0.3).sum() >= 7
    torch.testing.assert_close(first, changed(config), rtol=0, atol=0)


def test_what_else_is_drawn_stays_as_it_was():
    """Draws are appended: runs from before these settings are the same to the last bit, and light moves nothing."""
    assert torch.equal(uniforms(3, 2, SAMPLES, 15)[:, :11], uniforms(3, 2, SAMPLES, 11))
    without = dataclasses.replace(MOVED, brightness=0.0, contrast=0.0, blur=0.0, noise=0.0)
    white = torch.full((8, 48, 48), 255, dtype=torch.uint8)
    lit = dataclasses.replace(without, contrast=0.4, blur=0.02)  # which one tone does not show
    torch.testing.assert_close(changed(lit, white), changed(without, white), rtol=0, atol=1e-2)


def test_stored_images_and_views_are_left_alone():
    before = IMAGES.clone()
    training_batch(IMAGES, SAMPLES, 0, MOVED)
    assert torch.equal(IMAGES, before)
    for view in (0, 3):
        torch.testing.assert_close(view_batch(IMAGES, view, ALL), view_batch(IMAGES, view, STILL), rtol=0, atol=0)
    off = dataclasses.replace(ALL, augment="none")
    torch.testing.assert_close(training_batch(IMAGES, SAMPLES, 0, off), view_batch(IMAGES, 0, off), rtol=0, atol=0)


@pytest.mark.parametrize("normalize", ["none", "imagenet", "per_image"])
@pytest.mark.parametrize("tone", [0, 255])
def test_images_of_one_tone_stay_finite(normalize, tone):
    flat = torch.full((8, 48, 48), tone, dtype=torch.uint8)
    config = dataclasses.replace(MOVED, normalize=normalize, in_channels=3)
    assert torch.isfinite(training_batch(flat, SAMPLES, 0, config)).all()
    assert training_batch(flat[:0], SAMPLES[:0], 0, config).shape == (0, 3, 48, 48)


# ------------------------------------------------------------------------------------------------ some changes, not all

EACH = {"rotation": 10.0, "scale": 0.1, "shift": 0.1, "erase": 1.0, "brightness": 0.2, "contrast": 0.4}
EACH |= {"blur": 0.02, "noise": 0.1}


def test_an_image_gets_as_many_changes_as_asked_for_and_each_as_often():
    samples = torch.arange(1600)
    images = IMAGES.repeat(200, 1, 1)
    one = changed(dataclasses.replace(STILL, **EACH, random_changes=1), images, samples)
    alone = [changed(dataclasses.replace(STILL, **{name: most}), images, samples) for name, most in EACH.items()]
    same = torch.stack([(one - other).abs().amax((1, 2, 3)) < 1e-2 for other in alone])
    assert same.any(0).all()
    assert all(abs(share - 1 / 8) < 0.04 for share in same.float().mean(1).tolist())


@pytest.mark.parametrize(("names", "count"), [(tuple(EACH), 8), (("rotation", "noise"), 2), ((), 1)])
def test_as_many_changes_as_there_are_is_all_of_them(names, count):
    config = dataclasses.replace(STILL, flip=True, **{name: EACH[name] for name in names})
    some = changed(dataclasses.replace(config, random_changes=count))
    torch.testing.assert_close(some, changed(config), rtol=0, atol=0)


def test_which_changes_an_image_gets_is_drawn_anew_in_every_epoch_and_the_same_in_any_batch():
    turned = dataclasses.replace(STILL, rotation=30.0)
    config = dataclasses.replace(turned, brightness=0.3, random_changes=1)
    chosen = [(changed(config, epoch=e) == changed(turned, epoch=e)).all(3).all(2).all(1) for e in range(20)]
    assert all(2 <= count <= 18 for count in torch.stack(chosen).sum(0).tolist())
    torch.testing.assert_close(changed(config)[3:5], changed(config, IMAGES[3:5], SAMPLES[3:5]))
