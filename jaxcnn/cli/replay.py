"""`jaxcnn replay`: a step that was not finite, once more."""

from __future__ import annotations

from pathlib import Path

import tyro

from jaxcnn.cli import checkout


def replay(bundle: tyro.conf.Positional[Path], data_dir: Path | None = None) -> int:
    """Repeats a step that was not finite, layer by layer; docs/faults.md says more.

    Args:
      bundle: Folder of the step, in faults/ of a run.
      data_dir: Folder with the data; without it, where the run found it.
    """
    more = [] if data_dir is None else ["--data-dir", str(data_dir)]
    return checkout.start("replay", [str(bundle), *more])
