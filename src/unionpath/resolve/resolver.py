"""
What the union shows at a path: the face of `resolve`.

The fast way answers from a kept directory: one split of the path, two dictionary look-ups, and, for a
stat or a read, one system call relative to the winner's descriptor. Whatever isn't plain there (links on the
way, `..`, directories not kept, anything that races) goes the slow way, component by component (L1).
"""

from __future__ import annotations

import errno
import stat as _stat
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from io import RawIOBase
from typing import TypeVar

from unionpath.model.entry import KIND_BITS, KIND_MASK, Kind, Stat, kind_of
from unionpath.model.errors import is_absence, oserror
from unionpath.model.layer import Cache, CacheInfo, LayerView
from unionpath.model.parts import check_text, show_parts
from unionpath.model.store import WHY_NOT_OPENED, Notifier
from unionpath.model.whiteout import Mark, Present
from unionpath.resolve.directories import Directories, Found, Place
from unionpath.resolve.index import Index, Node
from unionpath.resolve.lookup import Lookup, raised, readlink
from unionpath.resolve.probing import Prober
from unionpath.resolve.readdir import Fold
from unionpath.resolve.resolution import LayerFault, Raced, Resolution, Source, Spot

_DIRECTORY = int(Kind.DIRECTORY)
_SYMLINK = int(Kind.SYMLINK)
_FILE = int(Kind.FILE)
_KINDS = tuple(Kind)

_ATTEMPTS = 16

_T = TypeVar("_T")


