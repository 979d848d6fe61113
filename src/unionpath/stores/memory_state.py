"""A tree of inodes as plain values, one row each, and back; without recursion, so that any depth works."""

from __future__ import annotations

from typing import TypeAlias

from unionpath.model.entry import Kind
from unionpath.stores.memory_inodes import (
    DirectoryInode,
    FileInode,
    Inode,
    InodeFields,
    Name,
    SymlinkInode,
    make_node,
)

Payload: TypeAlias = bytes | str | int | dict[str, int]
"""A file's data, a link's target, a device's number, or a directory's names with their inode numbers."""
Row: TypeAlias = tuple[int, int, int, int, int, int, int, int, Payload, dict[str, bytes] | None]
"""ino, kind, permissions, uid, gid, atime, mtime, ctime, payload, xattrs."""
MemoryState: TypeAlias = list[Row]
"""The root's row, then all others."""


def dump(root: DirectoryInode) -> MemoryState:
    """Write a tree down; the lock is held."""
    return [_row(inode) for inode in _every(root)]


def load(state: MemoryState) -> tuple[DirectoryInode, dict[Inode, set[Name]]]:
    """Make a tree from its rows; give its root, and all names of the objects that have several."""
    inodes = {row[0]: _inode(row) for row in state}
    directories: list[DirectoryInode] = []
    for number, *_, payload, _xattrs in state:
        if isinstance(parent := inodes[number], DirectoryInode) and isinstance(payload, dict):
            _fill(parent, {name: inodes[child] for name, child in payload.items()})
            directories.append(parent)
    return directories[0], _hard_links(directories)


def _every(root: DirectoryInode) -> list[Inode]:
    """List every inode once, the root first."""
    found: dict[Inode, None] = {root: None}
    waiting: list[Inode] = [root]
    while waiting:
        inode = waiting.pop()
        if isinstance(inode, DirectoryInode):
            new = [child for child in inode.children.values() if child not in found]
            found.update(dict.fromkeys(new))
            waiting.extend(new)
    return list(found)


def _row(inode: Inode) -> Row:
    return (
        inode.ino,
        int(inode.kind),
        inode.permissions,
        inode.uid,
        inode.gid,
        inode.atime_ns,
        inode.mtime_ns,
        inode.ctime_ns,
        _payload(inode),
        None if inode.xattrs is None else dict(inode.xattrs),
    )


def _payload(inode: Inode) -> Payload:
    if isinstance(inode, FileInode):
        return bytes(inode.data)
    if isinstance(inode, SymlinkInode):
        return inode.target
    if isinstance(inode, DirectoryInode):
        return {name: child.ino for name, child in inode.children.items()}
    return inode.rdev


def _inode(row: Row) -> Inode:
    ino, kind, permissions, uid, gid, atime_ns, mtime_ns, ctime_ns, payload, xattrs = row
    inode = _bare(Kind(kind), (ino, permissions, uid, gid, ctime_ns), payload)
    inode.atime_ns, inode.mtime_ns = atime_ns, mtime_ns
    inode.nlink = 2 if kind == Kind.DIRECTORY else 0
    inode.xattrs = None if xattrs is None else dict(xattrs)
    return inode


def _bare(kind: Kind, fields: InodeFields, payload: Payload) -> Inode:
    if isinstance(payload, bytes):
        file = FileInode(*fields)
        file.data = payload
        return file
    if isinstance(payload, str):
        link = SymlinkInode(*fields)
        link.target = payload
        return link
    if isinstance(payload, dict):
        return DirectoryInode(*fields)
    return make_node(kind, fields, payload)


def _fill(parent: DirectoryInode, children: dict[str, Inode]) -> None:
    """Give a directory its names, and count the links."""
    parent.children = children
    for inode in children.values():
        if isinstance(inode, DirectoryInode):
            inode.parent = parent
            parent.nlink += 1
        else:
            inode.nlink += 1


def _hard_links(directories: list[DirectoryInode]) -> dict[Inode, set[Name]]:
    found: dict[Inode, set[Name]] = {}
    for directory in directories:
        for name, inode in directory.children.items():
            if inode.nlink > 1 and not isinstance(inode, DirectoryInode):
                found.setdefault(inode, set()).add((directory, name))
    return found
