"""Run a training program until some steps are done: python -m benchmarks.first_step STEPS PROGRAM [ARGUMENT ...].

Says in a line of JSON when the first step is over, in another how much memory the process has held after the last,
and ends it there. It imports nothing that the program would not import itself.
"""

import json
import os
import runpy
import sys
from typing import Any

from benchmarks.pacer import peak_memory
from trainers.learner import Learner, StepResult


def main() -> None:
    """Put a watch on every training step, then run the program as if it had been started itself."""
    steps, program = int(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[2:]
    done, train_step = 0, Learner.train_step

    def watched(learner: Learner, *arguments: Any) -> StepResult:
        nonlocal done
        result = train_step(learner, *arguments)
        done += 1
        if done == 1:
            print(json.dumps({"first_step": True}), flush=True)
        if done == steps:
            print(json.dumps({"peak_memory": peak_memory()}), flush=True)
            os._exit(0)
        return result

    Learner.train_step = watched  # type: ignore[method-assign, assignment]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
