# SPDX-License-Identifier: MIT
"""Memory that users share: who fills it loses own entries, not those of others."""

from __future__ import annotations

from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")

#: Ids of an aligned block belong to one user, see `user_of` in the ring of the kernel.
_BLOCK_BITS = 16


class FairShare(Generic[_K, _V]):
    """A dictionary in the order of insertion; each entry belongs to a user.

    A user has at most `of_user` entries, all users together have `of_all`.
    """

    def __init__(self, of_user: int, of_all: int) -> None:
        self.entries: dict[_K, tuple[int, _V]] = {}
        """User and value by key; always the same object."""
        self._of_user: dict[int, dict[_K, None]] = {}
        self._last: tuple[int, _V] | None = None
        self._most_of_user, self._most = of_user, of_all

    def add(self, key: _K, value: _V, uid: int) -> _V | None:
        """Add an entry, or put it in the place of one with this key.

        Returns:
            The value that gave way: the oldest of the user, or of all where the user
            has none. None: there is room.
        """
        if key in self.entries:
            self.pop(key)
        user = uid >> _BLOCK_BITS << _BLOCK_BITS or uid
        own, gone = self._of_user.get(user), None
        if len(self.entries) >= self._most or (own and len(own) >= self._most_of_user):
            gone = self.pop(next(iter(own or self.entries)))
        self._of_user.setdefault(user, {})[key] = None
        last = self._last
        if last is None or last[1] is not value or last[0] != user:
            self._last = last = user, value
        self.entries[key] = last  # one object for several keys of one value
        return gone

    def pop(self, key: _K) -> _V:
        """Remove an entry and return its value; KeyError: there is none."""
        user, value = self.entries.pop(key)
        own = self._of_user[user]
        del own[key]
        if not own:
            del self._of_user[user]
        return value

    def clear(self) -> list[_V]:
        """Remove all entries and return their values, the oldest first."""
        values = [value for _, value in self.entries.values()]
        self.entries.clear()
        self._of_user.clear()
        self._last = None
        return values
