"""Layers by chance, put down with owners, times and attributes, for programs that change their union."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import oracle
import trees
from changes_model import Inode
from grounds import Ground, Site
from programs import NAMES, TARGETS, XATTRS, Op
from trees import Alone, Dir, Fifo, File, Link, Node, Parts, Whiteout
from writers import DiskWriter

if TYPE_CHECKING:
    from unionpath.model.writable import WritableDirectory
    from unionpath.stores.memory import MemoryStore

Choice: TypeAlias = Callable[[Sequence[object]], object]
Raw: TypeAlias = tuple[object, ...]
"""Everything about one object of a layer that must stay as it is."""


class HardLink(NamedTuple):
    """A second name, inside one layer."""

    layer: int
    source: Parts
    target: Parts


class Scene(NamedTuple):
    """Layers, the upper first, and what is done to their union; enough to repeat a failure."""

    layers: tuple[Dir, ...]
    program: tuple[Op, ...]
    links: tuple[HardLink, ...] = ()
    """Names that no description has."""

    def __str__(self) -> str:
        said = [f"layer {number}: {layer!r}" for number, layer in enumerate(self.layers)]
        return "\n".join([*said, *map(repr, self.links), *map(repr, self.program)])


class Dress(NamedTuple):
    """What a description doesn't say of an object; follows from its place, so that no two look alike."""

    uid: int
    gid: int
    mtime: int
    xattrs: tuple[tuple[str, bytes], ...]


def dress_of(number: int, parts: Parts) -> Dress:
    """Give owner, time and attributes of the object at one place of one layer."""
    chance = zlib.crc32(os.fsencode(f"{number}/{'/'.join(parts)}"))
    owner, group = ((0, 0), (0, 0), (1000, 100), (0, 7))[chance % 4]
    mtime = 100_000_000_000_000_000 + chance * 199_999_999
    xattrs = ((XATTRS[chance % 3], b"%d" % chance),) if chance % 5 == 0 else ()
    return Dress(owner, group, mtime, xattrs)


# Descriptions by chance.


def random_layers(
    choose: Choice, number: int, *, upper: bool = True, specials: bool = True, opaque_roots: bool = False
) -> list[Dir]:
    """Describe an upper, empty if `upper` is False, and `number` lowers."""
    layers = [_random_folder(choose, 3, specials) for _ in range(number)]
    top = _random_folder(choose, 2, specials) if upper else Dir()
    # Only some formats know opaque roots (M8).
    return [
        Dir(layer.entries, opaque_roots and layer.opaque, 0o755 if layer.mode == 0o500 else layer.mode)
        for layer in (top, *layers)
    ]


def random_links(choose: Choice, layers: Sequence[Dir]) -> tuple[HardLink, ...]:
    """Give some files of lowers a second name, `h`, in a folder of the same layer (C8)."""
    found: dict[tuple[int, Parts], HardLink] = {}
    for number, tree in list(enumerate(layers))[1:]:
        files = [parts for parts, node in trees.every(tree) if isinstance(node, File)]
        folders = trees.directories(tree)
        for source in files:
            if choose((True, False)):
                target = (*_parts(choose(folders)), "h")
                found[number, target] = HardLink(number, source, target)
    return tuple(found.values())


def _parts(value: object) -> Parts:
    assert isinstance(value, tuple)
    return value


def without_ghosts(layers: Sequence[Dir], *, lowers: bool = False) -> list[Dir]:
    """
    Leave out whiteouts in directories of the upper that merge with nothing: the kernel lists those (M9).

    With `lowers`, those of the lowers too.
    """
    union = oracle.Union(layers, opaque_roots=False)
    checked = len(layers) if lowers else 1
    return [_without_ghosts(union, number, tree) for number, tree in enumerate(layers[:checked])] + [
        *layers[checked:]
    ]


def without_whiteouts(layers: Sequence[Dir]) -> list[Dir]:
    """Leave out all whiteouts; those that are files with an attribute the kernel lists here and there."""
    kept = []
    for tree in layers:
        for parts, node in list(trees.every(tree)):
            if isinstance(node, Whiteout):
                tree = trees.put(tree, parts, None)
        kept.append(tree)
    return kept