class Resolver:
    """Answers for one stack. Thread-safe; what it remembers is coherent (see `index.py`)."""

    def __init__(
        self,
        layers: Sequence[LayerView],
        *,
        cache: Cache,
        skip_faults: bool = False,
        fold: Fold | None = None,
        changing: bool = False,
    ) -> None:
        """`changing`: the topmost layer is an upper, which others may be writing to."""
        self.layers = tuple(layers)
        self._fold = fold
        self._prober = Prober(layers, skip_faults=skip_faults, changing=changing)
        self._index = Index(cache)
        # Folded names are never looked up the fast way: what it looks into stays empty.
        self._nodes = self._index.nodes if fold is None else {}
        self._immutable = tuple(layer.immutable for layer in layers)
        self._plain_files = tuple(not layer.format.has_redirects for layer in layers)
        self._directories = Directories(self._prober, self._index, cache, fold)
        self._lookup = Lookup(self._directories)
        self._poll = _poller(layers)

    # --- questions ---------------------------------------------------------------------------------

    def kind(self, path: str, follow: bool = True) -> int:
        """
        Tell the kind of what shows at a path, or -1 if nothing does (ENOENT, ENOTDIR).

        Raises:
            OSError: ELOOP, ENAMETOOLONG, or what a layer failed with (L8).
            ValueError: the path holds a NUL (L10).
        """
        self._poll()
        parent, _, name = path.rpartition("/")
        node = self._nodes.get(parent)
        if node is not None and node.deadline is None:
            code = node.names.get(name)
            if code is not None:
                kind = code & KIND_MASK
                if kind != _SYMLINK or not follow:
                    node.used = True
                    self._index.hits += 1
                    return kind
            elif _lacks(node, name):
                self._index.hits += 1
                return -1
        elif node is None and self._ends_above(parent) and "\0" not in name:
            self._index.hits += 1
            return -1
        found = self.settled(path, lambda: self._lookup.resolve(path, follow=follow))
        return -1 if isinstance(found, int) and found in _ABSENT else int(self._must(found, path).kind)

    def stat(self, path: str, follow: bool = True) -> Stat:
        """
        Stat what shows at a path (L7 for directories).

        Raises:
            OSError: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, or what a layer failed with (L8).
            ValueError: the path holds a NUL (L10).
        """
        self._poll()
        parent, _, name = path.rpartition("/")
        node = self._nodes.get(parent)
        if node is not None and node.deadline is None:
            stats = node.stats
            if stats is not None:
                known = stats.get(name)
                if known is not None and not (follow and _stat.S_ISLNK(known.st_mode)):
                    node.used = True
                    self._index.hits += 1
                    return known
            version = node.version
            code = node.names.get(name)
            if code is not None and (code & KIND_MASK != _SYMLINK or not follow):
                try:
                    found = node.handles[code >> KIND_BITS].stat(name)
                except OSError:
                    pass  # raced, or a fault: the slow way finds out and says it properly
                else:
                    if not (follow and _stat.S_ISLNK(found.st_mode)):
                        node.used = True
                        self._index.hits += 1
                        if self._immutable[code >> KIND_BITS]:
                            self._index.keep_stat(node, name, version, found)
                        return found
        return self.settled(
            path, lambda: self._stat(self._must(self._lookup.resolve(path, follow=follow), path))
        )

    def listing(self, path: str, *, passing: bool = False) -> dict[str, int]:
        """
        List a directory: names, sorted by code points, each with a code; `code & KIND_MASK` is its `Kind`.

        The answer is the caller's own: a snapshot (N2). `passing`: by a walk that may not come again, so
        that a directory without directories in it isn't worth watching at the first time.

        Raises:
            OSError: ENOENT, ENOTDIR, ELOOP, or what a layer failed with.
        """
        self._poll()
        node = self._nodes.get("" if path == "/" else path)
        if node is not None and node.deadline is None:
            version = node.version
            if node.stale is None and node.sorted:
                names = node.names.copy()
                if node.version == version:  # else names were taken out meanwhile (`Index.changed`)
                    node.used = True
                    self._index.hits += 1
                    return names
        return self.settled(path, lambda: self._listing(path, passing))

    def read(self, path: str) -> bytes:
        """
        Read a whole file.

        Raises:
            OSError: as `open`.
        """
        self._poll()
        parent, _, name = path.rpartition("/")
        node = self._nodes.get(parent)
        if node is not None and node.deadline is None:
            code = node.names.get(name)
            if code is not None and code & KIND_MASK == _FILE:
                layer = code >> KIND_BITS
                holder = node.handles[layer]
                try:
                    if self._plain_files[layer] or not self.layers[layer].format.is_metacopy(holder, name):
                        data = holder.read(name)
                        node.used = True
                        self._index.hits += 1
                        return data
                except OSError:
                    pass  # as in `stat`
        return self.settled(path, lambda: self._with_data(path, lambda source, name: source[1].read(name)))

    def open(self, path: str) -> RawIOBase:
        """
        Open a file for reading, unbuffered.

        Raises:
            OSError: EISDIR for a directory, ENXIO for a socket, EACCES for a device node; ENOENT, ENOTDIR,
                ELOOP; or what a layer failed with.
        """
        self._poll()
        return self.settled(path, lambda: self._with_data(path, lambda source, name: source[1].open(name)))

    def readlink(self, path: str) -> str:
        """
        Give a symbolic link's target, as stored.

        Raises:
            OSError: EINVAL for anything else [S4].
        """
        self._poll()
        return self.settled(path, lambda: self._readlink(path))

    def realpath(self, path: str, *, strict: bool) -> str:
        """
        Resolve every link and `..` of a path in the union (S1, L9); absolute.

        Not strict: from the first name on that isn't there, or can't be reached, the rest is taken as text.

        Raises:
            OSError: strict: as `stat`. Otherwise only ELOOP, and what a layer failed with.
        """
        self._poll()
        return self.settled(path, lambda: self._realpath(path, strict))

    def lookup(self, path: str, follow: bool = True) -> Resolution:
        """
        Find what shows at a path; raises as `stat`.

        Source: Linux Documentation/filesystems/overlayfs.rst, "Directories"; rules L1-L9.
        """
        self._poll()
        return self.settled(path, lambda: self._must(self._lookup.resolve(path, follow=follow), path))

    def getxattr(self, path: str, attribute: str, follow: bool = True) -> bytes | None:
        """Give an extended attribute, or None; those that mark layers are hidden (M3). Raises as `stat`."""
        found = self.lookup(path, follow)
        if self.layers[found.layer].format.is_private_attribute(attribute):
            return None
        return self._asked(found, lambda: found.holder.getxattr(found.name or None, attribute), path)

    def listxattr(self, path: str, follow: bool = True) -> list[str]:
        """Name the extended attributes, without those that mark layers (M3). Raises as `stat`."""
        found = self.lookup(path, follow)
        layout = self.layers[found.layer].format
        names = self._asked(found, lambda: found.holder.listxattr(found.name or None), path)
        return [name for name in names if not layout.is_private_attribute(name)]

    def spot(self, path: str, follow: bool = True) -> Spot:
        """
        Find one name, whether anything shows there or not; its directory has to be there.

        Raises:
            OSError: as `stat`, but for ENOENT of the last name (of a dangling link's target if followed).
        """
        self._poll()
        parent, _, name = path.rpartition("/")
        node = self._nodes.get(parent)
        if node is not None and node.deadline is None and path[0] == "/":
            code = node.names.get(name)
            if code is not None and (code & KIND_MASK != _SYMLINK or not follow):
                node.used = True
                self._index.hits += 1
                layer = code >> KIND_BITS
                place = Place(parent, node)
                kind = _KINDS[code & KIND_MASK]
                return Spot(path, name, kind, layer, node.sources, place.trail, node.spelling(layer, name))
            if code is None and _lacks(node, name):
                self._index.hits += 1
                return Spot(path, name, None, None, node.sources, Place(parent, node).trail, name)
        return self.settled(path, lambda: self._spot(path, follow))

    def shows_below(self, spot: Spot, path: str) -> bool:
        """
        Tell whether a layer under the topmost would show the name if the topmost had neither it nor a mark.
        """
        below = [source for source in spot.beside if source[0]]
        if not below:
            return False
        if self._fold is not None:
            return self.settled(path, lambda: self._directories.shows_folded(below, spot.name))
        return self.settled(path, lambda: self._prober.verdict(below, spot.name).kind is not None)

    @contextmanager
    def fresh(self) -> Generator[None, None, None]:
        """Answer from the layers alone where what is remembered is trusted for a time only (`Cache.ttl`)."""
        self._directories.fresh += 1
        try:
            yield
        finally:
            self._directories.fresh -= 1

    def changed(self, path: str) -> None:
        """Be told that a name was changed by our own hand, where no watch tells."""
        self._index.told(path)

    def poll(self) -> None:
        """Take in all changes that were complete before this call."""
        self._poll()

    def sources(self, path: str) -> tuple[Source, ...]:
        """Give the directories that make up a merged directory, top first; raises as `listing`."""
        self._poll()
        return self.settled(path, lambda: self._directory(path, listed=False).sources)

    def places(self, path: str, follow: bool = True) -> list[str]:
        """
        Say where what shows at a path is, in the words of the layers: of a directory, all that make it up.

        Raises:
            OSError: as `stat`.
        """
        found = self.lookup(path, follow)
        if found.kind is Kind.DIRECTORY:
            return [directory.place() for _layer, directory in self.sources(path)]
        return [found.holder.place(found.name)]

    def origins(self, path: str) -> tuple[int, ...]:
        """
        Name the layers that make up what shows at a path, top first: one for anything but a directory.

        Raises:
            OSError: as `stat`.
        """
        found = self.lookup(path)
        if found.kind is Kind.DIRECTORY:
            return tuple(layer for layer, _directory in self.sources(path))
        return (found.layer,)

    def versions(self, path: str) -> tuple[tuple[int, str], ...]:
        """
        Find every layer that has a path, top first, down to the first that hides it from those below.

        Each comes as (layer, absolute path in that layer's tree as the union shows it). Links on the way
        are followed in the union; a link at the end, too.

        Raises:
            OSError: as `stat`.
        """
        self._poll()
        return self.settled(path, lambda: self._versions(path))

    # --- state -------------------------------------------------------------------------------------

    @property
    def prober(self) -> Prober:
        """What asks the layers without memory."""
        return self._prober

    def refresh(self) -> None:
        """Forget all that is remembered, and look at the layers' roots anew."""
        self._index.clear()
        self._index.unsure = True
        for notifier in _notifiers(self.layers):
            notifier.flush()
        self._index.hits = self._index.misses = 0
        self._directories.forget()

    def info(self) -> CacheInfo:
        """Tell what is kept and how well it served."""
        index = self._index
        return CacheInfo(index.hits, index.misses, index.entries, len(index.nodes), index.watches())

    # --- the slow way ------------------------------------------------------------------------------

    def settled(self, path: str, ask: Callable[[], _T]) -> _T:
        """Make a look-up, again if it raced with a change, and put the union's path on errors (E2)."""
        check_text(path)
        self._index.misses += 1
        for attempt in range(_ATTEMPTS):
            try:
                return ask()
            except Raced as raced:
                self._poll()
                if attempt:
                    # No event explains it: what is remembered may be wrong in a way nobody tells us of.
                    self._index.clear()
                if attempt + 1 == _ATTEMPTS:
                    raise oserror(errno.ENOENT, path) from raced.__cause__
            except LayerFault as fault:
                raise self._blame(fault, path) from fault.error
        raise AssertionError("unreachable")

    def _spot(self, path: str, follow: bool) -> Spot:
        end = self._lookup.travel(path, follow=follow, missing=True)
        if isinstance(end, int):
            raise oserror(end, path)
        here, name, found = end
        if not name:
            sources = here.sources
            if not here.path:
                return Spot("/", "", Kind.DIRECTORY, sources[0][0], sources, here.trail, "")
            name, found, here = here.path.rpartition("/")[2], Found(_DIRECTORY, sources[0][0]), here.above
        where = f"{here.path}/{name}"
        if found is None:
            return Spot(where, name, None, None, here.sources, here.trail, name)
        spelling = name if here.node is None else here.node.spelling(found.layer, name)
        return Spot(where, name, _KINDS[found.kind], found.layer, here.sources, here.trail, spelling)

    def _ends_above(self, path: str) -> bool:
        """Tell whether a path surely leads nowhere: its deepest kept directory lacks the next name."""
        while path:
            path, _, name = path.rpartition("/")
            node = self._nodes.get(path)
            if node is not None:
                return node.deadline is None and _lacks(node, name)
        return False

    def _blame(self, fault: LayerFault, path: str) -> OSError:
        layer, error = self.layers[fault.layer], fault.error
        place = layer.store.place
        where = f"layer {place}" if layer.name == place else f"layer {layer.name!r} ({place})"
        raised = oserror(error.errno or errno.EIO, path)
        raised.add_note(f"{where} failed: {error}")
        return raised

    def _must(self, found: Resolution | int, path: str) -> Resolution:
        if isinstance(found, int):
            raise oserror(found, path)
        return found

    def _asked(self, found: Resolution, ask: Callable[[], _T], path: str) -> _T:
        try:
            return ask()
        except OSError as error:
            if is_absence(error):
                raise oserror(errno.ENOENT, path) from error
            raise self._blame(LayerFault(found.layer, error), path) from error

    def _stat(self, found: Resolution) -> Stat:
        try:
            stat = found.holder.stat(found.name) if found.name else found.holder.status()
        except OSError as error:
            raise raised(found.layer, error) from error
        if found.kind is not Kind.SYMLINK and _stat.S_ISLNK(stat.st_mode):
            raise Raced  # a link took its place, and has to be followed
        return stat

    def _listing(self, path: str, passing: bool) -> dict[str, int]:
        place = self._directory(path, listed=True, passing=passing)
        assert place.node is not None  # asked for a listed one
        return self._directories.names(place.node)

    def _directory(self, path: str, *, listed: bool, passing: bool = False) -> Place:
        """Enter the directory at a path; `listed`: with its names."""
        end = self._lookup.travel(path, follow=True, eager=listed)
        if isinstance(end, int):
            raise oserror(end, path)
        here, name, found = end
        if found is not None:
            if found.kind != _DIRECTORY:
                raise oserror(errno.ENOTDIR, path)
            return self._directories.enter(here, name, listed=listed, passing=passing)
        return here if here.node is not None or not listed else self._directories.relist(here)

    def _with_data(self, path: str, use: Callable[[Source, str], _T]) -> _T:
        found = self._must(self._lookup.resolve(path, follow=True), path)
        if found.kind not in _READABLE:
            raise oserror(WHY_NOT_OPENED[found.kind], path)
        source, name = (found.layer, found.holder), found.name
        if not self._plain_files[found.layer] and found.kind is Kind.FILE:
            below = tuple(each for each in found.beside if each[0] >= found.layer)
            source, name = self._prober.data_holder(below, name)
        try:
            return use(source, name)
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link took its place, and has to be followed
                raise Raced from error
            if error.errno in _ODD and found.kind is Kind.FILE:  # so did something that isn't opened
                raise Raced from error
            raise raised(source[0], error) from error

    def _readlink(self, path: str) -> str:
        found = self._must(self._lookup.resolve(path, follow=False), path)
        if found.kind is not Kind.SYMLINK:
            raise oserror(errno.EINVAL, path)
        return readlink(found)

    def _realpath(self, path: str, strict: bool) -> str:
        found = self._lookup.resolve(path, follow=True)
        if isinstance(found, Resolution):
            return found.path
        if strict:
            raise oserror(found, path)
        return self._lookup.realpath(path)

    def _versions(self, path: str) -> tuple[tuple[int, str], ...]:
        end = self._lookup.travel(path, follow=True)
        if isinstance(end, int):
            raise oserror(end, path)
        here, name, found = end
        if found is None:
            if not here.path:
                return tuple((layer, "/") for layer, _directory in here.sources)
            here, name = here.above, here.path.rpartition("/")[2]
        if self._prober.has_redirects and (found is None or found.kind == _DIRECTORY):
            moved = self._prober.children(here.sources, name)
            return tuple((layer, show_parts(directory.parts)) for layer, directory in moved)
        versions: list[tuple[int, str]] = []
        for layer, directory in here.sources:
            spelling = name if here.node is None else here.node.spelling(layer, name)
            probe = self._prober.probe((layer, directory), spelling)
            if probe is Mark.WHITEOUT:
                break
            if isinstance(probe, Present):
                versions.append((layer, show_parts((*directory.parts, spelling))))
                if probe.alone or self._ends_merge((layer, directory), spelling, probe):
                    break
        return tuple(versions)

    def _ends_merge(self, source: Source, name: str, probe: Present) -> bool:
        if kind_of(probe.stat.st_mode) is not Kind.DIRECTORY:
            return False
        layer, directory = source
        try:
            return self.layers[layer].format.is_opaque(directory.child(name))
        except OSError as error:
            self._prober.fault(layer, error)
            return False


