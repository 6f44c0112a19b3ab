"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import pages

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_examples_run(capsys):
    blocks = [block.code for block in pages.blocks(README)]
    assert len(blocks) == 2
    assert len(blocks[0].splitlines()) <= 30
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    accuracy = float(re.search(r"accuracy ([\d.]+)", printed)[1])
    assert accuracy > 0.85
    assert names["maps"]["conv1"].shape == (1, 24, 24, 8)
    assert "total" in printed
    assert names["params"]["gain"]["gain"].shape == (784,)


@pytest.mark.parametrize("path", re.findall(r"`((?:jaxcnn|experiments|tests)/[\w/.]+)`", README))
def test_the_places_it_names_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "target",
    sorted(set(re.findall(r"`?make ([a-z][a-z-]+)(?: |`|$)", README, re.MULTILINE)) - {"them"}),
)
def test_the_targets_it_names_exist(target):
    makefile = (ROOT / "Makefile").read_text()
    if target.startswith("train-"):
        assert (ROOT / "experiments" / f"{target.removeprefix('train-')}.py").exists()
    else:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_pictures_it_shows_exist():
    for path in pages.pictures(README):
        assert (ROOT / path).exists()
