"""Checkpoints that earlier versions wrote are still read, to the bit."""

import json

import jax
import numpy as np
import pytest

from jaxcnn import checkpoint
from jaxcnn.digest import digest
from tests.old_checkpoints.make import FOLDER, logits, start

FORMATS = sorted(path.stem for path in FOLDER.glob("format-*.json"))


def test_there_is_one_of_each_format():
    numbers = range(1, checkpoint._FORMAT + 1)
    assert [f"format-{number}" for number in numbers] == FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_it_comes_back_as_it_was(name):
    expected = json.loads((FOLDER / f"{name}.json").read_text())
    like = jax.eval_shape(start)
    restored = checkpoint.restore(FOLDER / name, like)
    assert digest(restored) == expected["digest"]
    assert int(restored.step) == checkpoint.read_manifest(FOLDER / name)["about"]["step"] == 10
    np.testing.assert_allclose(logits(restored), expected["logits"], rtol=1e-5, atol=1e-6)
