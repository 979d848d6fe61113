"""Those compared, each with the same face: a list of questions in, a list of answers out."""

from __future__ import annotations

import fnmatch
import importlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from pathlib import Path, PurePath
from typing import Protocol, Self, cast


class Sized(Protocol):
    """A stat value."""

    @property
    def st_size(self) -> int: ...


class PathLike(Protocol):
    """What is asked of a pathlib path, whoever made it."""

    @property
    def name(self) -> str: ...
    def __truediv__(self, key: str, /) -> Self: ...
    def stat(self) -> Sized: ...
    def exists(self) -> bool: ...
    def read_text(self, encoding: str) -> str: ...
    def iterdir(self) -> Iterable[Self]: ...
    def glob(self, pattern: str, /) -> Iterable[Self]: ...


class Face(Protocol):
    """The questions of the workloads; paths are relative to the union's root."""

    def joins(self, paths: Sequence[str]) -> Sequence[object]:
        """Make a path object of each."""

    def sizes(self, paths: Sequence[str]) -> list[int]:
        """Stat each."""

    def exist(self, paths: Sequence[str]) -> list[bool]:
        """Tell of each whether it is there."""

    def texts(self, paths: Sequence[str]) -> list[str]:
        """Read each."""

    def names(self, path: str) -> list[str]:
        """List a directory and take the name of each path."""

    def walked(self) -> tuple[int, int]:
        """Walk all; count directories and files."""

    def glob(self, pattern: str) -> Sequence[object]:
        """Find what fits; paths, or their text."""


class Paths:
    """Pathlib paths: ours, the kernel mount's, a plain directory's, UPath's."""

    def __init__(self, root: PathLike) -> None:
        self.root = root

    def joins(self, paths: Sequence[str]) -> Sequence[object]:
        root = self.root
        return [root / path for path in paths]

    def sizes(self, paths: Sequence[str]) -> list[int]:
        root = self.root
        return [(root / path).stat().st_size for path in paths]

    def exist(self, paths: Sequence[str]) -> list[bool]:
        root = self.root
        return [(root / path).exists() for path in paths]

    def texts(self, paths: Sequence[str]) -> list[str]:
        root = self.root
        return [(root / path).read_text("utf-8") for path in paths]

    def names(self, path: str) -> list[str]:
        return [each.name for each in (self.root / path).iterdir()]

    def walked(self) -> tuple[int, int]:
        directories = files = 0
        for _top, inner, names in walk_of(self.root):
            directories += len(inner)
            files += len(names)
        return directories, files

    def glob(self, pattern: str) -> Sequence[object]:
        return list(self.root.glob(pattern))


def walk_of(root: object) -> Iterator[tuple[object, list[str], list[str]]]:
    """Walk as the path itself does; `os.walk` before Python 3.12, where pathlib can't."""
    walk = getattr(root, "walk", None)
    if walk is None:
        return cast("Iterator[tuple[object, list[str], list[str]]]", os.walk(str(root)))
    return cast("Callable[[], Iterator[tuple[object, list[str], list[str]]]]", walk)()


