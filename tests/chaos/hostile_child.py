"""Reads hostile files under an audit hook; prints what each did as JSON lines.

The hook sees what Python does: code, processes, connections, imports, files. What compiled
libraries do by themselves it does not see. It is set after each reader has read an honest and
a broken file, so that what it sees is the file's doing and not an import's.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from jaxcnn.errors import JaxcnnError
from tests.chaos.child import Peak, limited
from tests.chaos.hostile_files import HOSTILE, IGNORED
from tests.chaos.hostile_kit import CANARY
from tests.chaos.reader_formats import FORMATS

# What no file may cause; "import" comes with the loading of a module only.
FORBIDDEN = (
    *("exec", "compile", "import", "marshal.", "pickle.", "ctypes.", "code.", "cpython."),
    *("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "pty.", "subprocess."),
    *("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser."),
    *("os.remove", "os.rename", "os.link", "os.symlink", "os.truncate", "os.mkdir", "os.rmdir"),
    *("os.chmod", "os.chown", "os.putenv", "shutil.", "tempfile.", "sys.settrace"),
)
_LOOKS = ("open", "os.listdir", "os.scandir")
_HANGS = 120


class Watch:
    """Events of one case; an audit hook cannot be taken away, only made to look elsewhere."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.events: list[str] = []
        self.outside: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event.startswith(FORBIDDEN):
            self.events.append(f"{event} {str(arguments)[:200]}")
        elif event in _LOOKS and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path = os.fsdecode(arguments[0])
            # What counts is the file that is opened in the end, at which O_NOFOLLOW ends.
            stays = event == "open" and (arguments[2] or 0) & os.O_NOFOLLOW
            top, name = os.path.split(path)
            place = os.path.join(os.path.realpath(top), name) if stays else os.path.realpath(path)
            writes = event == "open" and bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR))
            if writes or (not place.startswith(self.folder + os.sep) and place != self.folder):
                self.outside.append(f"{event} {path}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    top: Path = parser.parse_args().folder.resolve()
    faulthandler.enable()
    warnings.simplefilter("ignore")
    os.chdir(top)
    files = []
    for number, each in enumerate(HOSTILE + IGNORED):
        folder = top / str(number) / "given"
        folder.mkdir(parents=True)
        file = FORMATS[each.format].make(folder)
        FORMATS[each.format].read(file)
        content = file.read_bytes()
        file.write_bytes(b"\0")
        with contextlib.suppress(JaxcnnError):
            FORMATS[each.format].read(file)
        file.write_bytes(content)
        each.make(file)
        files.append((each, folder, file, len(content)))
    watch = Watch()
    sys.addaudithook(watch)
    for each, folder, file, size in files:
        faulthandler.dump_traceback_later(_HANGS, exit=True)
        got, start = "read", time.process_time()
        with limited(size):
            peak = Peak()
            watch.events, watch.outside, watch.folder = [], [], str(folder)
            try:
                FORMATS[each.format].read(file)
            except JaxcnnError as error:
                got = f"refused: {error}"
            except BaseException as error:
                got = f"{type(error).__name__}: {error}"
            watch.folder = None
        report = {
            "name": each.name,
            "got": got[:1_000],
            "events": watch.events,
            "outside": watch.outside,
            "seconds": time.process_time() - start,
            "memory": peak.bytes(),
            "honest": size,
            "canary": any(path.name == CANARY for path in top.rglob(CANARY)),
        }
        print(json.dumps(report), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
