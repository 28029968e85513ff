"""What every command line does at its end: exit codes, one line for what the user can mend, a traceback for a bug."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models import ModelError
from utils.cli import Parser
from utils.errors import MachineError, TrainingError, UserError, closest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with Ctrl-C ignored
sys.modules["models"] = type(sys)("models")  # keeps torch, and so seconds, out of a test of exit codes
sys.modules["models"].ModelError = type("ModelError", (ValueError,), {{"exit_code": 2}})
from models import ModelError
from utils.cli import Parser, run_cli
from utils.errors import Interrupted, MachineError, TrainingError, UserError
def main():
    {body}
run_cli(main)
"""


def run(body: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, cwd=ROOT, text=True, timeout=60, **options)


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("print('done')", 0, ""),
        ("raise UserError('x.json: no such file')", 2, "x.json: no such file"),
        ("raise UserError('two\\nlines.json: no such file')", 2, "two lines.json: no such file"),
        ("raise ModelError('unknown model')", 2, "unknown model"),
        ("raise TrainingError('loss is nan')", 3, "loss is nan"),
        ("raise MachineError('no space')", 4, "no space"),
        ("raise KeyboardInterrupt", 130, "interrupted; nothing was lost"),
        ("raise Interrupted(signal.SIGINT)", 130, "interrupted by signal 2"),
        ("raise Interrupted(signal.SIGTERM)", 143, "interrupted by signal 15"),
        ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", 143, "interrupted by signal 15"),
        ("os.kill(os.getpid(), signal.SIGINT); signal.pause()", 130, "interrupted; nothing was lost"),
        ("import atexit; atexit.register(os.kill, os.getpid(), signal.SIGTERM); raise UserError('once')", 2, "once"),
        ("Parser('').parse_args(['--x'])", 2, "unknown option --x; -c --help lists all"),
    ],
)
def test_exit_code_and_one_line(body, code, line):
    ended = run(body)
    assert (ended.returncode, ended.stderr.rstrip("\n")) == (code, line)
    assert ended.stdout == ("done\n" if code == 0 else "")


@pytest.mark.parametrize(
    "bug", ["ValueError('a bug')", "KeyError('a bug')", "OSError('a bug')", "AssertionError('a bug')"]
)
def test_bug_keeps_its_traceback(bug):
    ended = run(f"raise {bug}")
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback") and "a bug" in ended.stderr and "in main" in ended.stderr


def test_closed_pipe_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        for body in ("print('x')", "print('x' * 10**6)", "print('x', flush=True)"):
            ended = run(body, stdout=writer)
            assert (ended.returncode, ended.stderr) == (0, "")
    finally:
        os.close(writer)


def test_standard_output_may_be_closed():
    command = [sys.executable, "-c", PROGRAM.format(body="print('x')")]
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--slect", "greedy"], "unknown option --slect; did you mean --select?"),
        (["--selec=greedy"], "unknown option --selec; did you mean --select?"),
        (["--sel", "greedy"], "unknown option --sel; did you mean --select?"),
        (["-z"], "unknown option -z; "),
        (["--" + "z" * 500], "unknown option --" + "z" * 38 + "; "),
        (["--select", "gredy"], "invalid choice: 'gredy'"),
        (["--select"], "expected one argument"),
        (["surplus"], "unrecognized arguments: surplus"),
    ],
)
def test_wrong_command_line(words, message):
    parser = Parser("A program.", prog="program")
    parser.add_argument("--select", choices=("all", "greedy"))
    with pytest.raises(UserError) as refused:
        parser.parse_args(words)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_kinds_of_errors():
    assert [kind("").exit_code for kind in (UserError, TrainingError, MachineError)] == [2, 3, 4]
    assert not issubclass(ModelError, UserError)  # run_cli names both
    assert closest("resnet81", ["resnet18", "vgg19", "resnet101"]) == ["resnet18", "resnet101"]
    assert closest("zzz", ["resnet18"]) == []


@pytest.mark.parametrize(
    ("module", "heavy"), [("gen_ensemble", "torch"), ("trainers.experiment", "torchvision"), ("utils.config", "numpy")]
)
def test_what_is_not_needed_is_not_imported(module, heavy):
    """Each of these takes longer to import than what the program then does."""
    code = f"import sys, {module}; print({heavy!r} in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout.strip()) == (0, "False"), ended.stderr
