"""One path down the stack: component by component, through links, bounded."""

from __future__ import annotations

import errno
from typing import NamedTuple

from unionpath.model.entry import Kind
from unionpath.model.errors import is_absence
from unionpath.model.parts import encoded_length
from unionpath.model.store import Directory
from unionpath.resolve.directories import Directories, Found, Place
from unionpath.resolve.resolution import LayerFault, Raced, Resolution, Source

_DIRECTORY = int(Kind.DIRECTORY)
_SYMLINK = int(Kind.SYMLINK)

_NOWHERE = frozenset(("", "."))

MAX_LINKS = 40
"""Links followed in one look-up; one more is ELOOP, as on Linux (path_resolution(7); S2)."""
TARGET_MAX = 4095
"""Bytes of a link's target that are followed (PATH_MAX less its NUL; S2)."""


class Arrival(NamedTuple):
    """Where a look-up came to an end."""

    here: Place
    """The last directory entered."""
    name: str
    """The name in it that the path ends with; empty if the path ends with the directory itself."""
    found: Found | None
    """What that name shows; None also where nothing does (only if asked for, see `travel`)."""


class Lookup:
    """Finds what paths lead to."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories

    def travel(self, path: str, *, follow: bool, eager: bool = False, missing: bool = False) -> Arrival | int:
        """
        Go down a path (L1, L9, S1); an errno if nothing shows at its end.

        A link at the end is followed if asked for, or if anything stands behind it, a slash included.
        `eager`: as in `Directories.enter`, for all directories on the way. `missing`: the last name need not
        show anything, be it that of the path or that of a dangling link's target.

        Raises:
            Raced, LayerFault
        """
        directories = self._directories
        here, rest = self._start(path, eager)
        todo = rest.split("/")
        todo.reverse()
        links = 0
        while todo:
            name = todo.pop()
            if name in _NOWHERE:
                continue
            if name == "..":
                here = here.above
                continue
            name, found = self._step(here, name)
            if isinstance(found, int):
                is_last = missing and found == errno.ENOENT and not todo
                return Arrival(here, name, None) if is_last else found
            if found.kind == _SYMLINK and (todo or follow):
                links += 1
                if links > MAX_LINKS:
                    return errno.ELOOP
                target = self._target(here, name, found.layer)
                if isinstance(target, int):
                    return target
                if target.startswith("/"):
                    here = directories.root(eager=eager)
                todo.extend(reversed(target.split("/")))
            elif not todo:
                return Arrival(here, name, found)
            elif found.kind == _DIRECTORY:
                here = directories.enter(here, name, eager=eager)
            else:
                return errno.ENOTDIR
        return Arrival(here, "", None)

    def resolve(self, path: str, *, follow: bool) -> Resolution | int:
        """Find what shows at a path; an errno if nothing does."""
        end = self.travel(path, follow=follow)
        return end if isinstance(end, int) else _resolution(end)

    def realpath(self, path: str) -> str:
        """Resolve a path that leads nowhere: what isn't there is taken as text (`os.path.realpath`)."""
        directories = self._directories
        names: list[str] = []
        places: list[Place | None] = [directories.root()]
        """The directory that each name is in, and where the next one is; None: there is none."""
        todo = path.split("/")
        todo.reverse()
        links = 0
        while todo:
            name = todo.pop()
            if name in _NOWHERE:
                continue
            if name == "..":
                del names[-1:], places[max(len(places) - 1, 1) :]
                continue
            here = places[-1]
            name, found = (name, errno.ENOENT) if here is None else self._step(here, name)
            target: str | int = errno.ENOENT
            if here is not None and isinstance(found, Found) and found.kind == _SYMLINK and links < MAX_LINKS:
                target = self._target(here, name, found.layer)
            if isinstance(target, str):
                links += 1
                if target.startswith("/"):
                    del names[:], places[1:]
                todo.extend(reversed(target.split("/")))
                continue
            is_directory = isinstance(found, Found) and found.kind == _DIRECTORY
            names.append(name)
            places.append(
                directories.enter(here, name) if here is not None and is_directory and todo else None
            )
        return "/" + "/".join(names)

    def _step(self, here: Place, name: str) -> tuple[str, Found | int]:
        """Look at one name; give it as the union spells it."""
        name = self._directories.spelled(here, name)
        return name, self._directories.find(here, name)

    def _start(self, path: str, eager: bool) -> tuple[Place, str]:
        """
        Begin at the deepest directory of the path that is kept, and give what is left of the path.

        Kept directories are known by real paths, without links and dots; what begins like one leads there.
        """
        head, rest = (path if path.startswith("/") else f"/{path}"), ""
        while head:
            above, _, name = head.rpartition("/")
            rest = f"{name}/{rest}" if rest else name
            kept = self._directories.kept(above)
            if kept is not None:
                return kept, rest
            head = above
        return self._directories.root(eager=eager), path

    def _target(self, here: Place, name: str, layer: int) -> str | int:
        """Read a link on the way; an errno for one that can't be followed (S2)."""
        spelling = here.node.spelling(layer, name) if here.node is not None else name
        try:
            target = of_layer(here.sources, layer).readlink(spelling)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise Raced from error
            raise raised(layer, error) from error
        if not target:
            return errno.ENOENT
        if len(target) * 4 > TARGET_MAX and encoded_length(target) > TARGET_MAX:
            return errno.ENAMETOOLONG
        return target


def _resolution(end: Arrival) -> Resolution:
    here, name, found = end
    if found is not None:
        spelling = name if here.node is None else here.node.spelling(found.layer, name)
        holder = of_layer(here.sources, found.layer)
        return Resolution(
            f"{here.path}/{name}", Kind(found.kind), found.layer, here.sources, spelling, holder
        )
    layer, directory = here.sources[0]
    if not here.path:
        return Resolution("/", Kind.DIRECTORY, layer, here.sources, "", directory)
    above = here.above.sources
    name = here.path.rpartition("/")[2]
    return Resolution(here.path, Kind.DIRECTORY, layer, above, name, of_layer(above, layer))


def readlink(found: Resolution) -> str:
    """Read the target of a link that was found."""
    try:
        return found.holder.readlink(found.name)
    except OSError as error:
        raise raised(found.layer, error) from error


def raised(layer: int, error: OSError) -> Raced | LayerFault:
    """Give the exception for an error of a layer that had shown the object a moment ago."""
    return Raced() if is_absence(error) else LayerFault(layer, error)


def of_layer(sources: tuple[Source, ...], layer: int) -> Directory:
    """Pick one layer's directory."""
    return next(directory for index, directory in sources if index == layer)