def _without_ghosts(union: oracle.Union, number: int, tree: Dir) -> Dir:
    for parts, node in list(trees.every(tree)):
        if isinstance(node, Whiteout) and _is_lonely(union, number, parts[:-1]):
            tree = trees.put(tree, parts, None)
    return tree


def _is_lonely(union: oracle.Union, number: int, folder: Parts) -> bool:
    shown: oracle.Shown | None = union.find("/")[0]
    for name in folder:
        if not isinstance(shown, oracle.Merged):
            return False
        shown = oracle.child(shown, name)
    return isinstance(shown, oracle.Merged) and [layer for layer, _ in shown.layers] == [number]


def _random_folder(choose: Choice, depth: int, specials: bool) -> Dir:
    names = [name for name in NAMES if choose((True, True, False))]
    entries = {name: _random_node(choose, depth - 1, specials) for name in names}
    return Dir(entries, bool(choose((False,) * 6 + (True,))), _int(choose((0o755, 0o755, 0o700, 0o2775))))


def _random_node(choose: Choice, depth: int, specials: bool) -> Node:
    kind = choose(("file", "file", "dir", "dir", "dir", "dir", "link", "whiteout", "alone", "fifo"))
    if kind == "whiteout":
        return Whiteout()
    if kind == "dir" and depth > 0:
        return _random_folder(choose, depth, specials)
    if kind == "link":
        return Link(str(choose(TARGETS)))
    if kind == "fifo" and specials:
        return Fifo()
    if kind == "alone":
        return Alone(_random_folder(choose, depth, specials) if depth else File(b"alone"))
    return File(b"%d" % _int(choose(range(1000))), _int(choose((0o644, 0o600, 0o755, 0o400, 0o4755))))


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


# Putting down.


def put_down(ground: Ground, directory: Path, scene: Scene, number: int) -> Site:
    """Make one layer in a directory named by its number, dressed."""
    at = directory / str(number)
    at.mkdir()
    tree = scene.layers[number]
    site = ground.site(at).build(tree)
    for link in scene.links:
        if link.layer == number:
            _put_link(site, link)
    places = [parts for parts, node in trees.every(tree) if not isinstance(node, Whiteout)]
    for parts in [*reversed(places), ()]:
        node = trees.find(tree, parts)
        seen = node.node if isinstance(node, Alone) else node
        _put_on(site, parts, seen, dress_of(number, parts))
    return site


def _put_link(site: Site, link: HardLink) -> None:
    if isinstance(site.writer, DiskWriter):
        os.link(site.writer.at(link.source), site.writer.at(link.target), follow_symlinks=False)
        return
    store: MemoryStore = site.writer.source  # type: ignore[assignment]  # ours
    source, target = _folder(store, link.source), _folder(store, link.target)
    target.link(link.target[-1], source, link.source[-1])


def _folder(store: MemoryStore, parts: Parts) -> WritableDirectory:
    at: WritableDirectory = store.root()
    for name in parts[:-1]:
        at = at.child(name)
    return at


def _put_on(site: Site, parts: Parts, node: Node | None, dress: Dress) -> None:
    permissions = None if isinstance(node, Link) else getattr(node, "mode", None)
    xattrs = dress.xattrs if isinstance(node, File | Dir) else ()
    if isinstance(site.writer, DiskWriter):
        _put_on_disk(site.writer.at(parts), permissions, dress, xattrs)
    else:
        _put_on_memory(site.writer.source, parts, permissions, dress, xattrs)  # type: ignore[arg-type]  # ours


def _put_on_disk(at: str, permissions: int | None, dress: Dress, xattrs: Sequence[tuple[str, bytes]]) -> None:
    os.chown(at, dress.uid, dress.gid, follow_symlinks=False)
    if permissions is not None:
        os.chmod(at, permissions)  # after chown, which drops set-user-ID
    for attribute, value in xattrs:
        os.setxattr(at, attribute, value)
    os.utime(at, ns=(dress.mtime, dress.mtime), follow_symlinks=False)


