"""Random numbers that depend on what they are for, not on when they are drawn.

A draw is a hash of (seed, epoch, sample), so the same image gets the same augmentation in the same epoch
whatever the batch size, the number of threads or the point at which training was resumed.
"""

import hashlib

import torch

# What numbers are for, the second part of a `stream_seed`. Append only: another order would be another training.
INIT, DROPOUT, MIXUP, CUTMIX, GRAIN, CHOICE = range(6)

_GOLDEN = 0x9E3779B97F4A7C15


def _signed(value: int) -> int:
    """The 64-bit pattern of ``value`` as torch's signed integers write it."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _mix(z: torch.Tensor) -> torch.Tensor:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) on int64, wrapping like uint64."""
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * _signed(0x94D049BB133111EB)
    return z ^ ((z >> 31) & 0x1FFFFFFFF)


def stream_seed(*key: int) -> int:
    """A seed from 0 to 2**63 - 1 that belongs to ``key``, for example (seed, epoch, step)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def uniforms(seed: int, epoch: int, samples: torch.Tensor, draws: int) -> torch.Tensor:
    """Independent uniform numbers for each sample.

    Args:
        seed, epoch: the stream.
        samples: int64 [B], indices of the samples in their data set.
        draws: how many numbers for each.

    Returns:
        float32 [B, draws] in [0, 1), on the device of ``samples``.
    """
    bits = (_hashes(seed, epoch, samples, draws) >> 40) & 0xFFFFFF  # the 24 bits that a float32 holds exactly
    return bits.float() / 2**24


def coarse_uniforms(seed: int, epoch: int, samples: torch.Tensor, draws: int) -> torch.Tensor:
    """The same for thousands of draws that need not be fine: steps of 2**-16, four of them from one hash.

    Returns:
        float32 [B, draws] in [-0.5, 0.5), on the device of ``samples``.
    """
    parts = _hashes(seed, epoch, samples, -(-draws // 4)).view(torch.int16)
    return parts[:, :draws].float() / 2**16


def _hashes(seed: int, epoch: int, samples: torch.Tensor, count: int) -> torch.Tensor:
    """int64 [B, count], of all 64 bits."""
    base = _mix(samples + stream_seed(seed, epoch))
    steps = torch.arange(1, count + 1, device=samples.device) * _signed(_GOLDEN)
    return _mix(base[:, None] + steps)


def shuffled(seed: int, epoch: int, count: int) -> torch.Tensor:
    """int64 [count]: the order in which an epoch goes through ``count`` samples."""
    generator = torch.Generator().manual_seed(stream_seed(seed, epoch, count))
    return torch.randperm(count, generator=generator)
