"""What a compiled step exchanges between devices, read from its text. No JAX in it.

`compiled.as_text()` lists one operation a line:

    %all-reduce.3 = (f32[5,5,1,6]{3,2,1,0}, f32[6]{0}) all-reduce(%a, %b), replica_groups=...

The compiler has combined what it could, so a line with several arrays is one exchange.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterable, Sequence

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
"""Operations of XLA that move data between devices. Data parallelism needs the first alone."""

_LINE = re.compile(
    rf"^\s*(?:ROOT )?%?[\w.\-]+ = (?P<result>\(.*?\)|\S+) (?P<kind>{'|'.join(KINDS)})(?:-start)?\(",
    re.MULTILINE,
)
_ARRAY = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_BITS = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One collective operation.

    Attributes:
      kind: one of `KINDS`.
      arrays: element type and shape of each array of its result.
    """

    kind: str
    arrays: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def bytes(self) -> int:
        """Size of its result on one device."""
        return sum(_width(dtype) * math.prod(shape) for dtype, shape in self.arrays)

    @property
    def sizes(self) -> list[int]:
        """Number of elements of each array."""
        return [math.prod(shape) for _, shape in self.arrays]


@dataclasses.dataclass(frozen=True)
class Volume:
    """What one step exchanges, by purpose.

    Attributes:
      operations: by kind, how many.
      kernel_operations: all-reduces that carry the gradient of a kernel.
      gradient_bytes: of all gradients.
      statistics_bytes: of the other arrays: the statistics of batch norm and their gradients.
      count_bytes: of single numbers: losses, counts.
      missing: sizes of parameters whose gradient was not found, none where all is well.
    """

    operations: dict[str, int]
    kernel_operations: int
    gradient_bytes: int
    statistics_bytes: int
    count_bytes: int
    missing: list[int]

    @property
    def bytes(self) -> int:
        """All of them."""
        return self.gradient_bytes + self.statistics_bytes + self.count_bytes


def exchanges(text: str) -> list[Exchange]:
    """The collective operations in the text of a compiled program, in its order.

    The body of a loop counts once. An asynchronous pair counts at its start.

    >>> text = "  %sum = (f32[2,3]{1,0}, f32[]) all-reduce(%a, %b), to_apply=%add"
    >>> exchanges(text)
    [Exchange(kind='all-reduce', arrays=(('f32', (2, 3)), ('f32', ())))]
    >>> exchanges(text)[0].bytes
    28
    """
    found = []
    for line in _LINE.finditer(text):
        arrays = tuple(
            (dtype, tuple(int(size) for size in sizes.split(",") if size))
            for dtype, sizes in _ARRAY.findall(line["result"])
        )
        found.append(Exchange(line["kind"], arrays))
    return found


def volume(found: Sequence[Exchange], kernels: Iterable[int], others: Iterable[int] = ()) -> Volume:
    """Sorts exchanged arrays by purpose.

    The compiler may sum a gradient before it is reshaped, so a gradient is known by its number
    of elements. Each parameter takes one array of its size, from the operations with the most
    bytes first; what is then left over are statistics and counts. (An array may be both: the
    gradient of batch norm's bias is a sum that its backward pass needs as well. It counts once.)

    Args:
      found: of `exchanges`.
      kernels: number of elements of each kernel.
      others: of each other array of parameters: biases, scales.
    """
    large = set(kernels := list(kernels))
    wanted = collections.Counter([*kernels, *others])
    kernel_operations = gradients = statistics = counts = 0
    for exchange in sorted(found, key=lambda each: each.bytes, reverse=True):
        carries = False
        for (dtype, _), size in zip(exchange.arrays, exchange.sizes, strict=True):
            total = _width(dtype) * size
            if exchange.kind == "all-reduce" and wanted[size]:
                wanted[size] -= 1
                gradients += total
                carries |= size in large
            elif size == 1:
                counts += total
            else:
                statistics += total
        kernel_operations += carries
    return Volume(
        operations=dict(collections.Counter(each.kind for each in found)),
        kernel_operations=kernel_operations,
        gradient_bytes=gradients,
        statistics_bytes=statistics,
        count_bytes=counts,
        missing=sorted((+wanted).elements()),
    )


def sent_bytes(size: int, devices: int) -> float:
    """Bytes that each device sends when `size` bytes are all-reduced around a ring.

    `2 (n - 1) / n size`: every device sends each n-th part but one twice, first to be summed,
    then as a sum. No all-reduce can send less.

    >>> sent_bytes(800, 8)
    1400.0

    Source: Patarasuk and Yuan 2009.
    """
    return 2 * (devices - 1) / devices * size


def _width(dtype: str) -> int:
    """Bytes of an element: "f32" has 4, "pred" 1.

    >>> [_width(name) for name in ("f32", "bf16", "s32", "pred", "f8e4m3fn", "s64")]
    [4, 2, 4, 1, 1, 8]
    """
    bits = _BITS.search(dtype)
    return 1 if bits is None else max(int(bits[0]) // 8, 1)
