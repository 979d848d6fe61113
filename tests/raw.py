"""
Layers as they lie in their stores, markers and work area included, read without unionpath where that can be.

A local directory is read through `os`, fsspec's memory through fsspec, our memory store through its own
handles. Wrappers around a store are taken off, lest they count or fail what isn't asked of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from views import KINDS

if TYPE_CHECKING:
    from unionpath.model.store import Directory, Store
    from unionpath.stores.memory import MemoryStore
    from unionpath.stores.upath import UPathStore

LARGE = 1 << 20
"""Files of more bytes are known by their status and their ends."""
WORK = ".wh..wh.unionpath"
"""The work area inside an upper; also where a table is kept."""


class Held(NamedTuple):
    """One object as a store holds it: all but access times."""

    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    rdev: int = 0
    attributes: tuple[tuple[str, bytes], ...] = ()
    content: str = ""
    """A digest of a file's bytes; a link's target."""
    identity: tuple[int, ...] = ()
    """What tells of changes that were taken back: inode number and change time, where they are real."""


Tree: TypeAlias = dict[str, Held]
"""Paths from the layer's root, `/` itself included, to what is there."""


class TooLarge(Exception):
    """There are more entries than was asked for."""


def tree(place: str | Store, *, most: int | None = None) -> Tree:
    """
    Read a whole store, or a directory of the host.

    Raises:
        TooLarge: it holds more than `most` objects.
        OSError: it is gone.
    """
    found: Tree = {}
    for path, held in _objects(place):
        found[path] = held
        if most is not None and len(found) > most:
            raise TooLarge(path)
    return found


def bare(store: Store) -> Store:
    """Take the wrappers off."""
    from unionpath.stores.wrapping import WrappingStore

    while isinstance(store, WrappingStore):
        store = store.inner
    return store


def names(store: Store) -> list[str]:
    """List all paths of a store, but for the work area and its own table."""
    return sorted(path for path in tree(store) if not _is_work(path))


def whiteouts(store: Store, whiteouts: str) -> list[str]:
    """List what the marks of a layer of this format hide, sorted; one line per marker."""
    return sorted(path for kind, path in _marks(tree(store), store, whiteouts) if kind == "w")


def opaques(store: Store, whiteouts: str) -> list[str]:
    """List the directories that the marks of a layer of this format make opaque."""
    return sorted(path for kind, path in _marks(tree(store), store, whiteouts) if kind == "o")


def read(store: Store, path: str) -> bytes:
    """Read one file of a store."""
    at: Directory = bare(store).root()
    *above, name = path.strip("/").split("/")
    for each in above:
        at = at.child(each)
    return at.read(name)


def digest(data: bytes) -> str:
    """Give what `Held.content` says of such bytes."""
    return hashlib.sha256(data).hexdigest()


def _is_work(path: str) -> bool:
    return path.startswith(f"/{WORK}")


def _marks(found: Tree, store: Store, whiteouts: str) -> Iterator[tuple[str, str]]:
    if whiteouts == "table":
        log = f"/{WORK}/whiteouts"
        yield from _table(read(store, log)) if log in found else ()
    elif whiteouts == "overlayfs":
        yield from _devices(found)
    else:
        yield from _names(found, ".wh..wh..opq" if whiteouts == "oci" else ".wh.__dir_opaque")


def _names(paths: Iterable[str], opaque: str) -> Iterator[tuple[str, str]]:
    for path in paths:
        above, _, name = path.rpartition("/")
        if name == opaque:
            yield "o", above or "/"
        elif name.startswith(".wh.") and not name.startswith(".wh..wh.") and "/.wh..wh." not in above:
            yield "w", f"{above}/{name[4:]}"


def _devices(found: Tree) -> Iterator[tuple[str, str]]:
    for path, held in found.items():
        attributes = {name.partition(".")[2]: value for name, value in held.attributes}
        if (held.kind == "device" and held.rdev == 0) or "overlay.whiteout" in attributes:
            yield "w", path
        if attributes.get("overlay.opaque") == b"y":
            yield "o", path


