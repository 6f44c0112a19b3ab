"""Weights as safetensors files: to other libraries and back, damage found."""

from __future__ import annotations

import json
import struct

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("safetensors")

import safetensors.numpy

import jaxcnn
from jaxcnn import models
from jaxcnn.errors import ConfigError, DataError, OutputError
from jaxcnn.interop import safetensors as weights


@pytest.fixture
def tree():
    return {
        "conv1": {"kernel": jnp.arange(12.0).reshape(3, 2, 2), "bias": jnp.zeros(0)},
        "half": jnp.asarray([1.5, -2.0], jnp.bfloat16),
        "step": jnp.int32(7),
        "turned": np.asfortranarray(np.arange(6, dtype=np.int8).reshape(2, 3)),
        "swapped": np.arange(3, dtype=">f4"),
    }


def test_comes_back_bit_for_bit(tmp_path, tree):
    file = tmp_path / "new" / "w.safetensors"
    weights.save(file, tree, {"model": "tiny"})
    back, about = weights.load(file)
    assert about == {"model": "tiny"}
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for one, two in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        two = np.asarray(two)
        two = two.astype(two.dtype.newbyteorder("="))
        assert (one.dtype, one.shape) == (two.dtype, two.shape)
        assert one.tobytes() == two.tobytes()
        assert not one.flags.writeable


def test_a_models_parameters_reach_the_library_and_return(tmp_path, key):
    params, _ = jaxcnn.init(models.lenet5(), key, (28, 28, 1))
    weights.save(tmp_path / "w", params)
    theirs = safetensors.numpy.load_file(tmp_path / "w")
    assert set(theirs) == set(weights.flatten(params))
    np.testing.assert_array_equal(theirs["conv1/kernel"], params["conv1"]["kernel"])
    safetensors.numpy.save_file(theirs, tmp_path / "back")
    back, about = weights.load(tmp_path / "back")
    assert about == {}
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, back, jax.device_get(params))))


def test_names_of_other_libraries_stay_whole(tmp_path):
    safetensors.numpy.save_file({"conv1.weight": np.ones(2)}, tmp_path / "w", {"format": "pt"})
    back, about = weights.load(tmp_path / "w")
    assert list(back) == ["conv1.weight"]
    assert about == {"format": "pt"}


def test_every_flipped_bit_is_noticed(tmp_path, tree):
    file = tmp_path / "w"
    weights.save(file, tree)
    good = file.read_bytes()
    data = 8 + int.from_bytes(good[:8], "little")
    for bit in range(8 * data, 8 * len(good)):
        made = bytearray(good)
        made[bit // 8] ^= 1 << bit % 8
        file.write_bytes(made)
        with pytest.raises(DataError, match="does not match the SHA-256"):
            weights.load(file)


def test_what_cannot_be_saved(tmp_path):
    for tree, about, message in (
        ({"a/b": np.ones(1)}, {}, "the name 'a/b' is not allowed"),
        ({"a": {"": np.ones(1)}}, {}, "the name '' is not allowed"),
        ({"a": np.ones(1, complex)}, {}, "a is complex128, which safetensors files do not hold"),
        ({"a": np.array([None])}, {}, "a is object"),
        ({"a": np.ones(1)}, {"n": 3}, "expected texts"),
        ({"a": np.ones(1)}, {weights.DIGEST: "0"}, "expected texts, and none"),
    ):
        with pytest.raises(ConfigError, match=message):
            weights.save(tmp_path / "w", tree, about)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        weights.save(tmp_path / "file" / "w", {"a": np.ones(1)})


def test_dtypes_that_are_not_read_are_named(tmp_path):
    header = {"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    data = np.ones(2, ml_dtypes.float8_e4m3fn).tobytes()
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(text)) + text + data)
    with pytest.raises(DataError, match="'a' is 'F8_E4M3': use BOOL, U8"):
        weights.load(tmp_path / "w")


def test_entries_and_what_the_library_refuses(tmp_path, monkeypatch):
    def written(entry):
        text = json.dumps({"a": entry}).encode()
        (tmp_path / "w").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
        return tmp_path / "w"

    good = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    assert weights.load(written(good))[0]["a"].shape == (2,)
    for entry in (
        3,
        {"dtype": "F32", "shape": [2]},
        {**good, "more": 1},
        {**good, "shape": [2.0]},
        {**good, "shape": [True, 2]},
        {**good, "shape": [1] * 40 + [2]},
        {**good, "data_offsets": [0, 8, 9]},
        {**good, "data_offsets": [0, -8]},
        {**good, "dtype": 4},
    ):
        with pytest.raises(DataError, match="'a' is not described as an array is"):
            weights.load(written(entry))

    def refuse(content):
        raise RuntimeError("some reason")

    monkeypatch.setattr("safetensors.deserialize", refuse)
    with pytest.raises(DataError, match="refused by safetensors: some reason"):
        weights.load(written(good))
