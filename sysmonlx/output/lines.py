# SPDX-License-Identifier: MIT
"""Lines that are written together, in one piece of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise


class Lines:
    """Lines of one batch: the bytes of all, one behind the other, and their sizes.

    A line has no newline. Sizes are in bytes.
    """

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

    def within(
        self, limit_bytes: int, texts: list[str], shortened: Callable[[int], str]
    ) -> Lines:
        """Return lines of which none is longer than the limit.

        `texts` are those of these lines. `shortened` makes the line of a number anew
        where the line is too long. Numbers count from 0.
        """
        for at in (at for at, size in enumerate(self.sizes) if size > limit_bytes):
            texts[at] = shortened(at)
        return Lines.of_texts(texts)

    def __len__(self) -> int:
        return len(self.sizes)

    def split(self, first: int = 0) -> list[bytes]:
        """Return the lines from number `first` on; numbers count from 0."""
        ends: Iterable[int] = accumulate(self.sizes, initial=0)
        return [self.data[start:end] for start, end in [*pairwise(ends)][first:]]
