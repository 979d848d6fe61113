"""What `cp` and `mv` name: paths of the union, and of the host where an argument begins with `host:`."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

import click

from unionpath.model.errors import oserror
from unionpath.path import UnionPath
from unionpath.stack import LayerStack

HOST = "host:"
"""What a path of the host is written with. A union's own name may begin so behind a slash: `/host:x`."""

Place: TypeAlias = UnionPath | Path


def place_of(stack: LayerStack, text: str) -> Place:
    """
    Read one argument.

    Raises:
        UsageError: `host:` without a path.
    """
    if not text.startswith(HOST):
        return UnionPath(stack, "/", text)
    if text == HOST:
        raise click.UsageError("host: is followed by a path of the host, as in host:notes.txt.")
    return Path(text.removeprefix(HOST))


def spelled(place: Place) -> str:
    """Write a place as an argument would name it."""
    return f"{HOST}{place}" if isinstance(place, Path) else str(place)


def pairs(
    stack: LayerStack, sources: Sequence[str], target: str, *, is_name: bool
) -> list[tuple[Place, Place]]:
    """
    Say where each source goes: into the target if that is a directory, else to its name.

    `is_name`: the target is taken for a name, whatever is there.

    Raises:
        UsageError: both ends of a pair are the host's.
        NotADirectoryError (ENOTDIR): several sources, or a target with a slash at the end, and no directory.
    """
    goal = place_of(stack, target)
    into = not is_name and goal.is_dir()
    if not into and (len(sources) > 1 or (target.endswith("/") and not is_name)):
        raise oserror(errno.ENOTDIR, spelled(goal))
    found = [place_of(stack, each) for each in sources]
    if isinstance(goal, Path) and any(isinstance(each, Path) for each in found):
        raise click.UsageError("From the host to the host the system's own cp and mv will do.")
    return [(each, goal / each.name if into else goal) for each in found]


class HostSource:
    """A host's path with what pathlib's protocol for copying asks of a source; `Path` has it from 3.14 on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def info(self) -> HostSource:
        """What tells the kind: itself."""
        return self

    @property
    def name(self) -> str:
        """The last component."""
        return self._path.name

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is there."""
        return self._path.exists() or (not follow_symlinks and self._path.is_symlink())

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a directory."""
        return self._path.is_dir() and (follow_symlinks or not self._path.is_symlink())

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a regular file."""
        return self._path.is_file() and (follow_symlinks or not self._path.is_symlink())

    def is_symlink(self) -> bool:
        """Tell whether it is a link."""
        return self._path.is_symlink()

    def iterdir(self) -> Iterator[HostSource]:
        """List it."""
        return map(HostSource, self._path.iterdir())

    def readlink(self) -> Path:
        """Give a link's target."""
        return self._path.readlink()

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Stat it."""
        return self._path.stat(follow_symlinks=follow_symlinks)

    def listxattr(self) -> list[str]:
        """Name its extended attributes."""
        try:
            return os.listxattr(self._path)
        except (OSError, AttributeError):  # none on this file system, or on this system
            return []

    def getxattr(self, name: str) -> bytes:
        """Read one."""
        return os.getxattr(self._path, name)

    def __open_reader__(self) -> BinaryIO:  # pathlib's hook
        return self._path.open("rb")

    def __str__(self) -> str:
        return f"{HOST}{self._path}"
