"""
Merged directories kept, and dropped when a store says that they changed.

A directory is kept only where nothing can change unnoticed: every contributing layer is immutable, or
watched since *before* it was listed; or the stack states a time (`Cache.ttl`) for which an answer may be
trusted. A kept directory always hangs below its kept parent, because the parent's entry says which layers
make it up; when that entry is touched, all below it goes.

What an event names is looked up again when it is asked for next (`stale`); events that concern a directory
as a whole drop it. The thread that is told of an event and the thread that builds a directory need no
lock between them while layers are read: every event counts up the `version` of its directory, and what was
built or looked up meanwhile is not kept if the version moved.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Hashable, Iterable, Sequence

from unionpath.model.entry import KIND_BITS, Stat
from unionpath.model.layer import Cache
from unionpath.model.parts import Parts
from unionpath.model.store import Directory, Watch
from unionpath.model.whiteout import WhiteoutFormat
from unionpath.resolve.readdir import Fold, Merged, has_directories
from unionpath.resolve.resolution import Source

_STATS_KEPT = 1 << 15
_LARGE_BOUND = 1 << 12


class Node:
    """One merged directory. `names` may be read without a lock; all else changes under the index's lock."""

    __slots__ = (
        "__weakref__",
        "alive",
        "contributors",
        "deadline",
        "folded",
        "handles",
        "kids",
        "name",
        "names",
        "parent",
        "path",
        "sorted",
        "spellings",
        "stale",
        "stats",
        "suspects",
        "used",
        "version",
        "watches",
    )

    def __init__(self, path: str, name: str, parent: Node | None) -> None:
        self.path = path
        self.name = name
        self.parent = parent
        self.names: dict[str, int] = {}
        self.contributors: dict[str, tuple[int, ...]] = {}
        self.spellings: dict[tuple[int, str], str] | None = None
        self.handles: dict[int, Directory] = {}
        self.watches: list[Watch] = []
        self.kids: dict[str, Node] | None = None
        self.stale: set[str] | None = None
        self.stats: dict[str, Stat] | None = None
        self.sorted = True
        self.used = True
        self.alive = True
        self.version = 0
        self.deadline: float | None = None
        self.suspects: set[Ear] | None = None
        self.folded: dict[str, str] | None = None

    def fill(self, merged: Merged, sources: Sequence[Source]) -> None:
        """Take in what was merged."""
        self.names = merged.names
        self.contributors = merged.contributors
        self.spellings = merged.spellings or None
        self.handles = dict(sources)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The contributing directories, top first."""
        return tuple(self.handles.items())

    def sources_of(self, name: str, code: int) -> tuple[Source, ...]:
        """
        The directories that contribute to a child directory.

        A layer that contributes by a redirect has none here; whoever opens the child finds the redirect.
        """
        layers = self.contributors.get(name)
        if layers is None:
            layers = (code >> KIND_BITS,)
        handles = self.handles
        return tuple((layer, handles[layer]) for layer in layers if layer in handles)

    def spelling(self, layer: int, name: str) -> str:
        """How a layer spells a name."""
        return name if self.spellings is None else self.spellings.get((layer, name), name)

    def is_leaf(self) -> bool:
        """Tell whether it has no directories in it."""
        return not has_directories(self.names)

    def shown_as(self, name: str, fold: Fold) -> str:
        """How the union spells a name that is given in any case (N5)."""
        if self.folded is None:
            self.folded = {fold(each): each for each in self.names}
        return self.folded.get(fold(name), name)


class Ear:
    """What a watch of one layer's directory tells; it keeps neither the index nor the node alive."""

    __slots__ = ("_directory", "_format", "_index", "_node", "_own_marks", "_rights")

    def __init__(self, index: Index, node: Node, directory: Directory, layout: WhiteoutFormat | None) -> None:
        self._index = weakref.ref(index)
        self._node = weakref.ref(node)
        self._directory = directory
        self._format = layout
        self._own_marks: Hashable = None
        # To the superuser no directory is closed.
        self._rights = _rights(directory) if _is_user() else None

    def read(self, own_marks: Hashable) -> None:
        """Be told what the directory's own attributes said when it was listed."""
        self._own_marks = own_marks

    def changed(self, name: str | None) -> None:
        """Translate a raw name into the name it concerns, and pass it on."""
        index, node = self._index(), self._node()
        if index is not None and node is not None:
            layout = self._format
            index.changed(node, None if name is None or layout is None else layout.touched(name))

    def altered(self, name: str | None) -> None:
        """
        Take in a change of attributes, which most formats don't ask: times and modes say nothing about names.

        Of a child directory that is kept, its own watch tells.
        """
        index, node, layout = self._index(), self._node(), self._format
        if index is None or node is None:
            return
        if layout is None:
            index.changed(node, None)
        elif name is None:
            if layout.has_redirects or self._rights is not None:
                index.suspect(node, self)
        elif layout.has_redirects and not (node.kids and name in node.kids):
            index.changed(node, layout.touched(name))

    def holds(self) -> bool:
        """Tell whether the directory's own attributes still say the same."""
        assert self._format is not None
        try:
            return self._own_marks == self._format.own_marks(self._directory) and (
                self._rights is None or self._rights == _rights(self._directory)
            )
        except OSError:
            return False


