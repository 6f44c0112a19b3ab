"""Reads mutated files of some formats with limited memory; prints what happened as JSON lines.

Run by test_fuzz.py, which tells a crash of this process from errors that it reports.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import faulthandler
import json
import os
import sys
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.errors import JaxcnnError
from tests.chaos.child import Peak, limited
from tests.chaos.mutations import mutate
from tests.chaos.reader_formats import FORMATS

_HANGS = 120  # seconds after which the stack is printed and the process ends
_SHOWN = 5


def fuzz(name: str, folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Counts of what `count` mutated files of one format came to."""
    kind = FORMATS[name]
    folder.mkdir()
    file = kind.make(folder)
    original = file.read_bytes()
    sealed = {path: path.read_bytes() for path in file.parent.glob("*.json") if path != file}
    honest = kind.read(file)
    rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
    text = file.suffix in (".json", ".jsonl", ".safetensors")
    report: dict[str, Any] = {"format": name, "count": count, "refused": 0, "read": 0}
    failures, slowest = [], 0.0
    with contextlib.suppress(JaxcnnError):  # what the first error imports is not the file's doing
        file.write_bytes(b"\x00")
        kind.read(file)
    with limited(len(original)):
        peak = Peak()
        for number in range(count):
            content = mutate(original, rng, text=text)
            file.write_bytes(content)
            if kind.seal is not None:
                for path, honest_text in sealed.items():
                    path.write_bytes(honest_text)
                kind.seal(file)
            faulthandler.dump_traceback_later(_HANGS, exit=True)
            start = time.process_time()
            try:
                read = kind.read(file)
            except JaxcnnError as error:
                report["refused"] += 1
                problem = None if str(folder) in str(error) else f"names no file: {error}"
            except BaseException as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                report["read"] += 1
                problem = None
            slowest = max(slowest, time.process_time() - start)
            if problem is None and "read" in locals():
                problem = _judged(kind, file, read, honest)
                del read
            if problem is not None:
                failures.append([number, problem[:500], base64.b64encode(content[:4_000]).decode()])
        report["memory"] = peak.bytes()
    faulthandler.cancel_dump_traceback_later()
    return report | {"slowest": slowest, "failed": len(failures), "failures": failures[:_SHOWN]}


def _judged(kind: Any, file: Path, read: Any, honest: Any) -> str | None:
    """What is wrong with something that was read, if anything."""
    try:
        good = kind.judge(file, read, honest)
    except Exception as error:
        return f"read, but another reader refuses it: {type(error).__name__}: {error}"
    return None if good else "read, and it is not what the file holds"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("formats", nargs="+")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    faulthandler.enable()
    warnings.simplefilter("ignore")  # Pillow's, of damaged EXIF data
    for name in args.formats:
        done = fuzz(name, args.folder / name.replace(" ", "-"), args.count, args.seed)
        print(json.dumps(done), flush=True)
    sys.stdout.flush()
    os._exit(0)  # without waiting for the libraries' threads


if __name__ == "__main__":
    main()
