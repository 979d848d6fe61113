"""What is to be changed of an object, as a value."""

from __future__ import annotations

from typing import NamedTuple


class Attributes(NamedTuple):
    """What is to be set of an object's metadata; None: left as it is."""

    permissions: int | None = None
    owner: tuple[int, int] | None = None
    """User and group; -1 leaves one of them as it is."""
    times: tuple[int, int] | None = None
    """Access and modification time, in nanoseconds since the epoch."""
    now: bool = False
    """Both times to the present."""
    xattrs: tuple[tuple[str, bytes | None], ...] = ()
    """Names and values; None: removed."""

    def __str__(self) -> str:
        words: list[str] = []
        if self.permissions is not None:
            words.append(f"mode {self.permissions:04o}")
        if self.owner is not None:
            words.append("owner {}:{}".format(*self.owner))
        if self.times is not None or self.now:
            words.append("times")
        words += [f"attribute {name}" for name, _value in self.xattrs]
        return ", ".join(words)
