"""A path of pathlib's `ReadablePath` protocol over a tree that is data: a stranger's path class."""

from __future__ import annotations

import errno
import io
import os
import posixpath
from collections.abc import Iterator
from typing import BinaryIO

from upath.types import PathParser, ReadablePath

from trees import Dir, File, Link, Node, find


class TreePath(ReadablePath):
    """Has what the protocol asks for, and nothing more: no `stat`, no links followed."""

    parser: PathParser = posixpath

    def __init__(self, tree: Dir, *segments: str) -> None:
        self._tree = tree
        self._text = posixpath.join(*segments) if segments else ""

    def with_segments(self, *segments: str) -> TreePath:
        return TreePath(self._tree, *(str(each) for each in segments))

    def __vfspath__(self) -> str:
        return self._text

    def __str__(self) -> str:
        return self._text or "."

    def _node(self) -> Node | None:
        return find(self._tree, tuple(part for part in self._text.split("/") if part))

    def _required(self) -> Node:
        node = self._node()
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._text)
        return node

    @property
    def info(self) -> TreeInfo:
        return TreeInfo(self._node())

    def iterdir(self) -> Iterator[TreePath]:
        node = self._required()
        if not isinstance(node, Dir):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._text)
        return (TreePath(self._tree, self._text, name) for name in node.entries)

    def readlink(self) -> TreePath:
        node = self._required()
        assert isinstance(node, Link)
        return TreePath(self._tree, node.target)

    def __open_reader__(self) -> BinaryIO:
        node = self._required()
        assert isinstance(node, File)
        return io.BytesIO(node.data)


class TreeInfo:
    """What stood there when it was asked for."""

    def __init__(self, node: Node | None) -> None:
        self._node = node

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        return self._node is not None

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return isinstance(self._node, Dir)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return isinstance(self._node, File)

    def is_symlink(self) -> bool:
        return isinstance(self._node, Link)