def _rights(directory: Directory) -> tuple[int, int, int]:
    found = directory.status()
    return found.st_mode, found.st_uid, found.st_gid


def _is_user() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() != 0


class SideEar:
    """What a format's side directory tells: names anywhere in the layer may have changed."""

    __slots__ = ("_format", "_index", "_known")

    def __init__(self, index: Index, layout: WhiteoutFormat) -> None:
        self._index = weakref.ref(index)
        self._format = layout
        self._known: Hashable = None

    def listen(self) -> None:
        """Take note of what is there, now that it is watched."""
        self._known = self._news()[0]

    def changed(self, name: str | None) -> None:
        """Take in which names are concerned; where that can't be told, forget everything."""
        index = self._index()
        if index is None:
            return
        was, (self._known, concerned) = self._known, self._news()
        if was is None or concerned is None or () in concerned:
            # There was nothing before: what appeared may have to be watched elsewhere from now on.
            index.clear()
            return
        for parts in concerned:
            index.told("/" + "/".join(parts))

    def _news(self) -> tuple[Hashable, list[Parts] | None]:
        try:
            return self._format.side_news(self._known)
        except (OSError, ValueError):  # whoever asks the layer will meet it
            return None, None

    def altered(self, name: str | None) -> None:
        """Do nothing: what a table says is not in attributes."""


