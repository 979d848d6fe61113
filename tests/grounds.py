"""Layers put down from a description, in every format and store, and changed from outside afterwards."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

import pytest

import guard
import oracle
import raw
from trees import Alone, Device, Dir, File, Node, Parts, Whiteout, devices, uses_links, uses_specials
from writers import DiskWriter, MemoryWriter, UPathWriter, Writer, no_device

if TYPE_CHECKING:
    from unionpath import Layer
    from unionpath.model.store import Store
    from unionpath.model.writable import WritableDirectory

Format: TypeAlias = Literal["oci", "unionfs", "overlayfs", "table"]


class Marking(Protocol):
    """Writes absences down in one format. Parents are there."""

    def whiteout(self, writer: Writer, parts: Parts) -> None:
        """Hide a name in the layers below."""

    def clear(self, writer: Writer, parts: Parts) -> None:
        """Forget the whiteout of a name, and every mark below it."""

    def opaque(self, writer: Writer, parts: Parts, opaque: bool) -> None:
        """Make a directory opaque or not."""

    def moved(self, writer: Writer, source: Parts, target: Parts) -> None:
        """Take the marks inside a directory along, after it was renamed."""

    def alone(self, node: Node) -> Node:
        """Say `Alone` as the format can: itself, or without."""


class Names:
    """Whiteouts by name: `.wh.NAME`, and one name for opaque directories."""

    def __init__(self, opaque: str) -> None:
        self._opaque = opaque

    def whiteout(self, writer: Writer, parts: Parts) -> None:
        writer.make(self._marker(parts), File())

    def clear(self, writer: Writer, parts: Parts) -> None:
        marker = self._marker(parts)
        if len(os.fsencode(marker[-1])) <= oracle.NAME_MAX:  # else there can be none (M10)
            writer.remove(marker)

    def opaque(self, writer: Writer, parts: Parts, opaque: bool) -> None:
        writer.remove((*parts, self._opaque))
        if opaque:
            writer.make((*parts, self._opaque), File())

    def moved(self, writer: Writer, source: Parts, target: Parts) -> None:
        """Names move with their directory."""

    def alone(self, node: Node) -> Node:
        return node

    def _marker(self, parts: Parts) -> Parts:
        return (*parts[:-1], f".wh.{parts[-1]}")


class Devices:
    """The kernel's marks: character devices 0:0, or empty files with an xattr; opaque by xattr."""

    def __init__(self, space: str, *, files: bool) -> None:
        self._space = space
        self._files = files

    def whiteout(self, writer: Writer, parts: Parts) -> None:
        if not self._files:
            writer.make(parts, Device(0, 0))
            return
        writer.make(parts, File())
        writer.set_xattr(parts, f"{self._space}.overlay.whiteout", b"y")

    def clear(self, writer: Writer, parts: Parts) -> None:
        """The whiteout is what stands there, and is gone with it."""

    def opaque(self, writer: Writer, parts: Parts, opaque: bool) -> None:
        # "x" says that files in the directory may be whiteouts, "y" that it hides all below.
        # At the root "y" means nothing (M8), and would only take the place of "x".
        value = b"x" if self._files and not (opaque and parts) else b"y" if opaque else None
        writer.set_xattr(parts, f"{self._space}.overlay.opaque", value)

    def moved(self, writer: Writer, source: Parts, target: Parts) -> None:
        """Marks are in the directory."""

    def alone(self, node: Node) -> Node:
        # One name is one object here; a directory that merges with nothing is an opaque one.
        if not isinstance(node, Alone):
            return node
        return replace(node.node, opaque=True) if isinstance(node.node, Dir) else node.node


class Table:
    """A side table, `.wh..wh.unionpath/whiteouts`, always appended to; holds the marks of one layer."""

    PRIVATE = (".wh..wh.unionpath",)
    LOG = (*PRIVATE, "whiteouts")

    def __init__(self) -> None:
        self._begun = False
        self._marks: set[tuple[str, Parts]] = set()

    def whiteout(self, writer: Writer, parts: Parts) -> None:
        self._say(writer, [("w", parts)], [])

    def clear(self, writer: Writer, parts: Parts) -> None:
        depth = len(parts)
        inside = [mark for mark in self._marks if mark[1][:depth] == parts]
        self._say(writer, [], inside)

    def opaque(self, writer: Writer, parts: Parts, opaque: bool) -> None:
        mark = ("o", parts)
        if opaque != (mark in self._marks):
            self._say(writer, [mark] if opaque else [], [] if opaque else [mark])

    def moved(self, writer: Writer, source: Parts, target: Parts) -> None:
        depth = len(source)
        old = [mark for mark in self._marks if mark[1][:depth] == source]
        self._say(writer, [(verb, target + parts[depth:]) for verb, parts in old], old)

    def alone(self, node: Node) -> Node:
        return node

    def _say(self, writer: Writer, new: list[tuple[str, Parts]], old: list[tuple[str, Parts]]) -> None:
        if not self._begun and new:
            writer.mkdir(self.PRIVATE, 0o700)
            writer.make(self.LOG, File(b"unionpath whiteouts 1\n"))
            self._begun = True
        lines = [json.dumps([f"-{verb}", "/" + "/".join(parts)]) for verb, parts in old]
        lines += [json.dumps([verb, "/" + "/".join(parts)]) for verb, parts in new]
        self._marks = (self._marks - set(old)) | set(new)
        if lines:
            writer.append(self.LOG, "".join(f"{line}\n" for line in lines).encode())