def _put_on_memory(
    store: MemoryStore,
    parts: Parts,
    permissions: int | None,
    dress: Dress,
    xattrs: Sequence[tuple[str, bytes]],
) -> None:
    at, last = _folder(store, parts), parts[-1] if parts else None
    at.chown(last, dress.uid, dress.gid)
    if permissions is not None:
        at.chmod(last, permissions)
    for attribute, value in xattrs:
        at.setxattr(last, attribute, value)
    at.utime(last, (dress.mtime, dress.mtime))


# The model of dressed layers.


def model_of(union: oracle.Union) -> Inode:
    """Give the one tree that the layers show, as objects that can be changed."""
    shown, _ = union.find("/")
    return _inode(shown, ())


def _inode(shown: oracle.Shown, parts: Parts) -> Inode:
    if isinstance(shown, oracle.Single):
        return _dressed(shown.layer, parts, shown.node)
    number, tree = shown.layers[0]
    inode = _dressed(number, parts, tree)
    for name in oracle.names(shown):
        below = oracle.child(shown, name)
        assert below is not None
        inode.entries[name] = _inode(below, (*parts, name))
    return inode


def _dressed(number: int, parts: Parts, node: trees.Object) -> Inode:
    dress = dress_of(number, parts)
    kind = {File: "file", Dir: "dir", Link: "link", Fifo: "fifo"}[type(node)]
    data = node.data if isinstance(node, File) else b""
    if isinstance(node, Link):
        data = os.fsencode(node.target)
    mode = 0o777 if isinstance(node, Link) else node.mode
    xattrs = dict(dress.xattrs) if kind in ("file", "dir") else {}
    return Inode(kind, mode, dress.uid, dress.gid, dress.mtime, data, xattrs)


# Layers that must not change (C3).


def snapshot(site: Site) -> list[Raw]:
    """Give all of a layer, markers and private things too; access times may change."""
    if isinstance(site.writer, DiskWriter):
        return sorted(_on_disk(os.fspath(site.writer.root)), key=repr)
    store: MemoryStore = site.writer.source  # type: ignore[assignment]  # ours
    return sorted(_in_memory(store.root()), key=repr)


def _on_disk(at: str) -> Iterator[Raw]:
    status = os.lstat(at)
    yield at, *_fixed(status), _host_content(at, status), _host_xattrs(at)
    if stat.S_ISDIR(status.st_mode):
        for name in os.listdir(at):
            yield from _on_disk(f"{at}/{name}")


def _host_content(at: str, status: os.stat_result) -> bytes:
    if stat.S_ISLNK(status.st_mode):
        return os.fsencode(os.readlink(at))
    return Path(at).read_bytes() if stat.S_ISREG(status.st_mode) else b""


def _host_xattrs(at: str) -> tuple[tuple[str, bytes], ...]:
    names = os.listxattr(at, follow_symlinks=False)
    return tuple((name, os.getxattr(at, name, follow_symlinks=False)) for name in sorted(names))


def _in_memory(at: WritableDirectory) -> Iterator[Raw]:
    yield (
        at.parts,
        *_fixed(at.status()),
        b"",
        tuple((name, at.getxattr(None, name)) for name in at.listxattr(None)),
    )
    for name in at.scan(range(7)):
        status = at.stat(name)
        if stat.S_ISDIR(status.st_mode):
            yield from _in_memory(at.child(name))
            continue
        content = at.read(name) if stat.S_ISREG(status.st_mode) else b""
        target = at.readlink(name) if stat.S_ISLNK(status.st_mode) else ""
        xattrs = tuple((attribute, at.getxattr(name, attribute)) for attribute in at.listxattr(name))
        yield (*at.parts, name), *_fixed(status), content, target, xattrs


def _fixed(status: os.stat_result) -> Raw:
    return (
        status.st_mode,
        status.st_ino,
        status.st_nlink,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
