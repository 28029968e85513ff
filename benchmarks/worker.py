"""One peer in a process of its own: python -m benchmarks.worker PEER JOB. Lines of JSON out, ``go STEPS`` in."""

import importlib
import json
import os
import sys
from typing import Any

import torch

from benchmarks.job import Job
from benchmarks.pacer import EndedError, Losses, Pacer, line_of

MODULES = {name: f"benchmarks.{module}" for name, module in
           {"ours": "ours", "plain": "plain", "lightning": "lightning_peer", "timm": "timm_peer"}.items()}  # fmt: skip


def losses(peer: str, job: Job, steps: int) -> list[float]:
    """The loss of each of the first ``steps`` training steps: equal for all peers if they do the same job."""
    pacer = Losses(steps)
    try:
        importlib.import_module(MODULES[peer]).train(job, pacer)
    except EndedError:
        pass
    return pacer.losses


def main() -> None:
    """Do the job on the command line until the parent has heard enough."""
    peer, job, warm_up, steps = sys.argv[1], Job(**json.loads(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
    # what libraries print must not come between the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        if job.device != "cpu":
            answer["device_memory"] = torch.cuda.max_memory_allocated()
        print(json.dumps(answer), file=answers, flush=True)

    torch.set_num_threads(job.threads)
    if steps:
        say({"losses": losses(peer, job, steps)})
        return
    finish = torch.cuda.synchronize if job.device != "cpu" else lambda: None
    pacer = Pacer(say, line_of(sys.stdin), warm_up, finish)
    try:
        getattr(importlib.import_module(MODULES[peer]), job.kind)(job, pacer)
    except EndedError:
        pass


if __name__ == "__main__":
    main()
