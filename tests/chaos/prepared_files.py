"""Writes a prepared data set as tensorflow-datasets does, without it, so that tests may lie."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from jaxcnn.data import Dataset, Splits


def png(pixels: Any) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(encoded, "PNG")
    return encoded.getvalue()


def example(image: bytes, label: int) -> bytes:
    made = tf_example_pb2.Example()
    made.features.feature["image"].bytes_list.value.append(image)
    made.features.feature["label"].int64_list.value.append(label)
    return made.SerializeToString()


def write_records(path: Path, records: list[bytes]) -> None:
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def honest_records(part: Dataset) -> list[bytes]:
    return [example(png(x), int(y)) for x, y in zip(part.images, part.labels, strict=True)]


def write_prepared(
    folder: Path,
    splits: Splits,
    *,
    info: Callable[[dict[str, Any]], None] = lambda info: None,
    features: Callable[[dict[str, Any]], None] = lambda features: None,
) -> Path:
    """Writes a set called "tiny"; `info` and `features` may change its description."""
    described = {
        "name": "tiny",
        "version": "1.0.0",
        "fileFormat": "array_record",
        "splits": [
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": name,
                "numBytes": "1000",
                "shardLengths": [str(len(getattr(splits, name)))],
            }
            for name in ("train", "test")
        ],
    }
    fields = {
        "image": {
            "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
            "image": {
                "dtype": "uint8",
                "shape": {"dimensions": [str(size) for size in splits.train.image_shape]},
            },
        },
        "label": {
            "pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(len(splits.train.classes))},
        },
    }
    info(described)
    features(fields)
    (folder / "dataset_info.json").write_text(json.dumps(described))
    (folder / "features.json").write_text(json.dumps({"featuresDict": {"features": fields}}))
    for name in ("train", "test"):
        path = folder / f"tiny-{name}.array_record-00000-of-00001"
        write_records(path, honest_records(getattr(splits, name)))
    return folder
