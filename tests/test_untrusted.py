"""Reading files that anyone may have made: what is read, and what each refusal says."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.errors import CheckpointError, DataError, JaxcnnError
from jaxcnn.untrusted import parse_json, parse_npy, parse_npz, read_bytes, read_json, text


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def archived(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


class TestFiles:
    def test_content_and_class_of_the_error(self, tmp_path):
        file = tmp_path / "x"
        file.write_bytes(b"abc")
        assert read_bytes(file, most=3, error=DataError) == b"abc"
        with pytest.raises(CheckpointError, match=r"x: 3 bytes, expected at most 2: too large"):
            read_bytes(file, most=2, error=CheckpointError)

    def test_what_is_no_plain_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
            with pytest.raises(DataError, match="cannot be read: not a plain file"):
                read_bytes(path, most=9, error=DataError)
        with pytest.raises(DataError, match="nowhere: cannot be read: No such file"):
            read_bytes(tmp_path / "nowhere", most=9, error=DataError)
        with pytest.raises(DataError, match="cannot be read: embedded null byte"):
            read_bytes(tmp_path / "a\0b", most=9, error=DataError)

    def test_links_where_they_are_allowed(self, tmp_path):
        (tmp_path / "x").write_bytes(b"abc")
        (tmp_path / "link").symlink_to(tmp_path / "x")
        assert read_bytes(tmp_path / "link", most=9, error=DataError) == b"abc"
        with pytest.raises(DataError, match="link: cannot be read: a link, expected a plain file"):
            read_bytes(tmp_path / "link", most=9, error=DataError, follow=False)


class TestJson:
    @pytest.mark.parametrize(
        "value",
        [
            {},
            {"a": [1, 2.5, None, True, '\u00e9\U0001f600 \\ " [{'], "b": {"c": {}}},
            {"deep": json.loads("[" * 30 + "]" * 30)},
            {"brackets in texts": ["[" * 500, "\\", '"[{' * 50]},
        ],
    )
    def test_what_json_writes_is_read(self, tmp_path, value):
        for ascii_only in (True, False):
            (tmp_path / "x.json").write_text(
                json.dumps(value, ensure_ascii=ascii_only), encoding="utf-8"
            )
            assert read_json(tmp_path / "x.json", error=DataError) == value

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "not usable JSON: Expecting value"),
            ("[1]", "expected an object, got list"),
            ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
            ('{"x": [{"a": 1, "a": 1}]}', "the key 'a' stands twice"),
            ('{"a": NaN}', "the number NaN is not finite"),
            ('{"a": -Infinity}', "the number -Infinity is not finite"),
            ('{"a": 1e999}', "the number 1e999 is not finite"),
            ('{"a": "\\udc80"}', "surrogates not allowed"),
            ('{"a": ' + "9" * 5_000 + "}", "Exceeds the limit"),
            ("[" * 33 + "]" * 33, "nested deeper than 32 levels at 32"),
            ('{"a":' * 40 + "1" + "}" * 40, "nested deeper than 32"),
            ("[" + "1," * 250_000 + "1]", "up to 250001 values, expected at most 250000"),
            (" " * ((8 << 20) + 1), "8388609 characters, expected at most 8388608"),
            ("\ufeff{}", "BOM"),
        ],
        ids=lambda x: x[:20],
    )
    def test_what_is_refused(self, content, message):
        with pytest.raises(DataError, match=message) as caught:
            parse_json(content, "some/file", error=DataError)
        assert str(caught.value).startswith("some/file: not usable JSON")

    def test_pairs_of_surrogates_are_a_character(self):
        assert parse_json('{"a": "\\ud83d\\ude00"}', "x", error=DataError) == {"a": "\U0001f600"}

    def test_only_utf8(self, tmp_path):
        (tmp_path / "x").write_bytes('{"a": 1}'.encode("utf-16"))
        with pytest.raises(DataError, match="not UTF-8 text: invalid start byte at byte 0"):
            read_json(tmp_path / "x", error=DataError)

    def test_depth_is_counted_in_proportion_to_length(self):
        """A string that never ends, of quotes: the pattern must not start anew at each of them."""
        with pytest.raises(DataError, match="not usable JSON"):
            parse_json("[" * 40 + "]" * 40 + '"' + '\\"' * 3_000_000, "x", error=DataError)
        tokens = [token[0] for token in text._TOKEN.finditer('["a]\\"[",{"b')]
        assert tokens == ["[", '"a]\\"["', "{", '"b']


class TestNpy:
    @pytest.mark.parametrize(
        "array",
        [
            np.arange(6, dtype=np.int32).reshape(2, 3),
            np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            np.array(3.5, np.float16),
            np.zeros((0, 4), np.uint8),
            np.array([True, False]),
            np.array([1 + 2j]),
            np.arange(4, dtype=">i2"),
        ],
        ids=lambda x: f"{x.dtype}{x.shape}",
    )
    def test_reads_what_numpy_writes(self, array):
        read = parse_npy(saved(array), "x", error=DataError)
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(read, array)
        assert not read.flags.writeable

    def test_agrees_with_numpy_on_every_flip_of_the_header(self):
        good = saved(np.arange(6, dtype=np.int32))
        for bit in range(8 * 128):
            made = bytearray(good)
            made[bit // 8] ^= 1 << bit % 8
            try:
                read = parse_npy(bytes(made), "x", error=DataError)
            except DataError:
                continue
            np.testing.assert_array_equal(read, np.load(io.BytesIO(made), allow_pickle=False))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "not a .npy file"),
            (b"\x93NUMPY\x02\x00" + bytes(20), "not a .npy file"),
            (b"\x93NUMPY\x01\x00\xff\x00", "a header of 255 bytes in a file of 10"),
            (saved(np.array([object()], object)), "holds |O, expected numbers; objects are never"),
            (saved(np.array(["text"])), "holds <U4, expected numbers"),
            (saved(np.array([(1, 2)], "i4,i4")), "not the header of an array of numbers"),
            (saved(np.zeros(3)).replace(b"<f8", b"<f9"), "the dtype <f9 is unknown"),
            (saved(np.zeros(3)).replace(b"(3,)", b"(4,)"), r"float64\[4\] takes 32 bytes, but 24"),
            (saved(np.zeros(3)).replace(b"(3,)", b"(3) "), "not the header of an array"),
            (saved(np.zeros(3)).replace(b"(3,), }", b"(03,),}"), "not the header of an array"),
            (saved(np.zeros(3)) + b"x", "takes 24 bytes, but 25 are there"),
            (saved(np.zeros(3))[:-1], "takes 24 bytes, but 23 are there"),
        ],
        ids=range(12),
    )
    def test_what_is_refused(self, content, message):
        with pytest.raises(DataError, match=message.replace("|", r"\|")):
            parse_npy(content, "x", error=DataError)


def parse(content: bytes, most_members: int = 3) -> dict:
    return parse_npz(content, "x", most_members=most_members, error=DataError)


ARRAYS = {"a/b": np.arange(5.0), "c": np.int8([[1], [2]]), "\u00e9": np.float32(3)}


class TestNpz:
    def test_reads_what_numpy_writes(self):
        read = parse(archived(**ARRAYS))
        assert read.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(read[name], array)
        assert parse(archived()) == {}

    def test_reads_what_numpy_writes_beyond_32_bits(self, monkeypatch):
        """With the limit of plain archives moved down, so that zipfile writes the longer forms."""
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
        content = archived(**ARRAYS)
        assert b"PK\x06\x06" in content
        assert parse(content).keys() == ARRAYS.keys()
        place = content.index(b"PK\x06\x06")
        with pytest.raises(DataError, match="its directory is damaged"):
            parse(content[:place] + b"PK\x06\x05" + content[place + 4 :])
        with pytest.raises(DataError, match="3 members, expected at most 2"):
            parse(content, most_members=2)

    def test_what_is_refused(self):
        good = archived(a=np.arange(5.0), b=np.arange(2))
        entry = good.index(b"PK\x01\x02")
        data = good.index(b"\x93NUMPY") + 130

        def changed(place: int, new: bytes) -> bytes:
            return good[:place] + new + good[place + len(new) :]

        for content, message in (
            (b"", "not a .npz file, or its end is missing"),
            (good + b"x", "not a .npz file, or its end is missing"),
            (changed(data, b"\xff"), "'a': does not match its CRC-32"),
            (changed(0, b"PK\x03\x05"), "'a': another member's header stands in its place"),
            (changed(30, b"z"), "'a': another member's header stands in its place"),
            (changed(entry, b"PK\x01\x03"), "not a usable .npz file"),
            (changed(entry + 20, struct.pack("<L", 9)), "'a': 168 bytes are not there"),
            (changed(entry + 10, b"\x08"), "'a': compressed or encrypted"),
            *(
                (changed(entry + 8, bytes([1 << bit])), "'a': compressed or enc")
                for bit in range(8)
            ),
            (changed(len(good) - 14, bytes(8)), "its members end at byte 0, its directory is at"),
            (good[:entry] + b"gap" + good[entry:], "'a': another member's header stands in"),
            (b"gap" + good, "'a': overlaps the member before it, or leaves a gap"),
            (changed(len(good) - 10, b"\xff\xff"), "its directory of .* bytes is not there"),
        ):
            with pytest.raises(DataError, match=message):
                parse(content)
        with pytest.raises(DataError, match="2 members, expected at most 1"):
            parse(good, most_members=1)

    def test_members_that_share_bytes(self):
        """Each is whole by itself; together they would take more memory than the file has."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("a.npy", saved(np.zeros(4)))
            file.writestr("b.npy", saved(np.zeros(4)))
        content = bytearray(buffer.getvalue())
        first = content.index(b"PK\x01\x02")
        second = content.index(b"PK\x01\x02", first + 4)
        inner = 40  # a header for "b" inside the data of "a"
        content[inner : inner + 36] = content[content.index(b"PK\x03\x04", 4) :][:36]
        content[second + 42 : second + 46] = struct.pack("<L", inner)
        with pytest.raises(DataError, match=r"overlaps the member before it|CRC-32"):
            parse(bytes(content))
        with pytest.raises(DataError, match="expected each member once, and named"):
            parse(bytes(buffer.getvalue()).replace(b"b.npy", b"a.npy"))


def test_every_error_is_one_of_ours():
    for _ in range(3):
        with pytest.raises(JaxcnnError):
            parse(os.urandom(100))
