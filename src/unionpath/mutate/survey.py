"""
What a plan has to know, found out: the resolver's answers, and what the upper itself has.

A survey is made for one operation, under the upper's lock if something is to be changed.
"""

from __future__ import annotations

import errno
import os
from io import RawIOBase
from typing import Literal, cast

from unionpath.model.entry import Kind, Stat
from unionpath.model.errors import oserror
from unionpath.model.parts import show_parts
from unionpath.model.text import name_of, parent_of
from unionpath.model.whiteout import MarkerFile
from unionpath.model.writable import WritableDirectory, WritableStore
from unionpath.mutate.copy_up import Origin
from unionpath.mutate.marks import Marks
from unionpath.mutate.plan import Facts
from unionpath.mutate.steps import CopyUp
from unionpath.resolve.resolution import Source, Spot
from unionpath.resolve.resolver import Resolver


class Survey:
    """Asks for one operation, and remembers where things are for its application."""

    def __init__(self, resolver: Resolver, marks: Marks) -> None:
        self._resolver = resolver
        self._marks = marks
        self._store = cast("WritableStore", resolver.layers[0].store)
        self._above = self._store.home().parts
        self._spots: dict[str, Spot] = {}
        self._parents: dict[str, Source] = {}
        self.directories: dict[str, WritableDirectory] = {}
        """The upper's directories that were met, by their paths."""

    def facts(
        self,
        path: str,
        follow: bool = False,
        *,
        below: bool = False,
        marked: bool = False,
        names: bool = False,
        data: bool = False,
        itself: bool = False,
    ) -> Facts:
        """Find out what a plan has to know of one name, and remember where things are for its application."""
        spot = self._resolver.spot(path, follow)
        where = spot.path
        self._check_within(path, where, itself=itself)
        self._spots[where] = spot
        last = name_of(path)
        special: Literal["", "root", ".."] = ".." if last == ".." else "root" if not spot.name else ""
        holder: WritableDirectory | None = None
        parents: tuple[CopyUp, ...] = ()
        top, directory = spot.beside[0]
        if top == 0:
            holder = cast("WritableDirectory", directory)
            self.directories[parent_of(where)] = holder
        else:
            parents = self._missing(spot)
        is_marked = (
            marked and spot.kind is None and holder is not None and self._marks.is_marked(holder, spot.name)
        )
        shows_below = False
        if below and spot.name and (spot.kind is not None or is_marked):
            shows_below = spot.layer not in (0, None) or self._resolver.shows_below(spot, path)
        shows_names = names and spot.kind is Kind.DIRECTORY and bool(self._resolver.listing(spot.path))
        reserved = too_long = ""
        if spot.name:
            above_parts = tuple(where.split("/")[1:-1])
            depth = len(above_parts) - len(parents)
            made = [*enumerate(above_parts[depth:], depth), (len(above_parts), spot.name)]
            if any(self._marks.format.is_reserved(above_parts[:at], name) for at, name in made):
                reserved = (
                    f"names like this are markers in format {self._marks.format.name!r}; 'table' allows them"
                )
            elif shows_below:
                too_long = self._why_too_long(above_parts, spot.name)
        return Facts(
            path,
            spot.path,
            spot.kind,
            spot.layer,
            parents,
            below=shows_below,
            marked=is_marked,
            special=special,
            names=shows_names,
            reserved=reserved,
            too_long=too_long,
            incomplete=data and self._is_incomplete(spot),
        )

    def _check_within(self, path: str, where: str, *, itself: bool) -> None:
        """Refuse what is above the place at which the upper is shown (`Layer(at=…)`), or not below it."""
        if not self._above:
            return
        parts = tuple(where.split("/")[1:])
        if parts[: len(self._above)] != self._above or len(parts) < len(self._above) + (not itself):
            raise oserror(errno.EROFS, path, hint=f"the upper begins at {show_parts(self._above)}")

    def _is_incomplete(self, spot: Spot) -> bool:
        layout = self._marks.format
        if spot.layer != 0 or spot.kind is not Kind.FILE or not layout.has_redirects:
            return False
        return layout.is_metacopy(spot.beside[0][1], spot.name)

    def _why_too_long(self, parts: tuple[str, ...], name: str) -> str:
        marker = self._marks.format.whiteout(parts, name)
        if isinstance(marker, MarkerFile) and len(os.fsencode(marker.name)) > self._store.name_max:
            return (
                f"the whiteout {marker.name[:20]!r}… of this name is over {self._store.name_max} bytes;"
                " an upper with whiteouts='table' can hold it"
            )
        return ""

    def _missing(self, spot: Spot) -> tuple[CopyUp, ...]:
        """The directories above a name that the upper lacks, top down."""
        missing: list[CopyUp] = []
        for place, sources in zip(above(spot.path), spot.trail, strict=True):
            top, directory = sources[0]
            if top == 0:
                self.directories[place] = cast("WritableDirectory", directory)
                break
            self._parents[place] = sources[0]
            missing.append(CopyUp(place, Kind.DIRECTORY, top))
        missing.reverse()
        return tuple(missing)

    def getxattr(self, path: str, attribute: str, follow: bool) -> bytes | None:
        """Give an extended attribute of what shows at a path."""
        return self._resolver.getxattr(path, attribute, follow)

    def holder(self, facts: Facts) -> tuple[WritableDirectory, str]:
        """Give the upper's directory that has what was found in it, and the name."""
        return self.directories[parent_of(facts.path)], self._spots[facts.path].spelling

    def is_same_object(self, source: Facts, target: Facts) -> bool:
        """Tell whether two names of the upper are hard links of one file."""
        if not (source.in_upper and target.in_upper) or Kind.DIRECTORY in (source.kind, target.kind):
            return False
        one, two = self.status(source.path), self.status(target.path)
        return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino) and one.st_nlink > 1

    def status(self, path: str) -> Stat:
        """Stat what the plan has met, following nothing."""
        return self.origin(path).status()

    def redirect(self, path: str, target: str) -> str:
        """
        Say what sends look-ups in a directory moved to `target` back to where the lowers have it.

        As the kernel (`ovl_set_redirect`): the old name alone, if it stays in its directory; an absolute
        redirect that is there already stays.
        """
        own = self._own_redirect(path)
        if own is not None and own.startswith("/"):
            return own
        below = self.path_below(path)
        above = parent_of(path)
        if above == parent_of(target) and parent_of(below) == (
            self.path_below(above) if above != "/" else "/"
        ):
            return name_of(below)
        return below

    def _own_redirect(self, path: str) -> str | None:
        spot = self._spots[path]
        if spot.layer != 0:
            return None
        return self._marks.format.redirect(spot.beside[0][1].child(spot.name), None)

    def path_below(self, path: str) -> str:
        """
        Say where the lowers have a directory of the upper: its path, with redirects on the way followed.
        """
        names = path.split("/")[1:]
        below: list[str] = []
        directory = self._store.root()
        for position, name in enumerate(names):
            try:
                directory = directory.child(name)
            except FileNotFoundError:
                return show_parts((*below, *names[position:]))
            redirect = self._marks.format.redirect(directory, None)
            if redirect is None:
                below.append(name)
            elif redirect.startswith("/"):
                below = redirect.strip("/").split("/")
            else:
                below.append(redirect)
        return show_parts(tuple(below))

    def origin(self, path: str) -> Origin:
        """Say where what shows at a path is, for copying it."""
        parent = self._parents.get(path)
        if parent is not None:
            layer, directory = parent
            return Origin(path, directory, None, self._resolver.layers[layer].format, lambda: _no_data(path))
        spot = self._spots.get(path) or self._resolver.spot(path, False)
        if spot.layer is None:  # it was there when the plan was made
            raise oserror(errno.ENOENT, path)
        holder = next(directory for layer, directory in spot.beside if layer == spot.layer)
        layout = self._resolver.layers[spot.layer].format
        return Origin(path, holder, spot.spelling, layout, lambda: self._resolver.open(path))


def above(path: str) -> list[str]:
    """The directories above a path, the nearest first, down to the root; of the root: itself."""
    found: list[str] = []
    while True:
        path = path.rpartition("/")[0]
        found.append(path or "/")
        if not path:
            return found


def _no_data(path: str) -> RawIOBase:
    raise oserror(errno.EISDIR, path)
