"""What 'auto' becomes: the faster way by measurement, kept for the machine, overridden by settings."""

import dataclasses
import json
import platform
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, SMALL

from utils import probe, runtime
from utils.config import load_config
from utils.probe import Arithmetic, arithmetic, threads_that_pay
from utils.runtime import resolve

WITH_BF16 = Arithmetic({"fp32 off": 4.0, "fp32 on": 3.0, "bf16 off": 2.0, "bf16 on": 1.0})
WITHOUT = Arithmetic({"fp32 off": 1.0, "fp32 on": 1.2, "bf16 off": 0.95, "bf16 on": 0.9})


@pytest.mark.parametrize(
    ("found", "precision", "channels_last", "best"),
    [
        (WITH_BF16, "auto", "auto", ("bf16", "on")),
        (WITH_BF16, "fp32", "auto", ("fp32", "on")),
        (WITH_BF16, "auto", "off", ("bf16", "off")),
        (WITHOUT, "auto", "auto", ("fp32", "off")),  # bf16 is faster, but not worth other numbers
        (WITHOUT, "auto", "on", ("bf16", "on")),
        (WITHOUT, "bf16", "auto", ("bf16", "on")),
    ],
)
def test_the_fastest_way_that_settings_leave_open(found, precision, channels_last, best):
    assert found.best(precision, channels_last) == best


def test_gain_is_over_plain_fp32():
    assert WITH_BF16.gain("bf16", "on") == 4 and WITH_BF16.gain("fp32", "off") == 1


def test_it_is_measured_once_for_a_processor(tmp_path, monkeypatch):
    found = arithmetic(tmp_path, "some processor")
    assert min(found.seconds.values()) > 0
    monkeypatch.setattr(probe, "_timed", lambda steps: pytest.fail("measured again"))
    assert arithmetic(tmp_path, "some processor") == found
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        arithmetic(tmp_path, "another processor")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seconds": {"fp32 off": 1}}', '{"seconds": 3}'])
def test_a_damaged_note_is_measured_anew(tmp_path, text):
    found = arithmetic(tmp_path, "x")
    (note,) = tmp_path.glob("probe-*.json")
    note.write_text(text)
    assert arithmetic(tmp_path, "x").seconds.keys() == found.seconds.keys()
    assert json.loads(note.read_text())["seconds"]


@pytest.mark.parametrize(
    ("took", "threads"),
    [
        ({1: 4.0, 2: 2.0, 4: 1.0}, 4),
        ({1: 4.0, 2: 1.1, 4: 1.0}, 2),  # two more threads are not worth a tenth
        ({1: 1.0, 2: 3.0, 4: 30.0}, 1),  # a busy machine
    ],
)
def test_threads_that_pay(monkeypatch, took, threads):
    monkeypatch.setattr(probe, "_timed", lambda steps: {name: [took[count]] * 3 for name, (count, _) in steps.items()})
    assert threads_that_pay(4, "fp32", "off") == (threads, took[1] / took[threads])


def test_measuring_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()
    assert threads_that_pay(2, "fp32", "off")[0] in (1, 2)
    assert torch.get_num_threads() == before


def test_resolve_says_what_it_measured_and_measures_only_what_is_left_open(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "arithmetic", lambda cache_dir, processor: WITH_BF16)
    config = dataclasses.replace(load_config(None, SMALL), cache_dir=str(tmp_path))
    said: list[str] = []
    assert resolve(config, said.append) == config and said == []
    free = dataclasses.replace(config, precision="auto", channels_last="auto")
    resolved = resolve(free, said.append)
    assert (resolved.precision, resolved.channels_last) == ("bf16", "on")
    assert said == ["measured on this machine: bf16 with channels_last, 4.0 times as fast as plain fp32"]


def test_a_run_may_have_more_threads_than_the_one_before_it_in_this_process(tmp_path, monkeypatch):
    """As in train_all.py."""
    asked = []
    monkeypatch.setattr(runtime, "MOST_THREADS", 4)
    monkeypatch.setattr(runtime, "threads_that_pay", lambda most, *_: (asked.append(most) or most, 1.0))
    config = dataclasses.replace(load_config(None, SMALL), cache_dir=str(tmp_path))
    before = torch.get_num_threads()
    try:
        assert [resolve(dataclasses.replace(config, threads=n)).threads for n in (1, 0)] == [1, 4] and asked == [4]
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps what is freed as it likes")
def test_freed_memory_is_kept():
    """Pages that are touched anew are faults, which the system counts."""
    program = """
import resource, torch
from utils.runtime import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        kept = [torch.ones(size) for size in (*[2**20] * 8, 2**24)]  # eight of 4 MiB, one of 64
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
print(min(faults() for _ in range(5)))
"""
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(told.stdout) < 1000  # of 240 * 1024 pages
