"""
The reference model of a union: plain dicts, the rules of families L, M, S and N written out slowly.

Nothing here is cached, shared or clever. A union is a list of described layers, top first; each question
folds over the components of a path from the root, keeping the directories that still contribute. Refusals
are `OSError` with the errno that the rules (or, where they are silent, the kernel) give.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from trees import Alone, Device, Dir, Fifo, File, Link, Node, Object, Whiteout
from views import Walked

MAX_LINKS = 40
NAME_MAX = 255


@dataclass(frozen=True, slots=True)
class Merged:
    """A directory of the union: the layers that contribute to it, top first, by their number."""

    layers: tuple[tuple[int, Dir], ...]


@dataclass(frozen=True, slots=True)
class Single:
    """Anything else: one layer alone shows it (L2)."""

    layer: int
    node: File | Link | Fifo | Device


Shown = Merged | Single


class Union:
    """
    The union of described layers, top first.

    `opaque_roots=False` is the `overlayfs` format, which takes no notice of an opaque marker at a layer's
    root (M8).
    """

    def __init__(self, trees: Sequence[Dir], *, opaque_roots: bool = True) -> None:
        contributing: list[tuple[int, Dir]] = []
        for number, tree in enumerate(trees):
            contributing.append((number, tree))
            if tree.opaque and opaque_roots:
                break
        self._root = Merged(tuple(contributing))

    # The fold.

    def find(self, path: str, follow: bool = True) -> tuple[Shown, list[str]]:
        """Give what shows at a path, and its path free of links and `..` (L1, L9, S1, S2)."""
        if "\0" in path:
            raise ValueError("embedded null byte")
        todo = [part for part in path.split("/") if part not in ("", ".")]
        trail: list[tuple[str, Shown]] = []
        here: Shown = self._root
        links = 0
        while todo:
            name = todo.pop(0)
            if not isinstance(here, Merged):
                raise _error(errno.ENOTDIR, path)
            if name == "..":
                if trail:
                    trail.pop()
                here = trail[-1][1] if trail else self._root
                continue
            if len(os.fsencode(name)) > NAME_MAX:
                raise _error(errno.ENAMETOOLONG, path)
            found = child(here, name)
            if found is None:
                raise _error(errno.ENOENT, path)
            target = _target(found)
            if target is None or (not todo and not follow):
                trail.append((name, found))
                here = found
                continue
            links += 1
            if links > MAX_LINKS:
                raise _error(errno.ELOOP, path)
            if target == "":
                raise _error(errno.ENOENT, path)
            if len(os.fsencode(target)) > 4095:
                raise _error(errno.ENAMETOOLONG, path)
            if target.startswith("/"):
                trail = []
                here = self._root
            todo = [part for part in target.split("/") if part not in ("", ".")] + todo
        return here, [name for name, _ in trail]

    def contributors(self, path: str) -> list[int]:
        """Number the layers that make up what shows at a path."""
        shown, _ = self.find(path)
        if isinstance(shown, Single):
            return [shown.layer]
        return [number for number, _ in shown.layers]

    # The face of `views.View`.

    def kind(self, path: str) -> str:
        return _kind(self.find(path)[0])

    def lkind(self, path: str) -> str:
        return _kind(self.find(path, follow=False)[0])

    def exists(self, path: str) -> bool:
        try:
            self.find(path)
        except OSError as error:
            # As Path.exists: these say no; other errors are raised before Python 3.14 only.
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise
        return True

    def mode(self, path: str) -> int:
        shown, _ = self.find(path)
        node: Object = shown.layers[0][1] if isinstance(shown, Merged) else shown.node
        return 0o777 if isinstance(node, Link) else node.mode

    def read(self, path: str) -> bytes:
        shown, _ = self.find(path)
        if isinstance(shown, Merged):
            raise _error(errno.EISDIR, path)
        if isinstance(shown.node, File):
            return shown.node.data
        if isinstance(shown.node, Fifo):
            return b""
        raise _error(errno.EACCES, path)

    def names(self, path: str) -> list[str]:
        shown, _ = self.find(path)
        if not isinstance(shown, Merged):
            raise _error(errno.ENOTDIR, path)
        return names(shown)

    def readlink(self, path: str) -> str:
        shown, _ = self.find(path, follow=False)
        target = _target(shown)
        if target is None:
            raise _error(errno.EINVAL, path)
        return target

    def resolve(self, path: str) -> str:
        return "/" + "/".join(self.find(path)[1])

    def walk(self, path: str) -> Walked:
        shown, _ = self.find(path)
        return sorted(_walk(path, shown)) if isinstance(shown, Merged) else []

    def glob(self, path: str, pattern: str) -> list[str]:
        parts = pattern.split("/")
        try:
            shown, _ = self.find(path)
        except OSError:
            return []
        return sorted(self._glob(path, shown, parts)) if isinstance(shown, Merged) else []

    def _glob(self, path: str, shown: Merged, parts: list[str]) -> Iterator[str]:
        """Match `*`-patterns and plain names; `**` only as the first of at most two parts."""
        part, *rest = parts
        if part == "**":
            last = re.compile(fnmatch.translate(rest[0] if rest else "*"))
            if not rest:
                yield path
            for top, folders, files in _walk(path, shown):
                yield from (_join(top, name) for name in (*folders, *files) if last.match(name))
            return
        matches = re.compile(fnmatch.translate(part)).match
        for name in names(shown):
            if matches(name) is None:
                continue
            at = _join(path, name)
            if not rest:
                yield at
                continue
            try:
                below, _ = self.find(at)
            except OSError:
                continue
            if isinstance(below, Merged):
                yield from self._glob(at, below, rest)


def child(directory: Merged, name: str) -> Shown | None:
    """Give what one name in a merged directory shows as: the truth table (L2-L6)."""
    merging: list[tuple[int, Dir]] = []
    for number, tree in directory.layers:
        node: Node | None = tree.entries.get(name)
        if node is None:
            continue
        if isinstance(node, Whiteout):
            break
        alone = isinstance(node, Alone)
        seen = node.node if isinstance(node, Alone) else node
        if not isinstance(seen, Dir):
            if not merging:
                return Single(number, seen)
            break
        merging.append((number, seen))
        if seen.opaque or alone:
            break
    return Merged(tuple(merging)) if merging else None


def names(directory: Merged) -> list[str]:
    """List the names that show in a merged directory, by code points (N1)."""
    candidates = {name for _, tree in directory.layers for name in tree.entries}
    return sorted(name for name in candidates if child(directory, name) is not None)


def squash(union: Union) -> Dir:
    """Give one layer that shows what the union shows."""
    return _squash(union._root)


def _squash(shown: Merged) -> Dir:
    entries: dict[str, Node] = {}
    for name in names(shown):
        below = child(shown, name)
        assert below is not None
        entries[name] = _squash(below) if isinstance(below, Merged) else below.node
    return Dir(entries, mode=shown.layers[0][1].mode)


def _walk(path: str, shown: Merged) -> Iterator[tuple[str, list[str], list[str]]]:
    below = {name: child(shown, name) for name in names(shown)}
    folders = [name for name, found in below.items() if isinstance(found, Merged)]
    yield path, folders, [name for name in below if name not in folders]
    for name in folders:
        found = below[name]
        assert isinstance(found, Merged)
        yield from _walk(_join(path, name), found)


def _kind(shown: Shown) -> str:
    if isinstance(shown, Merged):
        return "dir"
    words = {File: "file", Link: "link", Fifo: "fifo", Device: "device"}
    return words[type(shown.node)]


def _target(shown: Shown) -> str | None:
    if isinstance(shown, Single) and isinstance(shown.node, Link):
        return shown.node.target
    return None


def _join(path: str, name: str) -> str:
    return f"{path.rstrip('/')}/{name}"


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


# Strategies: few names, so that layers collide often.

NAMES = ("a", "b", "c")
TARGETS = (
    "a", "b", "c", "a/b", "b/c", "/a", "/b", "/a/b", "/c/a", "../a", "../b", "../c/a", "..", ".", "/",
    "missing", "/missing/a", "a/missing", "../../a", "/a/../b", "b/../c", "../../../c/b",
)  # fmt: skip

files = st.builds(
    File,
    st.integers(0, 999).map(lambda number: b"%d" % number),
    st.sampled_from((0o644, 0o600, 0o755, 0o400)),
)
links = st.builds(Link, st.sampled_from(TARGETS))


def objects(depth: int, *, specials: bool = True, symlinks: bool = True) -> st.SearchStrategy[Object]:
    """Objects of all kinds; directories of at most `depth` levels."""
    leaves: st.SearchStrategy[Object] = files
    if symlinks:
        leaves = st.one_of(files, links)
    if specials:
        leaves = st.one_of(leaves, leaves, leaves, st.just(Fifo()))
    if depth == 0:
        return leaves
    below = folders(depth - 1, specials=specials, symlinks=symlinks)
    return st.one_of(leaves, below, below, below)


def nodes(depth: int, *, specials: bool = True, symlinks: bool = True) -> st.SearchStrategy[Node]:
    """Objects, whiteouts, and objects beside their own whiteout."""
    plain = objects(depth, specials=specials, symlinks=symlinks)
    return st.one_of(plain, plain, plain, plain, st.just(Whiteout()), st.builds(Alone, plain))


def folders(depth: int, *, specials: bool = True, symlinks: bool = True) -> st.SearchStrategy[Dir]:
    """Directories, one in five opaque."""
    return st.builds(
        Dir,
        st.dictionaries(
            st.sampled_from(NAMES), nodes(depth, specials=specials, symlinks=symlinks), max_size=3
        ),
        st.sampled_from((False, False, False, False, True)),
        st.sampled_from((0o755, 0o755, 0o711, 0o700)),
    )


def stacks(
    *, depth: int = 3, layers: int = 5, specials: bool = True, symlinks: bool = True
) -> st.SearchStrategy[list[Dir]]:
    """Stacks of one to `layers` layers."""
    return st.lists(folders(depth, specials=specials, symlinks=symlinks), min_size=1, max_size=layers)


paths = st.builds(
    lambda parts: "/" + "/".join(parts),
    st.lists(st.sampled_from((*NAMES, *NAMES, *NAMES, "..", "missing")), max_size=5),
)
"""Absolute paths, with `..` and missing names among them."""
patterns = st.sampled_from(("*", "**", "**/*", "*/*", "**/a", "a/*", "*/b", "[ab]", "*/*/c", "**/[bc]"))