class Site:
    """One layer as put down. Every change made here is foreign: unionpath has no part in it."""

    def __init__(self, writer: Writer, marking: Marking, whiteouts: Format, userxattr: bool) -> None:
        self.writer = writer
        self._marking = marking
        self._whiteouts = whiteouts
        self._userxattr = userxattr
        self._shown: Store | None = None

    def build(self, tree: Dir) -> Site:
        """Fill an empty site."""
        self._fill((), tree)
        return self

    def put(self, parts: Parts, node: Node) -> None:
        """Put an object or a whiteout at a place, in place of what was there."""
        self.drop(parts)
        said = self._marking.alone(node)
        if isinstance(said, Whiteout | Alone):
            self._marking.whiteout(self.writer, parts)
        inner = said.node if isinstance(said, Alone) else said
        if isinstance(inner, Dir):
            self.writer.mkdir(parts, inner.mode)
            self._fill(parts, inner)
        elif not isinstance(inner, Whiteout):
            self.writer.make(parts, inner)

    def drop(self, parts: Parts) -> None:
        """Take an object and its whiteout away."""
        self._expect_change()
        self.writer.remove(parts)
        self._marking.clear(self.writer, parts)

    def set_opaque(self, parts: Parts, opaque: bool) -> None:
        """Make a directory opaque, or not."""
        self._expect_change()
        self._marking.opaque(self.writer, parts, opaque)

    def move(self, source: Parts, target: Parts) -> None:
        """Rename an object that isn't beside its own whiteout; what was at the target goes first."""
        self.drop(target)
        self.writer.rename(source, target)
        self._marking.moved(self.writer, source, target)

    def layer(
        self,
        *,
        name: str | None = None,
        immutable: bool = False,
        wrap: Callable[[Store], Store] | None = None,
    ) -> Layer:
        """Show it to unionpath; `wrap` puts something around its store."""
        import unionpath

        source = self.writer.source
        layer = unionpath.Layer(
            source if wrap is None else wrap(unionpath.Layer(source).store),
            name=name,
            whiteouts=self._whiteouts,
            userxattr=self._userxattr,
            immutable=immutable,
        )
        self._shown = layer.store
        return layer

    @property
    def store(self) -> Store:
        """Where it lies; reading it tells what `raw` needs to know."""
        if self._shown is None:
            self.layer()
            store, self._shown = self._shown, None  # not to a union yet
            assert store is not None
            return store
        return self._shown

    def names(self) -> list[str]:
        """List all paths in it, markers too, but nothing of the work area."""
        return raw.names(self.store)

    def stamp(
        self, path: str, *, uid: int = -1, gid: int = -1, mtime_ns: int | None = None, **attributes: bytes
    ) -> None:
        """Set metadata that a description doesn't hold; an attribute's name goes without `user.`."""
        parts = tuple(path.strip("/").split("/"))
        for name, value in attributes.items():
            self.writer.set_xattr(parts, f"user.{name}", value)
        at = cast("WritableDirectory", raw.bare(self.store).root())
        for each in parts[:-1]:
            at = at.child(each)
        if (uid, gid) != (-1, -1):
            at.chown(parts[-1], uid, gid)
        if mtime_ns is not None:
            at.utime(parts[-1], (mtime_ns, mtime_ns))

    def whiteouts(self) -> list[str]:
        """List what its marks hide, once for each marker."""
        return raw.whiteouts(self.store, self._whiteouts)

    def opaques(self) -> list[str]:
        """List the directories that its marks make opaque."""
        return raw.opaques(self.store, self._whiteouts)

    def _expect_change(self) -> None:
        """Tell the guard of lowers that this layer, if a union shows it already, changes on purpose."""
        if self._shown is not None:
            guard.release(self._shown)

    def _fill(self, parts: Parts, tree: Dir) -> None:
        self._marking.opaque(self.writer, parts, tree.opaque)
        for name, node in tree.entries.items():
            self.put((*parts, name), node)
        self.writer.chmod(parts, tree.mode)


