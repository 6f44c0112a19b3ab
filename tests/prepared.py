"""Small prepared data sets, as tfds lays them out, written by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.pictures import MODES, picture

CLASSES = ("ant", "bee", "cat")


def _feature(kind: str, **more) -> dict:
    return {"pythonClassName": f"tensorflow_datasets.core.features.{kind}", **more}


def encoded(rng: np.random.Generator, mode: str) -> bytes:
    width, height = (int(side) for side in rng.integers(20, 60, size=2))
    buffer = io.BytesIO()
    picture(rng, mode, width, height).save(buffer, "JPEG" if mode in ("RGB", "CMYK") else "PNG")
    return buffer.getvalue()


def write_prepared(
    root: Path, counts: Sequence[int] = (7, 5), labels: Sequence[int] | None = None
) -> Path:
    """A set "zoo" whose training split has a record file for each of `counts`, and a small test."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    folder = root / "zoo" / "1.0.0"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(4)
    number = 0
    splits = []
    for split, shards in (("train", list(counts)), ("validation", [4])):
        for place, count in enumerate(shards):
            name = f"zoo-{split}.array_record-{place:05d}-of-{len(shards):05d}"
            writer = ArrayRecordWriter(str(folder / name), "group_size:1")
            for _ in range(count):
                example = tf_example_pb2.Example()
                feature = example.features.feature
                image = encoded(rng, MODES[number % len(MODES)])
                feature["image"].bytes_list.value.append(image)
                label = number % 3 if labels is None else labels[number % len(labels)]
                feature["label"].int64_list.value.append(label)
                writer.write(example.SerializeToString())
                number += 1
            writer.close()
        splits.append(
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": "1",
                "shardLengths": [str(count) for count in shards],
            }
        )
    info = {
        "name": "zoo",
        "version": "1.0.0",
        "fileFormat": "array_record",
        "moduleName": "zoo",
        "splits": splits,
    }
    features = {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                "image": _feature(
                    "image_feature.Image",
                    image={
                        "dtype": "uint8",
                        "shape": {"dimensions": ["-1", "-1", "3"]},
                        "encodingFormat": "jpeg",
                    },
                ),
                "label": _feature("class_label_feature.ClassLabel", classLabel={"numClasses": "3"}),
            }
        },
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text(json.dumps(features))
    (folder / "label.labels.txt").write_text("\n".join(CLASSES) + "\n")
    return folder
