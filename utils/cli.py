"""What all command lines share: options, one-line errors, exit codes."""

import argparse
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from utils.errors import Interrupted, MissingDataError, SaidElsewhere, UserError, closest

if TYPE_CHECKING:
    from models import ModelError


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a misspelt option with the closest right one."""

    def __init__(self, description: str, **options: object) -> None:
        super().__init__(
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,  # type: ignore[arg-type]
        )

    def error(self, message: str) -> NoReturn:
        """Raises:
        UserError: always; one line, exit code 2.
        """
        wrong = re.search(r"unrecognized arguments: (-\S+)", message)
        if wrong:
            option = wrong.group(1).split("=")[0][:40]
            near = closest(option, [o for action in self._actions for o in action.option_strings], 1)
            hint = f"did you mean {near[0]}?" if near else f"{self.prog} --help lists all"
            message = f"unknown option {option}; {hint}"
        for action in self._actions:
            if action.nargs == "*":  # which argparse takes for required where options may stand among arguments
                message = message.removesuffix(f", {action.metavar}")
        raise UserError(message)


def run_cli(main: Callable[[], None]) -> NoReturn:
    """Run ``main`` and exit: 0 done, 2 bad input, 3 training failed, 4 the machine, 130/143 interrupted.

    An error that the user can mend is one line on standard error; a bug keeps its traceback.
    """
    signal.signal(signal.SIGTERM, _terminated)
    models = logging.getLogger("models")  # says which initial weights fitted
    models.setLevel(logging.INFO)
    models.addHandler(logging.StreamHandler())
    try:
        main()
        print(end="", flush=True)  # like any print, nothing where standard output is closed
        code = 0
    except MissingDataError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except UserError as error:
        print(*str(error).splitlines(), file=sys.stderr)
        code = error.exit_code
    except SaidElsewhere as error:
        code = error.exit_code
    except Interrupted as error:
        _say_once(str(error))
        code = error.exit_code
    except KeyboardInterrupt:
        _say_once("interrupted; nothing was lost")
        code = 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of standard output has gone, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except _model_error() as error:  # looked up last: programs that need no network need not import torch
        print(*str(error).splitlines(), file=sys.stderr)
        code = error.exit_code
    signal.signal(signal.SIGTERM, _too_late)  # torchrun ends what is left of a team while Python cleans up
    sys.exit(code)


def _say_once(text: str) -> None:
    """On standard error, unless a process that `torchrun` has started beside this one says the same."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(text, file=sys.stderr)


def _model_error() -> "type[ModelError]":
    from models import ModelError

    return ModelError


def _too_late(_number: int, _frame: FrameType | None) -> None:
    """The program is ending as it is."""


def _terminated(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