def _table(log: bytes) -> set[tuple[str, str]]:
    first, *lines = log.decode().splitlines()
    assert "unionpath whiteouts 1" == first
    marks: set[tuple[str, str]] = set()
    for line in lines:
        verb, path = json.loads(line)
        if verb == "x":
            marks = {(kind, at) for kind, at in marks if not at.startswith(path.rstrip("/") + "/")}
        elif verb.startswith("-"):
            marks.discard((verb[1:], path))
        else:
            marks.add((verb, path))
    return marks


# One reader per kind of store.


def _objects(place: str | Store) -> Iterator[tuple[str, Held]]:
    if isinstance(place, str):
        yield from _on_disk(place)
        return
    from unionpath.stores.memory import MemoryStore

    store = bare(place)
    if store.real_path is not None:
        yield from _on_disk(store.real_path)
    elif isinstance(store, MemoryStore):
        yield from _in_memory(store)
    else:
        from unionpath.stores.upath import UPathStore

        if isinstance(store, UPathStore):
            yield from _in_fsspec(store)


def _on_disk(root: str) -> Iterator[tuple[str, Held]]:
    pending = [""]
    while pending:
        path = pending.pop()
        held = _disk_object(root + path)
        yield path or "/", held
        if held.kind == "dir":
            pending += [f"{path}/{name}" for name in os.listdir(root + path)]


def _disk_object(at: str) -> Held:
    status = os.lstat(at)
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    content = ""
    if kind == "link":
        content = os.readlink(at)
    elif kind == "file":
        content = _digest(at, status.st_size)
    attributes = tuple(
        (name, os.getxattr(at, name, follow_symlinks=False))
        for name in sorted(os.listxattr(at, follow_symlinks=False))
    )
    return Held(
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        status.st_rdev,
        attributes,
        content,
        (status.st_ino, status.st_ctime_ns),
    )


def _digest(at: str, size: int) -> str:
    try:
        with open(at, "rb") as file:
            if size <= LARGE:
                return digest(file.read())
            head = file.read(4096)
            file.seek(-4096, os.SEEK_END)
            return f"{size} {digest(head + file.read())}"
    except PermissionError:
        return "unreadable"


def _in_memory(store: MemoryStore) -> Iterator[tuple[str, Held]]:
    from unionpath.model.entry import Kind

    tags = tuple(Kind)
    pending: list[tuple[str, Directory]] = [("", store.root())]
    while pending:
        path, directory = pending.pop()
        yield path or "/", _memory_object(directory, None)
        for name, kind in directory.scan(tags).items():
            if kind == Kind.DIRECTORY:
                pending.append((f"{path}/{name}", directory.child(name)))
            else:
                yield f"{path}/{name}", _memory_object(directory, name)


def _memory_object(directory: Directory, name: str | None) -> Held:
    status = directory.status() if name is None else directory.stat(name)
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    content = ""
    if name is not None and kind == "link":
        content = directory.readlink(name)
    elif name is not None and kind == "file":
        content = hashlib.sha256(directory.read(name)).hexdigest()
    attributes = tuple(
        (attribute, directory.getxattr(name, attribute) or b"")
        for attribute in sorted(directory.listxattr(name))
    )
    return Held(
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        status.st_rdev,
        attributes,
        content,
        (status.st_ino, status.st_ctime_ns),
    )


def _in_fsspec(store: UPathStore) -> Iterator[tuple[str, Held]]:
    """Read fsspec's memory; other file systems are left alone, as looking may cost or count."""
    from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]  # no stubs

    root = store.place.partition("://")[2].rstrip("/")
    if not store.place.startswith("memory://"):
        return
    root = "/" + root.lstrip("/")
    yield "/", Held("dir")
    for path in list(MemoryFileSystem.pseudo_dirs):
        if path.startswith(root + "/"):
            yield path[len(root) :], Held("dir")
    for path, file in list(MemoryFileSystem.store.items()):
        if path.startswith(root + "/"):
            yield path[len(root) :], Held("file", content=hashlib.sha256(file.getvalue()).hexdigest())