class NaiveUnion:
    """What a program writes that has a list of directories: the first that has the path provides it."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots

    def _find(self, path: str) -> Path:
        for root in self._roots:
            candidate = root / path
            if candidate.exists():
                return candidate
        raise FileNotFoundError(path)

    def joins(self, paths: Sequence[str]) -> Sequence[object]:
        return [PurePath(path) for path in paths]

    def sizes(self, paths: Sequence[str]) -> list[int]:
        return [self._find(path).stat().st_size for path in paths]

    def exist(self, paths: Sequence[str]) -> list[bool]:
        return [any((root / path).exists() for root in self._roots) for path in paths]

    def texts(self, paths: Sequence[str]) -> list[str]:
        return [self._find(path).read_text("utf-8") for path in paths]

    def names(self, path: str) -> list[str]:
        return [each.name for each in self._children(path).values()]

    def _children(self, path: str) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for root in self._roots:
            directory = root / path
            if directory.is_dir():
                for each in directory.iterdir():
                    found.setdefault(each.name, each)
        return found

    def _files(self) -> Iterator[str | None]:
        """Give the path of each file, and None for each directory."""
        pending = [""]
        while pending:
            above = pending.pop()
            for name, each in self._children(above).items():
                path = f"{above}/{name}" if above else name
                if each.is_dir():
                    pending.append(path)
                    yield None
                else:
                    yield path

    def walked(self) -> tuple[int, int]:
        found = list(self._files())
        directories = found.count(None)
        return directories, len(found) - directories

    def glob(self, pattern: str) -> Sequence[object]:
        wanted = pattern.rpartition("/")[2]
        return [path for path in self._files() if path is not None and fnmatch.fnmatchcase(path, wanted)]


class Traversable(Protocol):
    """What importlib.resources gives."""

    @property
    def name(self) -> str: ...
    def joinpath(self, *descendants: str) -> Traversable: ...
    def iterdir(self) -> Iterable[Traversable]: ...
    def is_file(self) -> bool: ...
    def is_dir(self) -> bool: ...
    def read_text(self, encoding: str) -> str: ...


class Multiplexed:
    """`importlib.resources.readers.MultiplexedPath`, what a namespace package's resources are."""

    def __init__(self, roots: Sequence[Path]) -> None:
        module = importlib.import_module("importlib.resources.readers")
        self._root = cast("Traversable", module.MultiplexedPath(*roots))

    def _at(self, path: str) -> Traversable:
        # One component at a time: before Python 3.12 joinpath takes no more.
        return reduce(lambda here, name: here.joinpath(name), path.split("/"), self._root)

    def joins(self, paths: Sequence[str]) -> Sequence[object]:
        return [self._at(path) for path in paths]

    def sizes(self, paths: Sequence[str]) -> list[int]:
        return [cast("Path", self._at(path)).stat().st_size for path in paths]

    def exist(self, paths: Sequence[str]) -> list[bool]:
        return [(at := self._at(path)).is_file() or at.is_dir() for path in paths]

    def texts(self, paths: Sequence[str]) -> list[str]:
        return [self._at(path).read_text("utf-8") for path in paths]

    def names(self, path: str) -> list[str]:
        return [each.name for each in self._at(path).iterdir()]

    def walked(self) -> tuple[int, int]:
        raise NotImplementedError

    def glob(self, pattern: str) -> Sequence[object]:
        raise NotImplementedError


class _Info(Protocol):
    size: int


class _MultiFS(Protocol):
    def add_fs(self, name: str, fs: object, *, priority: int) -> None: ...
    def getinfo(self, path: str, namespaces: list[str]) -> _Info: ...
    def exists(self, path: str) -> bool: ...
    def readtext(self, path: str, encoding: str) -> str: ...
    def listdir(self, path: str) -> list[str]: ...
    @property
    def walk(self) -> Callable[[], Iterable[tuple[str, list[object], list[object]]]]: ...
    def glob(self, pattern: str) -> Iterable[tuple[str, object]]: ...


class Multi:
    """PyFilesystem2's `MultiFS`; its paths are text."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._fs = cast("_MultiFS", importlib.import_module("fs.multifs").MultiFS())
        local = importlib.import_module("fs.osfs").OSFS
        for number, root in enumerate(roots):
            self._fs.add_fs(root.name, local(str(root)), priority=-number)
        self._join = cast("Callable[[str, str], str]", importlib.import_module("fs.path").combine)

    def joins(self, paths: Sequence[str]) -> Sequence[object]:
        join = self._join
        return [join("/", path) for path in paths]

    def sizes(self, paths: Sequence[str]) -> list[int]:
        return [self._fs.getinfo(path, ["details"]).size for path in paths]

    def exist(self, paths: Sequence[str]) -> list[bool]:
        return [self._fs.exists(path) for path in paths]

    def texts(self, paths: Sequence[str]) -> list[str]:
        return [self._fs.readtext(path, encoding="utf-8") for path in paths]

    def names(self, path: str) -> list[str]:
        return list(self._fs.listdir(path))

    def walked(self) -> tuple[int, int]:
        directories = files = 0
        for _top, inner, names in self._fs.walk():
            directories += len(inner)
            files += len(names)
        return directories, files

    def glob(self, pattern: str) -> Sequence[object]:
        return [found[0] for found in self._fs.glob(pattern)]


def no_multifs() -> str | None:
    """Say why PyFilesystem2 can't be compared with, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("fs.multifs")
    except ImportError as error:
        return f"no MultiFS: {error} (pip install fs 'setuptools<81')"
    return None


def upath_of(directory: Path) -> Paths:
    """Give a directory as universal-pathlib sees it through fsspec."""
    from upath import UPath

    return Paths(UPath(directory.as_uri()))


def name_of(found: object) -> str:
    """Give the name of a path, or of a path's text."""
    return found.rpartition("/")[2] if isinstance(found, str) else cast("PathLike", found).name
