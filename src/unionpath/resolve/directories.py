"""
Merged directories on the way of a look-up: entered, listed, kept, and asked for one name.

A directory met for the first time is not listed, its layers are asked about the one name: a look-up in a
directory of a hundred thousand names must not read them all. At the second look it is listed and kept; if it
is large, only when the looks so far have cost about as much as listing it will.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import NamedTuple

from unionpath.model.entry import KIND_BITS, KIND_MASK, Kind, Stat, kind_of
from unionpath.model.errors import is_absence
from unionpath.model.layer import Cache, LayerView
from unionpath.model.parts import encoded_length
from unionpath.model.store import Capability, Directory
from unionpath.model.whiteout import Listing
from unionpath.resolve.index import Ear, Index, Node, SideEar
from unionpath.resolve.probing import Prober, gone
from unionpath.resolve.readdir import Fold, codes_of, merge
from unionpath.resolve.resolution import LayerFault, Raced, Source

_DIRECTORY = int(Kind.DIRECTORY)
_MET_KEPT = 1 << 14
"""Directories remembered as met before, or as not to be kept."""
_READS = 8
"""How often an upper's directory is listed at most while others keep writing to it."""
_BYTES_A_LOOK = 1 << 15
"""How much of a directory (of its `st_size`) is listed in the time that one look without listing takes."""


class Place:
    """A merged directory on the way of a look-up."""

    __slots__ = ("_above", "_sources", "node", "path")

    def __init__(
        self,
        path: str,
        node: Node | None,
        sources: tuple[Source, ...] = (),
        above: Place | None = None,
    ) -> None:
        self.path = path
        """Absolute; the root's is the empty string."""
        self.node = node
        """If it is kept, or was listed just now."""
        self._sources = sources
        self._above = above

    @property
    def sources(self) -> tuple[Source, ...]:
        """Its directories, top first."""
        return self._sources if self.node is None else self.node.sources

    @property
    def above(self) -> Place:
        """The directory it is in; the root is in itself."""
        if self._above is not None:
            return self._above
        if self.node is None or self.node.parent is None:
            return self
        return Place(self.node.parent.path, self.node.parent)

    def trail(self) -> tuple[tuple[Source, ...], ...]:
        """The directories that make up this one, the one above it, and so on to the root."""
        here, found = self, [self.sources]
        while here.path:
            here = here.above
            found.append(here.sources)
        return tuple(found)


class Found(NamedTuple):
    """What one name of a merged directory shows, before anyone asked what it leads to."""

    kind: int
    layer: int


