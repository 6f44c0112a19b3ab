"""Runs a program and kills it inside a save.

    python -m tests.chaos.killed_in_a_save N experiments.lenet FLAG...

The Nth call that changes the disk inside a save is the last one of the process; where there
are fewer, the program ends as it would without. At its end it prints how many there were.
"""

from __future__ import annotations

import atexit
import runpy
import sys
from typing import Any

from jaxcnn.run import RunFolder
from tests.chaos.faults import Faults, installed


def kill_at(call: int) -> Faults:
    """Makes the `call`th call inside saves the last one of this process. Returns the counter."""
    save, counter = RunFolder.save_checkpoint, Faults("kill", call)

    def failing(*args: Any, **kwargs: Any) -> Any:
        with installed(counter):
            return save(*args, **kwargs)

    RunFolder.save_checkpoint = failing  # type: ignore[method-assign]
    return counter


if __name__ == "__main__":
    _, at, module, *flags = sys.argv
    saves = kill_at(int(at))
    atexit.register(lambda: print(f"{len(saves.calls)} calls inside saves"))
    sys.argv = [module, *flags]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
