"""The calls that change a disk: all that jaxcnn's checkpoints, logs and reports are written with.

They are the operating system's own. Callers write `disk.replace(...)`, never a name of their
own, so that a test can put something else in a call's place: one that fails the Nth time, that
writes less than it was given, or that ends the process there.
"""

from __future__ import annotations

import os

CALLS = ("open_file", "write", "truncate", "sync", "close", "replace", "mkdir", "unlink", "rmdir")
"""Names of the calls below."""

open_file = os.open
write = os.write  # may write less than it was given, and says how much
truncate = os.ftruncate
sync = os.fsync
close = os.close
replace = os.replace
mkdir = os.mkdir
unlink = os.unlink
rmdir = os.rmdir