class Directories:
    """The merged directories of one stack."""

    def __init__(self, prober: Prober, index: Index, cache: Cache, fold: Fold | None) -> None:
        layers: Sequence[LayerView] = prober.layers
        self.prober = prober
        self._index = index
        self._fold = fold
        self._layers = layers
        self._codes = tuple(codes_of(index) for index in range(len(layers)))
        self._immutable = tuple(layer.immutable for layer in layers)
        self._keepable = tuple(
            layer.immutable or cache.ttl is not None or Capability.WATCHABLE in layer.store.capabilities
            for layer in layers
        )
        self._name_max = max((layer.store.name_max for layer in layers), default=255)
        self._met: dict[str, int] = {}
        self._unkept: dict[str, int] = {}
        self.fresh = 0
        """Above 0: directories that are trusted for a time are not trusted now."""

    def forget(self) -> None:
        """Begin anew."""
        self._met = {}
        self._unkept = {}

    # --- entering ----------------------------------------------------------------------------------

    def kept(self, path: str) -> Place | None:
        """Give a directory that is kept (the root's path is empty)."""
        node = self._kept(path)
        return None if node is None else Place(path, node)

    def _kept(self, path: str) -> Node | None:
        node = self._index.nodes.get(path)
        if node is None:
            return None
        if node.deadline is not None:
            if self.fresh and node.suspects is None:
                return None
            if self._index.expired(node):
                return None
        node.used = True
        return node

    def root(self, *, eager: bool = False) -> Place:
        """Enter the root; `eager`: as in `enter`."""
        node = self._kept("")
        if node is not None:
            return Place("", node)
        since, skipped = self._index.moment(None), self.prober.skipped
        if self._index.unsure:
            self._index.unsure = False
            for layer in self._layers:
                layer.store.close()
        sources = self.prober.roots(to_list=False)
        if self._shall_list("", sources, eager, lambda: [each.status() for _layer, each in sources]):
            # All of them now: what ended the search above, an opaque root, wasn't watched yet.
            node = self._attempt(
                lambda: self._list("", None, since, self.prober.roots(to_list=True), checked=True)
            )
            self._doubt(node, skipped)
        return Place("", node, sources)

    def enter(
        self,
        here: Place,
        name: str,
        *,
        eager: bool = False,
        listed: bool = False,
        passing: bool = False,
    ) -> Place:
        """
        Go into a child directory; list and keep it if it was met before, or if its names are asked for.

        `eager`: something below it is going to be listed, and can be kept only below what is kept.
        """
        path = f"{here.path}/{name}"
        node = self._kept(path)
        if node is not None:
            return Place(path, node, above=here)
        if listed:
            node = self._list_child(here, name, passing=passing)
        elif self._shall_list(path, here.sources, eager, lambda: self._stats_below(here, name)):
            node = self._attempt(lambda: self._list_child(here, name))
        if node is not None:
            return Place(path, node, above=here)
        return Place(path, None, self._sources_below(here, name), here)

    def _list_child(self, here: Place, name: str, *, passing: bool = False) -> Node:
        """List a child directory; which layers' directories are opaque or moved is learnt on the way."""
        path = f"{here.path}/{name}"
        since, skipped = self._index.moment(here.node), self.prober.skipped
        try:
            sources = self._every_source_below(here, name)
            if sources is not None:
                node = self._list(path, here.node, since, sources, passing=passing)
            else:
                node = self._list_as_found(path, here, name, since)
        except _Moved:
            node = self._list_as_found(path, here, name, since)
        self._doubt(node, skipped)
        return node

    def _list_as_found(self, path: str, here: Place, name: str, since: tuple[int, int]) -> Node:
        """List a child directory from the layers that look-ups found to contribute."""
        sources = self.prober.children(here.sources, name)
        # What ended that search, an opaque marker or a redirect, wasn't watched yet: it may be gone by now.
        return self._list(path, here.node, since, sources, checked=True, watched=False)

    def _doubt(self, node: Node | None, skipped: int) -> None:
        """Don't keep a directory from which a layer was left out meanwhile: its fault may be over soon."""
        if node is not None and self.prober.skipped != skipped:
            self._index.drop(node)

    def _shall_list(
        self,
        path: str,
        sources: tuple[Source, ...],
        eager: bool,
        stats: Callable[[], Sequence[Stat]],
    ) -> bool:
        """Tell whether a directory is to be listed on the way: if it was met before, and can be kept."""
        if self._fold is not None:
            return True
        looks = self._look(path) + eager
        if looks == 1 or path in self._unkept or not all(self._keepable[layer] for layer, _each in sources):
            return False
        return sum(stat.st_size for stat in stats()) <= looks * _BYTES_A_LOOK

    def _stats_below(self, here: Place, name: str) -> Sequence[Stat]:
        """Stat a child directory in the layers that contribute to it, as far as that is known."""
        code = None if here.node is None else here.node.names.get(name)
        if here.node is None or code is None:
            return ()
        try:
            return [each.stat(name) for _layer, each in here.node.sources_of(name, code)]
        except OSError:
            return ()  # whoever goes in learns what is wrong

    def _attempt(self, listing: Callable[[], Node]) -> Node | None:
        """
        List a directory on the way; None where that fails.

        A layer that can't be listed may still be asked about a name, and a layer below the one that decides
        must not be asked at all (L8).
        """
        try:
            return listing()
        except LayerFault:
            if self._fold is not None:
                raise
            return None

    def _sources_below(self, here: Place, name: str) -> tuple[Source, ...]:
        """Open a child directory in the layers that contribute to it."""
        opened = self._opened(here, name, to_list=False)
        return self.prober.children(here.sources, name) if opened is None else opened

    def _every_source_below(self, here: Place, name: str) -> tuple[Source, ...] | None:
        """Open a child directory in every layer that has one to merge, opaque or not; None: unknown."""
        try:
            return self._opened(here, name, to_list=True)
        except LayerFault:
            if self._fold is not None:
                raise
            return None  # the layer may lie below an opaque directory and not be needed (L8)

    def _opened(self, here: Place, name: str, *, to_list: bool) -> tuple[Source, ...] | None:
        node = here.node
        code = None if node is None else node.names.get(name)
        if node is None or code is None:  # not listed; or stale, and not settled because more happens
            return None
        if code & KIND_MASK != _DIRECTORY:
            raise Raced
        spelled = [(source, node.spelling(source[0], name)) for source in node.sources_of(name, code)]
        return self.prober.open_all(spelled, to_list=to_list)

    # --- one name ----------------------------------------------------------------------------------

    def find(self, here: Place, name: str) -> Found | int:
        """Look for one name in a merged directory; an errno if it shows nothing."""
        node = here.node
        if node is None:
            answer = self.prober.first(here.sources, name)
            if answer is None:
                return self._missing(name)
            (layer, _directory), present = answer
            return Found(int(kind_of(present.stat.st_mode)), layer)
        code = node.names.get(name)
        if code is None:
            code = self._index.look(node, name)
            if code is None:
                return self._find_stale(node, name)
            if code < 0:
                return self._missing(name)
        return Found(code & KIND_MASK, code >> KIND_BITS)

    def _find_stale(self, node: Node, name: str) -> Found | int:
        version = node.version
        verdict = self.prober.verdict(node.sources, name)
        kind = verdict.kind
        if kind is None:
            self._index.settle(node, name, version, None, ())
            return self._missing(name)
        layer = verdict.layers[0]
        self._index.settle(node, name, version, self._codes[layer][kind], verdict.layers)
        return Found(int(kind), layer)

    def shows_folded(self, sources: Sequence[Source], name: str) -> bool:
        """Tell whether these directories show a name in any case (N5)."""
        assert self._fold is not None
        listings = [(source[0], listing) for source in sources if (listing := self._read(source)) is not None]
        folded = self._fold(name)
        return any(self._fold(each) == folded for each in merge(listings, self._fold).names)

    def _missing(self, name: str) -> int:
        if len(name) * 4 > self._name_max and encoded_length(name) > self._name_max:
            return errno.ENAMETOOLONG
        return errno.ENOENT

    # --- listing -----------------------------------------------------------------------------------

    def relist(self, place: Place) -> Place:
        """List a directory that was entered without."""
        if not place.path:
            roots = self.prober.roots(to_list=True)
            node = self._list("", None, self._index.moment(None), roots, checked=True)
        else:
            node = self._list(place.path, None, (0, 0), place.sources, checked=True)
        return Place(place.path, node)

    def names(self, node: Node) -> dict[str, int]:
        """
        Give the names of a listed directory, sorted: a copy.

        Raises:
            Raced: other threads took names out meanwhile, or kept them from being put back.
        """
        version, stale = node.version, node.stale
        if stale is not None:
            if len(stale) > 16 and len(stale) * 8 > len(node.names):
                # Many names have to be asked for: all of them are listed in the same time.
                self._index.drop(node)
                raise Raced
            place = Place(node.path, node)
            for name in tuple(stale):
                self.find(place, name)
        if not node.sorted:
            self._index.sort(node)
        names = node.names.copy()
        if node.stale is not None or node.version != version or (stale is not None and not node.alive):
            raise Raced
        return names

    def spelled(self, here: Place, name: str) -> str:
        """Give a name as the union spells it, where case doesn't count (N5)."""
        if self._fold is None or here.node is None:
            return name
        return here.node.shown_as(name, self._fold)

    def _list(
        self,
        path: str,
        parent: Node | None,
        since: tuple[int, int],
        sources: tuple[Source, ...],
        *,
        checked: bool = False,
        watched: bool = True,
        passing: bool = False,
    ) -> Node:
        """
        List and merge a directory, and keep it if nothing can change unnoticed.

        `since`: the index's moment before `sources` was found out. `checked`: redirects were followed to find
        them. `watched`: everything that `sources` rests on is. `passing`: as in `listing`.

        Raises:
            Raced: a layer's directory is gone.
            LayerFault: a layer can't be listed.
            _Moved: a layer's directory carries a redirect, and that wasn't `checked`.
        """
        node = Node(path, path.rpartition("/")[2], parent)
        hangs = not path or parent is not None
        passing = passing and self._look(path) == 1 and not self._is_immutable(sources)
        coherent = hangs and not passing and not self._is_moved(path, sources)
        coherent = coherent and (watched or self._is_immutable(sources))
        listings: list[tuple[int, Listing]] = []
        ears: dict[int, Ear] = {}
        try:
            for source in sources:
                # Watched before it is read, so that no change falls in between.
                coherent = coherent and self._watch(node, source, ears)
                listing = self._read(source)
                if listing is not None:
                    if listing.own_marks is not None and source[0] in ears:
                        ears[source[0]].read(listing.own_marks)
                    listings.append((source[0], listing))
                    if listing.opaque:
                        break
                    if listing.moved and not checked and source[0] + 1 < len(self._layers):
                        raise _Moved
        except BaseException:
            self._index.discard(node)
            raise
        read = {layer for layer, _listing in listings}
        merged = merge(listings, self._fold, share=not passing)
        node.fill(merged, [source for source in sources if source[0] in read])
        if passing:
            return node if node.is_leaf() else self._list(path, parent, since, sources, checked=checked)
        if not (hangs and self._index.keep(node, coherent=coherent, since=since)):
            is_full = hangs and coherent and self._index.is_full(node)
            self._index.discard(node)
            if hangs and (is_full or not coherent):
                self._note(self._unkept, path, 1)
        return node

    def _look(self, path: str) -> int:
        """Count the looks at a directory."""
        looks = self._met.get(path, 0) + 1
        self._note(self._met, path, looks)
        return looks

    def _note(self, paths: dict[str, int], path: str, count: int) -> None:
        if len(paths) >= _MET_KEPT:
            paths.clear()
        paths[path] = count

    def _is_immutable(self, sources: tuple[Source, ...]) -> bool:
        return all(self._immutable[layer] for layer, _directory in sources)

    def _is_moved(self, path: str, sources: tuple[Source, ...]) -> bool:
        """
        Tell whether a layer has the directory under another path (a redirect).

        The directories above it there aren't watched: such a directory is kept only if it never changes.
        """
        if not self.prober.has_redirects:
            return False
        parts = tuple(path.split("/")[1:])
        return any(directory.parts != parts and not self._immutable[layer] for layer, directory in sources)

    def _read(self, source: Source) -> Listing | None:
        index, directory = source
        try:
            if index == 0 and self.prober.changing:
                return self._read_upper(directory)
            return self._layers[index].format.read(directory, self._codes[index])
        except OSError as error:
            if is_absence(error) and not directory.parts:
                error = gone(self._layers[index])
            self.prober.fault(index, error)
            return None

    def _read_upper(self, directory: Directory) -> Listing:
        """
        List a directory that others may be writing to, again if they did meanwhile.

        A long listing takes several system calls. In between, a writer may publish an object where it has
        passed, and drop the whiteout where it hasn't come to: the lower's object would show.
        """
        layout, codes = self._layers[0].format, self._codes[0]
        before = directory.status().st_mtime_ns
        for _attempt in range(_READS):
            listing = layout.read(directory, codes)
            after = directory.status().st_mtime_ns
            if after == before:
                return listing
            before = after
        return layout.read(directory, codes)

    def _watch(self, node: Node, source: Source, ears: dict[int, Ear]) -> bool:
        """Watch one contributing directory; tell whether changes of it will be noticed."""
        index, directory = source
        layer = self._layers[index]
        if layer.immutable:
            return True
        try:
            # Where case doesn't count, a raw name says too little: the directory as a whole is concerned.
            layout = layer.format if self._fold is None else None
            ear = ears[index] = Ear(self._index, node, directory, layout)
            watch = directory.watch(ear)
            if watch is None:
                return False
            node.watches.append(watch)
            if node.path:
                return True
            side = layer.format.side_directory(layer.store)
            if side is not None:
                side_ear = SideEar(self._index, layer.format)
                watch = side.watch(side_ear, contents=True)
                if watch is None:
                    return False
                node.watches.append(watch)
                side_ear.listen()
                again = layer.format.side_directory(layer.store)
                if again is None or again.parts != side.parts:
                    return False  # it came, or went, just now
        except OSError as error:
            self.prober.fault(index, error)
            return False
        return True


class _Moved(Exception):
    """A directory being listed carries a redirect, so the layers below have to be asked elsewhere."""
