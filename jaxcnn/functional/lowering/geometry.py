"""The numbers of a convolution, resolved and checked: what every lowering is given."""

from __future__ import annotations

import dataclasses

Pairs = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Strides, padding, dilations and groups of a convolution, one entry a spatial axis."""

    strides: tuple[int, ...]
    pads: Pairs
    dilations: tuple[int, ...]
    groups: int = 1

    @property
    def dense(self) -> bool:
        """Whether neighbouring windows are neighbours in the input, all channels in one."""
        return set(self.strides) == {1} and set(self.dilations) == {1} and self.groups == 1

    def output(self, sizes: tuple[int, ...], window: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial sizes of the output."""
        return tuple(
            (size + low + high - d * (k - 1) - 1) // s + 1
            for size, k, s, d, (low, high) in zip(
                sizes, window, self.strides, self.dilations, self.pads, strict=True
            )
        )