class Index:
    """The kept directories of one stack, by path; the root's path is the empty string."""

    __slots__ = (
        "__weakref__",
        "_lock",
        "_stats",
        "cache",
        "entries",
        "generation",
        "hits",
        "misses",
        "nodes",
        "unsure",
    )

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        # Something happened to a layer's root as a whole: where the roots are has to be looked at anew.
        self.unsure = False
        self.nodes: dict[str, Node] = {}
        self.entries = 0
        self.hits = 0
        self.misses = 0
        self.generation = 0
        self._stats = 0
        self._lock = threading.RLock()
        _INDEXES.add(self)
        # Watches outlive whoever asked for them unless they are closed; a finalizer must hold the dict
        # and not the index.
        weakref.finalize(self, _close_all, self.nodes).atexit = False

    def keep(self, node: Node, *, coherent: bool, since: tuple[int, int]) -> bool:
        """
        Keep a directory that was built meanwhile, unless anything happened to it or above it.

        `coherent`: nothing in it can change unnoticed. `since`: what `moment` gave before it was built.
        """
        if coherent:
            node.deadline = None
        elif self.cache.ttl is not None:
            node.deadline = time.monotonic() + self.cache.ttl
        else:
            return False
        parent = node.parent
        if parent is not None and parent.deadline is not None:
            node.deadline = min(parent.deadline, node.deadline or parent.deadline)
        if len(node.names) > self.cache.max_entries:
            return False
        with self._lock:
            if self.moment(parent) != since or node.version or not node.alive:
                return False
            if parent is not None:
                if not parent.alive:
                    return False
                kids = parent.kids
                if kids is None:
                    kids = parent.kids = {}
                old = kids.get(node.name)
                kids[node.name] = node
            else:
                old = self.nodes.get("")
            if old is not None:
                self._drop(old, keep_link=True)
            self.nodes[node.path] = node
            self.entries += len(node.names)
            if max(self.entries, len(self.nodes)) > self.cache.max_entries:
                self._evict(node)
            return node.alive

    def is_full(self, node: Node) -> bool:
        """Tell whether a directory can't be kept because there is no room for its names."""
        above, node_or_none = len(node.names), node.parent
        while node_or_none is not None:
            above += len(node_or_none.names)
            node_or_none = node_or_none.parent
        return above > self.cache.max_entries

    def moment(self, parent: Node | None) -> tuple[int, int]:
        """
        Give a mark of time for what hangs below `parent`: equal as long as nothing happened there.

        Under the lock, so that it never falls in the middle of `changed`: what is read of the parent
        afterwards is either what that change left, or the change comes later and shows.
        """
        with self._lock:
            return self.generation, (0 if parent is None else parent.version)

    def changed(self, node: Node, name: str | None) -> None:
        """Take an event in: a name of a directory changed, or (None) the directory as a whole."""
        with self._lock:
            if name is None or self.nodes.get(node.path) is not node:
                # A directory still being built keeps all its names for whoever builds it: none of them
                # may be missing from that answer. It isn't kept, since the version moved.
                node.version += 1
                if name is None:
                    self.unsure = self.unsure or not node.path
                    self._drop(node)
                return
            # In this order, for those who read without the lock: a name is missing only after the version
            # has moved, and that only after the name was called stale.
            if node.stale is None:
                node.stale = set()
            node.stale.add(name)
            node.version += 1
            if node.names.pop(name, None) is not None:
                self.entries -= 1
            node.contributors.pop(name, None)
            if node.stats is not None:
                node.stats.pop(name, None)
            kid = node.kids.pop(name, None) if node.kids else None
            if kid is not None:
                self._drop(kid)

    def told(self, path: str) -> None:
        """Take in that the name at `path` (absolute) changed, where no watch reports it."""
        parent, _, name = path.rpartition("/")
        node = self.nodes.get(parent)
        if node is not None and name:
            self.changed(node, name)
        elif node is not None:
            self.clear()

    def suspect(self, node: Node, ear: Ear) -> None:
        """
        Take in that a directory changed its own attributes: what it holds is believed again when they were
            read.

        A directory still being built is not kept.
        """
        with self._lock:
            if self.nodes.get(node.path) is not node:
                node.version += 1
                return
            if node.suspects is None:
                if node.deadline is not None:  # trusted for a time: not worth the looking
                    self._drop(node)
                    return
                node.suspects = set()
            node.suspects.add(ear)
            node.deadline = 0.0  # in the past: whoever looks comes by way of `expired`

    def settle(self, node: Node, name: str, version: int, code: int | None, layers: tuple[int, ...]) -> None:
        """Put a name back that was stale, as it was found; nothing if more happened meanwhile."""
        with self._lock:
            if node.version != version or not node.alive or node.stale is None or name not in node.stale:
                return
            if code is not None:
                node.sorted = False
                if len(layers) > 1:
                    node.contributors[name] = layers
                node.names[name] = code
                self.entries += 1
            # Last, for those who read without the lock: what isn't stale and isn't there is absent.
            node.stale.discard(name)
            if not node.stale:
                node.stale = None
            if max(self.entries, len(self.nodes)) > self.cache.max_entries:
                self._evict(node)

    def look(self, node: Node, name: str) -> int | None:
        """Give a name's code, -1 if it is absent, None if that isn't known (`stale`)."""
        with self._lock:
            if node.stale is not None and name in node.stale:
                return None
            return node.names.get(name, -1)

    def sort(self, node: Node) -> None:
        """Bring a directory's names in order again after names were put back."""
        with self._lock:
            names = node.names
            node.names = {name: names[name] for name in sorted(names)}
            node.sorted = True

    def drop(self, node: Node) -> None:
        """Forget a directory and all below it."""
        with self._lock:
            self._drop(node)

    def discard(self, node: Node) -> None:
        """Let go of a directory that was built and isn't kept."""
        node.alive = False
        _close(node.watches)
        node.watches = []

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.generation += 1
            root = self.nodes.get("")
            if root is not None:
                self._drop(root)
            # Counted anew: whoever was interrupted in the middle of a change may have lost count.
            self.entries = sum(len(node.names) for node in tuple(self.nodes.values()))

    def reset(self) -> None:
        """Forget everything, and the lock: in the child of a fork it may be held by nobody."""
        self._lock = threading.RLock()
        # Another thread may have been in the middle of a change: nothing is reached by way of anything.
        for node in tuple(self.nodes.values()):
            node.alive = False
            node.kids = None
        self.nodes.clear()
        self.entries = 0
        self.generation += 1

    def keep_stat(self, node: Node, name: str, version: int, stat: Stat) -> None:
        """
        Remember a stat of an immutable layer; a bounded number of them.

        `version`: the directory's before it was known that this layer provides the name.
        """
        with self._lock:
            if node.version != version or not node.alive:
                return
            self._stats += 1
            if self._stats > _STATS_KEPT:
                self._stats = 1
                for each in tuple(self.nodes.values()):
                    each.stats = None
            if node.stats is None:
                node.stats = {}
            node.stats[name] = stat

    def expired(self, node: Node) -> bool:
        """
        Tell whether a directory that may be trusted for a time is over it; then it is dropped.

        So is one whose own attributes say something else than when it was listed.
        """
        if node.suspects is not None:
            with self._lock:
                if all(ear.holds() for ear in tuple(node.suspects or ())):
                    node.suspects = None
                    node.deadline = None
        if node.deadline is None or time.monotonic() < node.deadline:
            return False
        self.drop(node)
        return True

    def watches(self) -> int:
        """Count the directories of layers watched for this index."""
        return sum(len(node.watches) for node in tuple(self.nodes.values()))

    def _drop(self, node: Node, *, keep_link: bool = False) -> None:
        parent = node.parent
        if not keep_link and parent is not None and parent.kids and parent.kids.get(node.name) is node:
            del parent.kids[node.name]
        pending = [node]
        while pending:
            each = pending.pop()
            pending.extend(tuple((each.kids or {}).values()))
            each.alive = False
            each.kids = None
            # A signal handler may use the stack in the middle of this, on the same thread.
            if self.nodes.get(each.path) is each and self.nodes.pop(each.path, None) is not None:
                self.entries -= len(each.names)
            _close(each.watches)

    def _evict(self, newest: Node) -> None:
        """
        Forget the directories longest unused until the bound holds.

        A second chance each (the clock algorithm), the deepest first, since a directory that others
        hang on is used with them.
        """
        # Somewhat below a large bound, so that not every directory kept from now on has to do this again.
        bound = self.cache.max_entries
        target = bound - bound // 16 if bound >= _LARGE_BOUND else bound
        for _round in range(3):
            for node in tuple(self.nodes.values()):
                if self.entries <= target and len(self.nodes) <= target:
                    return
                if node is newest or node.kids or not node.alive:
                    continue
                if node.used:
                    node.used = False
                    self.nodes[node.path] = self.nodes.pop(node.path)
                else:
                    self._drop(node)
        if self.entries > bound:
            self._drop(newest)


def _close(watches: Iterable[Watch]) -> None:
    for watch in watches:
        watch.close()


def _close_all(nodes: dict[str, Node]) -> None:
    for node in nodes.values():
        node.kids = None  # without the cycle of parents and kids, descriptors are closed at once
        _close(node.watches)


_INDEXES: weakref.WeakSet[Index] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The child has no watches of its own yet, so nothing it inherited may be believed.
    for index in tuple(_INDEXES):
        index.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
