"""Folders of small pictures that tests read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

MODES = ("RGB", "L", "CMYK", "P", "RGBA", "I;16", "1", "LA")


def picture(rng: np.random.Generator, mode: str, width: int, height: int) -> Image.Image:
    """Smooth noise, so that JPEG and resizing change little."""
    coarse = rng.integers(256, size=(4, 5, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8)
    return image.convert(mode)


def write_pictures(root: Path, count: int = 40) -> Path:
    rng = np.random.default_rng(1)
    for number in range(count):
        place = root / ("ant", "bee", "cat")[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        mode = MODES[number % len(MODES)]
        width, height = (int(side) for side in rng.integers(20, 60, size=2))
        ending = ".JPEG" if mode in ("RGB", "L", "CMYK") else ".png"
        picture(rng, mode, width, height).save(place / f"{number:03d}{ending}")
    (root / "ant" / "notes.txt").write_text("not a picture, and not named as one")
    (root / "ant" / ".hidden.jpg").write_text("left out")
    (root / "README.md").write_text("neither")
    return root


def png_head(width: int, height: int) -> bytes:
    """A whole PNG file that claims any size and holds nearly nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
