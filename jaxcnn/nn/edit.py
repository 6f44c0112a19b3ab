"""Editing a description: the same network with some of its layers changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxcnn.layer import Layer


def replace_layers(model: Layer, change: Callable[[Layer], Layer]) -> Layer:
    """Rebuilds `model` with `change` applied to every layer in it, inner ones first.

    Names and places stay, so parameters that were made for `model` still fit wherever
    `change` keeps the shapes. Layers are found in the fields of dataclasses and in tuples.

    >>> from jaxcnn import nn
    >>> def faster(layer):
    ...     return nn.BatchNorm(decay=0.5) if isinstance(layer, nn.BatchNorm) else layer
    >>> replace_layers(nn.chain(fc=nn.Dense(2), norm=nn.BatchNorm()), faster)
    chain(fc=Dense(features=2), norm=BatchNorm(decay=0.5))
    """

    def rebuild(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(rebuild(item) for item in value)
        if isinstance(value, type) or not isinstance(value, Layer):
            return value
        names = [f.name for f in getattr(value, "__dataclass_fields__", {}).values() if f.init]
        fields = {name: getattr(value, name) for name in names}
        inner = {name: rebuild(field) for name, field in fields.items()}
        if inner != fields:
            value = dataclasses.replace(value, **inner)  # type: ignore[type-var]
        return change(value)

    rebuilt: Layer = rebuild(model)
    return rebuilt
