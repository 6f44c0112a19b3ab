"""NumPy's `.npy` and `.npz` as views of bytes at hand: no code, no compression, no allocation.

`np.load` allocates what a header says before it looks for the data (128 bytes ask for 32 GiB),
and evaluates the header as a Python literal. What `np.save` and `np.savez` write is simple
enough to be matched word by word.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxcnn.errors import JaxcnnError

_MAGIC = b"\x93NUMPY\x01\x00"
_HEAD = len(_MAGIC) + 2
_SIZE = rb"(?:0|[1-9]\d{0,17})"
_HEADER = re.compile(
    rb"\{'descr': '([<|>])([a-zA-Z])(\d{0,4})', 'fortran_order': (True|False), "
    rb"'shape': \((|%s,|%s(?:, %s)+)\), \} *\n" % (_SIZE, _SIZE, _SIZE)
)
_MOST_HEADER = 10_000  # NumPy's own limit
_NUMBERS = "biufc"  # "O" holds pickles; text, dates and records are no data of a network
_MOST_RANK = 32

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_UTF8 = 0x800  # the one flag that NumPy's archives may have
_LOCAL = struct.Struct("<4s5H3L2H")


def parse_npy(content: bytes | memoryview, where: object, *, error: type[JaxcnnError]) -> Any:
    """The array that the bytes of a `.npy` file hold, as a read-only view of them.

    Args:
      content: the whole file.
      where: the file, for messages.
      error: class of the errors.

    Raises:
      error: not what `np.save` writes for an array of numbers, or its shape and dtype do not
        fit the bytes that are there.
    """
    view = memoryview(content)
    if bytes(view[: len(_MAGIC)]) != _MAGIC or len(view) < _HEAD:
        raise error(f"{where}: not a .npy file: it begins with {bytes(view[:8])!r}.")
    start = _HEAD + int.from_bytes(view[_HEAD - 2 : _HEAD], "little")
    if start > min(len(view), _MOST_HEADER):
        raise error(
            f"{where}: a header of {start - _HEAD} bytes in a file of {len(view)}: damaged."
        )
    header = bytes(view[_HEAD:start])
    match = _HEADER.fullmatch(header)
    if match is None:
        raise error(f"{where}: not the header of an array of numbers: {header[:120]!r}.")
    order, kind, width, fortran, sizes = (part.decode() for part in match.groups())
    if kind not in _NUMBERS:
        raise error(
            f"{where}: holds {order}{kind}{width}, expected numbers; objects are never opened."
        )
    try:
        dtype = np.dtype(f"{order}{kind}{width}")
    except TypeError as problem:
        raise error(f"{where}: the dtype {order}{kind}{width} is unknown.") from problem
    shape = tuple(int(size) for size in sizes.replace(" ", "").split(",") if size)
    declared = math.prod(shape) * dtype.itemsize
    if declared != len(view) - start or len(shape) > _MOST_RANK:
        raise error(
            f"{where}: {dtype.name}{list(shape)} takes {declared} bytes, but "
            f"{len(view) - start} are there: damaged."
        )
    flat: NDArray[Any] = np.frombuffer(view[start:].toreadonly(), dtype)
    return flat.reshape(shape, order="F" if fortran == "True" else "C")


def parse_npz(
    content: bytes, where: object, *, most_members: int, error: type[JaxcnnError]
) -> dict[str, NDArray[Any]]:
    """The arrays that the bytes of an uncompressed `.npz` file hold, as read-only views of them.

    Args:
      content: the whole file.
      where: the file, for messages.
      most_members: arrays it may hold.
      error: class of the errors.

    Raises:
      error: not what `np.savez` writes for arrays of numbers: damaged, compressed, encrypted,
        with members that overlap, share a name or hold something else.
    """
    directory = _directory(content, where, most_members, error)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except (MemoryError, JaxcnnError):
        raise
    except Exception as problem:  # zipfile lets struct, codec and index errors through
        raise error(f"{where}: not a usable .npz file: {problem}.") from problem
    arrays: dict[str, NDArray[Any]] = {}
    end = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        name = info.filename.removesuffix(".npy")
        here = f"{where}: {name!r}"
        if name in arrays or name == info.filename:
            raise error(f"{here}: expected each member once, and named *.npy.")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ~_UTF8:
            raise error(f"{here}: compressed or encrypted, expected what np.savez writes.")
        start = _data_start(content, info, here, error)
        if info.header_offset != end:
            raise error(f"{here}: overlaps the member before it, or leaves a gap: damaged.")
        end = start + info.file_size
        if info.compress_size != info.file_size or end > len(content):
            raise error(f"{here}: {info.file_size} bytes are not there: damaged.")
        data = memoryview(content)[start:end]
        if zlib.crc32(data) != info.CRC:
            raise error(f"{here}: does not match its CRC-32: damaged.")
        arrays[name] = parse_npy(data, here, error=error)
    if end != directory:
        raise error(f"{where}: its members end at byte {end}, its directory is at {directory}.")
    return arrays


def _directory(content: bytes, where: object, most_members: int, error: type[JaxcnnError]) -> int:
    """Where the directory begins.

    Bounds it before `zipfile` makes an object of half a kilobyte of each entry.
    """
    if len(content) < _END.size or content[-_END.size :][:4] != b"PK\x05\x06":
        raise error(f"{where}: not a .npz file, or its end is missing.")
    *_, members, size, _, comment = _END.unpack(content[-_END.size :])
    tail = len(content) - _END.size
    locator = tail - _LOCATOR.size
    if locator >= 0 and content[locator : locator + 4] == b"PK\x06\x07":
        tail = locator - _END64.size  # the same numbers as 64 bits, which zipfile prefers
        if tail < 0 or content[tail : tail + 4] != b"PK\x06\x06":
            raise error(f"{where}: its directory is damaged.")
        *_, members, size, _ = _END64.unpack_from(content, tail)
    if comment or size > tail:
        raise error(f"{where}: its directory of {size} bytes is not there, or a comment follows.")
    entries = max(members, content.count(b"PK\x01\x02", tail - size, tail))  # zipfile's own count
    if entries > most_members:
        raise error(f"{where}: {entries} members, expected at most {most_members}.")
    return int(tail - size)


def _data_start(content: bytes, info: zipfile.ZipInfo, here: str, error: type[JaxcnnError]) -> int:
    """Where a member's data begin, behind a header that names the same member."""
    try:
        signature, *_, name_size, extra = _LOCAL.unpack_from(content, info.header_offset)
    except struct.error as problem:
        raise error(f"{here}: its header is not there: damaged.") from problem
    start = info.header_offset + _LOCAL.size
    name = content[start : start + name_size]
    # Names are ASCII or marked as UTF-8; NumPy writes nothing else.
    if signature != b"PK\x03\x04" or name != info.orig_filename.encode("utf-8", "replace"):
        raise error(f"{here}: another member's header stands in its place: damaged.")
    return start + name_size + extra