@dataclass(frozen=True, slots=True)
class Ground:
    """A kind of layer: a store and a format."""

    id: str
    whiteouts: Format
    writer: Callable[[Path], Writer]
    marking: Callable[[], Marking]
    userxattr: bool = False
    links: bool = True
    specials: bool = True
    modes: bool = True
    missing: Callable[[], str | None] = lambda: None
    """Why it can't be had on this machine, or None."""

    @property
    def opaque_roots(self) -> bool:
        """Whether an opaque marker at the root counts (M8)."""
        return self.whiteouts != "overlayfs"

    @property
    def name_based(self) -> bool:
        """Whether markers are names, so that some names are reserved (M4)."""
        return self.whiteouts in ("oci", "unionfs")

    def site(self, directory: Path) -> Site:
        """Make an empty layer; `directory` is there, and empty."""
        return Site(self.writer(directory), self.marking(), self.whiteouts, self.userxattr)

    def sites(self, directory: Path, trees: Sequence[Dir]) -> list[Site]:
        """Put layers down, each in a directory named by its number."""
        built = []
        for number, tree in enumerate(trees):
            at = directory / str(number)
            at.mkdir()
            built.append(self.site(at).build(tree))
        return built

    def holds(self, tree: Dir) -> bool:
        """Tell whether a layer of this kind can hold all of the tree."""
        return self.lacks(tree) is None

    def lacks(self, tree: Dir) -> str | None:
        """Say what keeps a layer of this kind from holding all of the tree, or None."""
        if not self.links and uses_links(tree):
            return f"a {self.id} layer holds no links"
        if not self.specials and uses_specials(tree):
            return f"a {self.id} layer holds no special files"
        if self.writer is not DiskWriter:
            return None
        reasons = (no_device(device.major, device.minor) for device in devices(tree))
        return next((reason for reason in reasons if reason is not None), None)

    def require(self, *trees: Dir) -> None:
        """Skip the test, with a reason, where it can't be had or can't hold the trees."""
        if (reason := self.missing()) is not None:
            pytest.skip(reason)
        for tree in trees:
            if (reason := self.lacks(tree)) is not None:
                pytest.skip(reason)

    def oracle(self, trees: Sequence[Dir]) -> oracle.Union:
        """Give the model of the union of such layers."""
        return oracle.Union(trees, opaque_roots=self.opaque_roots)


@cache
def no_devices() -> str | None:
    """Say why whiteouts of the kernel's own kind can't be made here, or None."""
    return no_device(0, 0) or no_trusted_xattrs()


@cache
def no_trusted_xattrs() -> str | None:
    """Say why no xattr in the `trusted.` namespace can be set here, or None."""
    with tempfile.TemporaryDirectory() as directory:
        return _no_xattr(directory, "trusted")


@cache
def no_user_xattrs() -> str | None:
    """Say why no xattr in the `user.` namespace can be set here, or None."""
    with tempfile.TemporaryDirectory() as directory:
        return _no_xattr(directory, "user")


@cache
def fast_place() -> str | None:
    """Name a file system in memory that holds every mark, for tests that make many trees, or None."""
    try:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            os.mknod(os.path.join(directory, "whiteout"), stat.S_IFCHR, os.makedev(0, 0))
            if _no_xattr(directory, "trusted") or _no_xattr(directory, "user"):
                return None
    except OSError:
        return None
    return "/dev/shm"


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a fresh directory; for generated cases, which share one `tmp_path`."""
    directory = Path(tempfile.mkdtemp(prefix="unionpath-tests-", dir=fast_place()))
    try:
        yield directory
        guard.check(directory)
    finally:
        guard.forget(directory)
        shutil.rmtree(directory)


def _no_xattr(directory: str, space: str) -> str | None:
    try:
        os.setxattr(directory, f"{space}.unionpath.test", b"y")
    except (OSError, AttributeError) as error:
        why = (
            error.strerror if isinstance(error, OSError) else error
        )  # without the place: one reason, one text
        return f"no {space} xattr can be set here: {why}"
    return None


def _memory(directory: Path) -> Writer:
    from unionpath.stores.memory import MemoryStore

    return MemoryWriter(MemoryStore())


def _upath(directory: Path) -> Writer:
    return UPathWriter()


def _oci() -> Marking:
    return Names(".wh..wh..opq")


def _unionfs() -> Marking:
    return Names(".wh.__dir_opaque")


def _trusted_devices() -> Marking:
    return Devices("trusted", files=False)


def _trusted_files() -> Marking:
    return Devices("trusted", files=True)


def _user_files() -> Marking:
    return Devices("user", files=True)


GROUNDS = (
    Ground("local-oci", "oci", DiskWriter, _oci),
    Ground("local-unionfs", "unionfs", DiskWriter, _unionfs),
    Ground("local-overlayfs", "overlayfs", DiskWriter, _trusted_devices, missing=no_devices),
    Ground("local-overlayfs-files", "overlayfs", DiskWriter, _trusted_files, missing=no_trusted_xattrs),
    Ground("local-userxattr", "overlayfs", DiskWriter, _user_files, userxattr=True, missing=no_user_xattrs),
    Ground("local-table", "table", DiskWriter, Table),
    Ground("memory-oci", "oci", _memory, _oci),
    Ground("memory-unionfs", "unionfs", _memory, _unionfs),
    Ground("memory-overlayfs", "overlayfs", _memory, _trusted_devices),
    Ground("memory-userxattr", "overlayfs", _memory, _user_files, userxattr=True),
    Ground("memory-table", "table", _memory, Table),
    Ground("upath-oci", "oci", _upath, _oci, links=False, specials=False, modes=False),
    Ground("upath-table", "table", _upath, Table, links=False, specials=False, modes=False),
)
BY_ID: Mapping[str, Ground] = {ground.id: ground for ground in GROUNDS}
