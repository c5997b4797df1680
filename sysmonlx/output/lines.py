# SPDX-License-Identifier: MIT
"""Many lines that go the same way, in one piece of memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise


class Lines:
    """The bytes of all lines, one behind the other, and the size of each in bytes."""

    __slots__ = ("data", "sizes")

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data = data
        self.sizes = sizes

    @classmethod
    def of(cls, lines: Sequence[bytes]) -> Lines:
        """Return these lines."""
        return cls(b"".join(lines), [len(line) for line in lines])

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> Lines:
        """Return these lines in UTF-8."""
        data = "".join(texts).encode()
        sizes = [*map(len, texts)]
        if len(data) != sum(sizes):  # not all is ASCII
            sizes = [len(text.encode()) for text in texts]
        return cls(data, sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def split(self, first: int = 0) -> list[bytes]:
        """Return each line from number `first` on."""
        ends: Iterable[int] = accumulate(self.sizes, initial=0)
        return [self.data[start:end] for start, end in [*pairwise(ends)][first:]]
