"""Draws a folder of pictures to try the streaming experiments without ImageNet.

Command:   python -m experiments.draw_folder OUT [--train 3000 --test 500 --damaged 3]

Each picture shows one shape (its class) in a random colour, place, size and turn on a smooth
random ground. Sizes vary from 96 to 480 pixels a side; among the modes are grey, CMYK, palette,
transparent and 16-bit pictures; `--damaged` of the training pictures are cut off in the middle.
"""

from __future__ import annotations

import dataclasses
import io
import math
import sys
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw

from jaxcnn import storage
from jaxcnn.errors import ConfigError, JaxcnnError, explain

CLASSES = ("circle", "cross", "hexagon", "ring", "square", "star", "stripes", "triangle")
_MODES = ("RGB", "RGB", "RGB", "L", "CMYK", "P", "RGBA", "I;16")
_JPEG = ("RGB", "L", "CMYK")
_SIDES = (96, 480)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Draws a folder of pictures of eight shapes."""

    out: tyro.conf.Positional[Path]
    """Folder to make; it must not exist."""
    train: int = 3_000
    """Training pictures."""
    test: int = 500
    """Test pictures, in val/."""
    damaged: int = 0
    """Training pictures that are cut off in the middle."""
    seed: int = 0
    """Decides everything that is drawn."""


def draw_folder(settings: Settings) -> None:
    """Writes the pictures.

    Raises:
      ConfigError: the folder exists, or a number is out of range.
      OutputError: it cannot be written.
    """
    if settings.out.exists():
        raise ConfigError(f"{settings.out} exists already: choose a folder that does not.")
    if min(settings.train, settings.test) < len(CLASSES) or not (
        0 <= settings.damaged <= settings.train
    ):
        raise ConfigError(
            f"--train {settings.train} --test {settings.test} --damaged {settings.damaged}: "
            f"expected at least {len(CLASSES)} pictures each, and at most --train damaged ones."
        )
    rng = np.random.default_rng(settings.seed)
    for split, count in (("train", settings.train), ("val", settings.test)):
        for number in range(count):
            kind = CLASSES[number % len(CLASSES)]
            mode = _MODES[int(rng.integers(len(_MODES)))]
            content = _encoded(_picture(kind, rng), mode)
            if split == "train" and number < settings.damaged:
                content = content[: len(content) // 2]
            ending = "jpg" if mode in _JPEG else "png"
            path = settings.out / split / kind / f"{number:06d}.{ending}"
            storage.write_bytes(path, content)


def _picture(kind: str, rng: np.random.Generator) -> Image.Image:
    width, height = (int(side) for side in rng.integers(*_SIDES, size=2))
    coarse = rng.integers(40, 216, size=(3, 4, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    radius = min(width, height) * rng.uniform(0.25, 0.42)
    centre = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
    colour = tuple(int(v) for v in rng.choice([0, 255], size=3))
    pen = ImageDraw.Draw(image)
    turn = rng.uniform(0, 2 * math.pi)
    box = [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
    if kind == "circle":
        pen.ellipse(box, fill=colour)
    elif kind == "ring":
        pen.ellipse(box, outline=colour, width=max(3, round(radius / 4)))
    elif kind == "cross":
        for part in (0, math.pi / 2):
            pen.line(_line(centre, radius, turn + part), fill=colour, width=round(radius / 3))
    elif kind == "stripes":
        for shift in (-0.7, 0.0, 0.7):
            middle = (
                centre[0] - shift * radius * math.sin(turn),
                centre[1] + shift * radius * math.cos(turn),
            )
            pen.line(_line(middle, radius, turn), fill=colour, width=max(3, round(radius / 5)))
    elif kind == "star":
        points = [
            _point(centre, radius * (1 if i % 2 == 0 else 0.4), turn + i * math.pi / 5)
            for i in range(10)
        ]
        pen.polygon(points, fill=colour)
    else:
        corners = {"triangle": 3, "square": 4, "hexagon": 6}[kind]
        points = [_point(centre, radius, turn + i * 2 * math.pi / corners) for i in range(corners)]
        pen.polygon(points, fill=colour)
    return image


def _point(centre: tuple[float, float], radius: float, angle: float) -> tuple[float, float]:
    return centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)


def _line(centre: tuple[float, float], radius: float, angle: float) -> list[tuple[float, float]]:
    return [_point(centre, radius, angle), _point(centre, radius, angle + math.pi)]


def _encoded(image: Image.Image, mode: str) -> bytes:
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8)
    else:
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if mode in _JPEG else "PNG")
    return buffer.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Runs it from the command line and returns the exit status."""
    settings = tyro.cli(Settings, prog="python -m experiments.draw_folder", args=arguments)
    try:
        draw_folder(settings)
    except JaxcnnError as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    print(f"{settings.train:,} training and {settings.test:,} test pictures in {settings.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
