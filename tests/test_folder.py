"""Pictures in a folder: the index, and decoding one picture."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import folder
from jaxcnn.data.folder import CorruptImageError, ImageFolder
from jaxcnn.errors import DataError
from tests.pictures import picture, png_head, write_pictures


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "zoo")


@pytest.fixture(scope="module")
def pictures(root) -> ImageFolder:
    return ImageFolder.open(root)


def one(tmp_path: Path, content: bytes | Image.Image, name: str = "x.png") -> np.ndarray:
    """Reads a folder of one picture."""
    place = tmp_path / "one" / "class"
    place.mkdir(parents=True)
    if isinstance(content, bytes):
        (place / name).write_bytes(content)
    else:
        content.save(place / name)
    return ImageFolder.open(place.parent).read(0)


class TestImageFolder:
    def test_the_index(self, root, pictures):
        assert pictures.classes == ("ant", "bee", "cat")
        assert (len(pictures), pictures.name, pictures.source) == (40, "zoo", str(root.resolve()))
        assert pictures.paths[:2] == ("ant/000.JPEG", "ant/003.png")
        assert list(pictures.paths) == sorted(pictures.paths)
        names = [pictures.classes[label] for label in pictures.labels]
        assert names == [path.split("/")[0] for path in pictures.paths]
        assert pictures.labels.dtype == np.int32

    def test_fingerprint_tells_names_sizes_and_classes(self, root, pictures, tmp_path):
        copy = shutil.copytree(root, tmp_path / "copy")
        prints = [pictures.fingerprint, ImageFolder.open(copy, name="other").fingerprint]
        assert prints[0] == prints[1]
        (copy / "ant" / "003.png").rename(copy / "ant" / "004.png")
        prints.append(ImageFolder.open(copy).fingerprint)
        with (copy / "ant" / "004.png").open("ab") as file:
            file.write(b"\0")
        prints.append(ImageFolder.open(copy).fingerprint)
        (copy / "ant").rename(copy / "asp")
        prints.append(ImageFolder.open(copy).fingerprint)
        assert len(set(prints)) == 4

    def test_empty_and_missing_folders(self, tmp_path):
        with pytest.raises(DataError, match="cannot be listed: No such file"):
            ImageFolder.open(tmp_path / "nowhere")
        with pytest.raises(DataError, match="no class folders here"):
            ImageFolder.open(tmp_path)
        (tmp_path / "a").mkdir()
        with pytest.raises(DataError, match="a class with no pictures"):
            ImageFolder.open(tmp_path)
        (tmp_path / "a" / "b").mkdir()
        with pytest.raises(DataError, match="a folder inside a class"):
            ImageFolder.open(tmp_path)

    def test_labels_of_an_index_made_by_hand_are_checked(self, pictures):
        for labels, message in (
            (np.full(40, -1, np.int32), r"zoo: label -1 of ant/000.JPEG is outside 0 .. 2"),
            (np.full(40, 3, np.int32), r"label 3 of ant/000.JPEG is outside 0 .. 2"),
            (np.zeros(39, np.int32), r"labels are int32\[39\], expected int32\[40\]"),
            (np.zeros(40), r"labels are float64\[40\], expected int32\[40\]"),
        ):
            with pytest.raises(DataError, match=message):
                dataclasses.replace(pictures, labels=labels)
        with pytest.raises(ValueError, match="read-only"):
            pictures.labels[0] = -1

    def test_an_index_made_by_hand_stays_inside_its_folder(self, root, tmp_path):
        (tmp_path / "secret.png").write_bytes((root / "ant" / "003.png").read_bytes())
        copy = shutil.copytree(root, tmp_path / "copy")
        for path in ("../secret.png", str(tmp_path / "secret.png")):
            made = dataclasses.replace(
                ImageFolder.open(copy), paths=(path,), labels=np.zeros(1, np.int32)
            )
            with pytest.raises(CorruptImageError, match="outside"):
                made.read(0)

    def test_other_classes_than_expected(self, root):
        assert ImageFolder.open(root, classes=["cat", "ant", "bee"]).classes == (
            "ant",
            "bee",
            "cat",
        )
        with pytest.raises(DataError, match="missing dog, unknown cat"):
            ImageFolder.open(root, classes=["ant", "bee", "dog"])
        with pytest.raises(DataError, match="missing none, unknown bee, cat"):
            ImageFolder.open(root, classes=["ant"])

    def test_links_must_stay_inside(self, root, tmp_path):
        copy = shutil.copytree(root, tmp_path / "copy")
        (copy / "ant" / "inside.png").symlink_to(copy / "bee" / "004.png")
        indexed = ImageFolder.open(copy)
        inside = indexed.paths.index("ant/inside.png")
        np.testing.assert_array_equal(
            indexed.read(inside), indexed.read(indexed.paths.index("bee/004.png"))
        )

        (copy / "ant" / "inside.png").unlink()
        (copy / "ant" / "inside.png").symlink_to(root / "bee" / "004.png")
        with pytest.raises(CorruptImageError, match=r"inside\.png: a link to .* outside"):
            indexed.read(inside)  # the link was changed after the index was made
        with pytest.raises(DataError, match=r"inside\.png: a link to .* outside"):
            ImageFolder.open(copy)

        (copy / "ant" / "inside.png").unlink()
        (copy / "dog").symlink_to(root / "cat")
        with pytest.raises(DataError, match=r"dog: a link to .* outside"):
            ImageFolder.open(copy)
        (copy / "dog").unlink()
        (copy / "dog").symlink_to(copy / "dog")
        with pytest.raises(DataError, match=r"dog: cannot be (read|listed)"):
            ImageFolder.open(copy)


class TestRead:
    def test_every_mode_becomes_rgb(self, root, pictures):
        for index, path in enumerate(pictures.paths):
            with Image.open(root / path) as image:
                size, mode = image.size, image.mode
                expected = np.asarray(image.convert("RGB")) if mode != "I;16" else None
                if expected is None:
                    grey = (np.asarray(image) // 256).astype(np.uint8)
                    expected = np.stack([grey] * 3, axis=-1)
            read = pictures.read(index)
            assert read.dtype == np.uint8
            assert read.shape == (size[1], size[0], 3)
            np.testing.assert_array_equal(read, expected, err_msg=f"{path} {mode}")

    def test_cmyk_red_is_red(self, tmp_path):
        red = one(tmp_path, Image.new("CMYK", (24, 16), (0, 255, 255, 0)), "x.jpg")
        assert np.abs(red.astype(int) - [255, 0, 0]).max() < 8

    def test_what_is_transparent_is_white(self, tmp_path):
        image = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
        image.putpixel((1, 0), (0, 0, 0, 0))
        np.testing.assert_array_equal(one(tmp_path, image), [[[200, 0, 0], [255, 255, 255]]])

    def test_a_transparent_palette_entry_is_white(self, tmp_path):
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        encoded = io.BytesIO()
        image.save(encoded, "PNG", transparency=1)
        read = one(tmp_path, encoded.getvalue())
        np.testing.assert_array_equal(read, [[[10, 20, 30], [255, 255, 255]]])

    def test_exif_turns_the_picture(self, tmp_path):
        pixels = np.zeros((16, 32, 3), np.uint8)
        pixels[:, :16, 0] = 255  # stored: left half red; shown: turned clockwise, red on top
        exif = Image.Exif()
        exif[0x0112] = 6
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "JPEG", exif=exif, quality=95)
        read = one(tmp_path, encoded.getvalue(), "x.jpg")
        assert read.shape == (32, 16, 3)
        assert read[:12, :, 0].min() > 240
        assert read[20:, :, 0].max() < 15

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    def test_a_damaged_exif_block_does_not_lose_the_picture(self, tmp_path):
        encoded = io.BytesIO()
        broken = b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01"
        Image.new("RGB", (24, 16), "blue").save(encoded, "JPEG", exif=broken)
        assert one(tmp_path, encoded.getvalue(), "x.jpg").shape == (16, 24, 3)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "not a whole JPEG or PNG picture: UnidentifiedImageError"),
            (b"text", "not a whole JPEG or PNG picture: UnidentifiedImageError"),
            (b"GIF89a\1\0\1\0\0\0\0;", "not a whole JPEG or PNG picture: UnidentifiedImageError"),
            (png_head(60_000, 60_000), "too many pixels"),
            (png_head(10_000, 10_000), "too many pixels"),  # where Pillow only warns
            (png_head(8_000, 8_000), "8000 x 8000 pixels, expected at most 50000000"),
            (png_head(42, 65_311), r"42 x 65311 pixels in \d+ bytes, expected at most 2\d{6}\."),
            (png_head(100, 100), "not a whole JPEG or PNG picture: OSError"),
        ],
    )
    def test_what_is_no_picture_is_named(self, tmp_path, content, message):
        with pytest.raises(CorruptImageError, match=message) as caught:
            one(tmp_path, content)
        assert "one/class/x.png" in str(caught.value)

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_the_limit_holds_where_warnings_are_ignored(self, tmp_path):
        with pytest.raises(CorruptImageError, match="10000 x 10000 pixels"):
            one(tmp_path, png_head(10_000, 10_000))

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_no_truncation_is_silent(self, tmp_path, kind):
        encoded = io.BytesIO()
        picture(np.random.default_rng(0), "RGB", 40, 30).save(encoded, kind)
        whole = encoded.getvalue()
        place = tmp_path / "set" / "class"
        place.mkdir(parents=True)
        path = place / "x.png"
        path.write_bytes(whole)
        pictures = ImageFolder.open(place.parent)
        expected = pictures.read(0)
        for length in range(0, len(whole) - 12, 11):
            path.write_bytes(whole[:length])
            try:
                read = pictures.read(0)
            except CorruptImageError as error:
                assert str(path.resolve()) in str(error)  # noqa: PT017
            else:  # all that is missing is behind the last pixel
                np.testing.assert_array_equal(read, expected)
                assert length > len(whole) - 60

    def test_vanished_and_oversized_files(self, root, tmp_path, monkeypatch):
        copy = shutil.copytree(root, tmp_path / "copy")
        pictures = ImageFolder.open(copy)
        (copy / "ant" / "000.JPEG").unlink()
        with pytest.raises(CorruptImageError, match=r"000\.JPEG: cannot be read: No such file"):
            pictures.read(0)
        monkeypatch.setattr(folder, "_MOST_BYTES", 10)
        with pytest.raises(CorruptImageError, match=r"bytes, expected a file of at most 10\."):
            pictures.read(1)
