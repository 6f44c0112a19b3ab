"""The tables of results in README.md and docs/results.md, from `experiments/results/*.json`.

Command:   make results                (python -m experiments.tables)
"""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.harness import records
from experiments.ladder import RUNGS
from jaxcnn import storage


def made() -> dict[Path, str]:
    """The files with their tables as the records have them."""
    found = records.read_all()
    order = [rung.name for rung in RUNGS]
    texts = {}
    for path, content in (
        (records.ROOT / "README.md", records.readme(found, order)),
        (records.ROOT / "docs" / "results.md", records.page(found, order)),
    ):
        texts[path] = records.filled(path.read_text(), content, path.name)
    return texts


def main() -> int:
    """Writes the files."""
    for path, text in made().items():
        storage.write_bytes(path, text.encode())
        print(path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