def _lacks(node: Node, name: str) -> bool:
    """Tell whether a kept directory surely shows nothing under a name."""
    # Between two looks at the version, since other threads take names out and put them back
    # (`Index.changed`).
    version = node.version
    if (
        node.stale is None
        and name not in node.names
        and node.version == version
        and name not in _DOTS
        and len(name) < 64
        and "\0" not in name
    ):
        node.used = True
        return True
    return False


_ODD = frozenset((errno.ENXIO, errno.EISDIR))
_READABLE = (Kind.FILE, Kind.FIFO)
_DOTS = frozenset(("", ".", ".."))
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR))


def _nothing() -> None:
    """Stand in for a poll where no layer has anything to deliver."""


def _notifiers(layers: Sequence[LayerView]) -> list[Notifier]:
    """Name those that deliver events of layers that may change, each once."""
    found: list[Notifier] = []
    for layer in layers:
        notifier = layer.store.notifier
        if notifier is not None and not layer.immutable and notifier not in found:
            found.append(notifier)
    return found


def _poller(layers: Sequence[LayerView]) -> Callable[[], None]:
    """Make one call of the polls of all stores that may have something to deliver."""
    polls = [notifier.poll for notifier in _notifiers(layers)]
    if not polls:
        return _nothing
    if len(polls) == 1:
        return polls[0]

    def poll_all() -> None:
        for poll in polls:
            poll()

    return poll_all
