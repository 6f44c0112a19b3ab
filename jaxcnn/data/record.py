"""Preparations and augmentations as plain values, to be stored with a run."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

from jaxcnn.data import augment, mixing, preprocess
from jaxcnn.errors import ConfigError

_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        augment.Affine,
        augment.AlternatingFlip,
        augment.Compose,
        augment.Cutout,
        augment.Elastic,
        augment.Flip,
        augment.Jitter,
        augment.PCANoise,
        augment.RandomCrop,
        augment.Shift,
        augment.Sometimes,
        mixing.Cutmix,
        mixing.Mixup,
        preprocess.Pad,
        preprocess.Scale,
        preprocess.Standardize,
        preprocess.Steps,
        preprocess.SubtractMeanImage,
    )
}


def to_dict(function: Any) -> dict[str, Any]:
    """A preparation, augmentation or mixing as values that JSON can hold.

    Raises:
      ConfigError: the function is none of `jaxcnn.data`.

    >>> from jaxcnn.data import Pad, Scale, Steps
    >>> to_dict(Steps((Pad(2), Scale())))
    {'kind': 'Steps', 'parts': [{'kind': 'Pad', 'pixels': 2, 'value': 0}, {'kind': 'Scale'}]}
    """
    name = type(function).__name__
    if _KINDS.get(name) is not type(function):
        raise ConfigError(
            f"{function!r} cannot be stored: expected one of jaxcnn.data, {', '.join(_KINDS)}."
        )
    fields = dataclasses.fields(_KINDS[name])
    return {"kind": name} | {
        field.name: _to_plain(getattr(function, field.name)) for field in fields
    }


def from_dict(values: dict[str, Any]) -> Any:
    """The function that `to_dict` described; equal to the one it was made of.

    Raises:
      ConfigError: the kind is unknown, or its fields do not fit.

    >>> from_dict({"kind": "Shift", "pixels": 2})
    Shift(pixels=2)
    """
    kind = values.get("kind")
    if kind not in _KINDS:
        raise ConfigError(f"kind={kind!r} is unknown: use one of {', '.join(_KINDS)}.")
    fields = {name: _from_plain(value) for name, value in values.items() if name != "kind"}
    try:
        return _KINDS[kind](**fields)
    except TypeError as error:
        raise ConfigError(f"cannot make a {kind} of {sorted(fields)}: {error}.") from error


def _to_plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, tuple):
        return [_to_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return to_dict(value)


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_from_plain(item) for item in value)
    if isinstance(value, dict):
        return base64.b64decode(value["base64"]) if "base64" in value else from_dict(value)
    return value
