"""What the commands that change a union do: really (`Hands`), or only said in advance (`Planner`)."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Protocol, TypeAlias, cast

from upath.types import ReadablePath

from unionpath.cli.look import BLOCK
from unionpath.cli.places import HostSource, Place, spelled
from unionpath.model.change import Attributes
from unionpath.model.entry import Kind, kind_of
from unionpath.model.errors import is_absence, oserror
from unionpath.mutate.engine import Engine
from unionpath.mutate.steps import Make, Step, Write
from unionpath.path import UnionPath

Steps: TypeAlias = Sequence[Step] | None
"""What is planned; None from those who have done it."""


class Actor(Protocol):
    """One who is told to change the union. What fails raises OSError, with nothing of it done."""

    def copy(self, source: Place, target: Place, *, recursive: bool, preserve: bool) -> Steps:
        """Copy a file, or with `recursive` whatever it is."""

    def move(self, source: Place, target: Place) -> Steps:
        """Rename, or copy and remove where that is what it takes."""

    def remove(self, path: UnionPath, *, recursive: bool, force: bool, directories: bool) -> Steps:
        """Remove a name; `directories`: also an empty directory's."""

    def mkdir(self, path: UnionPath, *, mode: int | None, parents: bool) -> Steps:
        """Make a directory."""

    def touch(self, path: UnionPath, *, create: bool) -> Steps:
        """Make a file, or set its times to now."""

    def write(self, path: UnionPath, *, append: bool) -> Steps:
        """Put what stdin has into a file."""


class Hands:
    """Changes the union."""

    def copy(self, source: Place, target: Place, *, recursive: bool, preserve: bool) -> Steps:
        """Copy; a link for what it leads to, unless `recursive`."""
        _check_copied(source, recursive=recursive)
        follow = not recursive
        if isinstance(source, UnionPath):
            source.copy(target, follow_symlinks=follow, preserve_metadata=preserve)
        else:
            original = cast("ReadablePath", HostSource(source))
            copy_from = _union(target)._copy_from  # pyright: ignore[reportPrivateUsage]  # pathlib's hook
            copy_from(original, follow_symlinks=follow, preserve_metadata=preserve)
        return None

    def move(self, source: Place, target: Place) -> Steps:
        """Move; across to or from the host that is a copy with metadata, and then a removal."""
        if isinstance(source, UnionPath):
            source.move(target)
            return None
        self.copy(source, target, recursive=True, preserve=True)
        if source.is_dir() and not source.is_symlink():
            shutil.rmtree(source)
        else:
            source.unlink()
        return None

    def remove(self, path: UnionPath, *, recursive: bool, force: bool, directories: bool) -> Steps:
        """Remove; of links the link."""
        kind = _removed(path, recursive=recursive, force=force, directories=directories)
        if kind is Kind.DIRECTORY:
            (path.rmtree if recursive else path.rmdir)()
        elif kind is not None:
            path.unlink(missing_ok=force)
        return None

    def mkdir(self, path: UnionPath, *, mode: int | None, parents: bool) -> Steps:
        """Make a directory; `mode` is exact, whatever the umask."""
        is_new = not (parents and path.is_dir())
        path.mkdir(0o777 if mode is None else mode, parents=parents, exist_ok=parents)
        if mode is not None and is_new:
            path.chmod(mode)
        return None

    def touch(self, path: UnionPath, *, create: bool) -> Steps:
        """Make a file, or set its times to now."""
        if create or path.exists():
            path.touch()
        return None

    def write(self, path: UnionPath, *, append: bool) -> Steps:
        """Write all at once, at the end of the input; or append as it comes."""
        source = cast("BufferedReader", sys.stdin.buffer)
        if not append:
            path.write_bytes(source.read())
            return None
        with path.open("ab", buffering=0) as file:
            while block := source.read1(BLOCK):
                file.write(block)
        return None


class Planner:
    """Says what would be done, step by step, and does nothing."""

    def copy(self, source: Place, target: Place, *, recursive: bool, preserve: bool) -> Steps:
        """Plan a copy; to the host there is nothing to plan."""
        _check_copied(source, recursive=recursive)
        if isinstance(target, Path):
            return ()
        return tuple(self._copied(source, target, follow=not recursive))

    def move(self, source: Place, target: Place) -> Steps:
        """Plan a move."""
        if isinstance(source, Path):
            return self.copy(source, target, recursive=True, preserve=True)
        if isinstance(target, Path):
            return self.remove(source, recursive=True, force=False, directories=False)
        return _engine(source).plan_rename(str(source), str(target))

    def remove(self, path: UnionPath, *, recursive: bool, force: bool, directories: bool) -> Steps:
        """Plan a removal."""
        kind = _removed(path, recursive=recursive, force=force, directories=directories)
        if kind is None:
            return ()
        if kind is not Kind.DIRECTORY:
            return _engine(path).plan_unlink(str(path))
        return (_engine(path).plan_rmtree if recursive else _engine(path).plan_rmdir)(str(path))

    def mkdir(self, path: UnionPath, *, mode: int | None, parents: bool) -> Steps:
        """Plan a directory, and those above it that are missing."""
        permissions = 0o777 if mode is None else mode
        if parents and path.is_dir():
            return ()
        missing = [path]
        while parents and not missing[-1].parent.exists():
            missing.append(missing[-1].parent)
        *inner, top = missing
        first = _engine(top).plan_mkdir(str(top), 0o777 if inner else permissions)
        made = [Make(str(each), Kind.DIRECTORY, 0o777) for each in reversed(inner)]
        if made:
            made[-1] = made[-1]._replace(permissions=permissions)
        return (*first, *made)

    def touch(self, path: UnionPath, *, create: bool) -> Steps:
        """Plan a file or its times."""
        engine = _engine(path)
        if path.exists():
            return engine.plan_change(str(path), Attributes(now=True))
        return engine.plan_touch(str(path)) if create else ()

    def write(self, path: UnionPath, *, append: bool) -> Steps:
        """Plan a file; what stdin has isn't read."""
        return _engine(path).plan_write(str(path))

    def _copied(self, source: Place, target: UnionPath, *, follow: bool) -> Iterator[Step]:
        """Plan the topmost object as the engine does; what is in it is new, and made in turn."""
        engine, kind = _engine(target), _kind(source, follow=follow)
        match kind:
            case Kind.DIRECTORY:
                yield from engine.plan_mkdir(str(target), 0o777)
            case Kind.SYMLINK:
                yield from engine.plan_symlink(str(target), str(source.readlink()))
            case _:
                yield from engine.plan_write(str(target), source.stat().st_size)
        if kind is Kind.DIRECTORY:
            for below, names in _walked(source):
                yield _made(below, target.joinpath(*names))


def _made(source: Place, target: UnionPath) -> Step:
    match _kind(source, follow=False):
        case Kind.FILE:
            return Write(str(target), source.stat().st_size)
        case Kind.SYMLINK:
            return Make(str(target), Kind.SYMLINK, 0o777, str(source.readlink()))
        case kind:
            return Make(str(target), kind, 0o777)


def _walked(top: Place) -> Iterator[tuple[Place, tuple[str, ...]]]:
    """Give all below a directory and how to get there, parents first; links are not followed."""
    pending: list[tuple[Place, tuple[str, ...]]] = [(top, ())]
    while pending:
        here, names = pending.pop()
        if names:
            yield here, names
        if _kind(here, follow=False) is Kind.DIRECTORY:
            inner: list[Place] = [*here.iterdir()]
            pending += [(each, (*names, each.name)) for each in sorted(inner, key=_name, reverse=True)]


def _name(path: Place) -> str:
    return path.name


def _kind(path: Place, *, follow: bool) -> Kind:
    return kind_of(path.stat(follow_symlinks=follow).st_mode)


def _check_copied(source: Place, *, recursive: bool) -> None:
    if not recursive and _kind(source, follow=True) is Kind.DIRECTORY:
        raise oserror(errno.EISDIR, spelled(source), hint="-r copies directories")


def _removed(path: UnionPath, *, recursive: bool, force: bool, directories: bool) -> Kind | None:
    """
    Tell the kind of what is to be removed; None: nothing is there, and that is fine.

    Raises:
        IsADirectoryError (EISDIR): a directory without the options for it.
        FileNotFoundError (ENOENT): nothing is there.
    """
    try:
        kind = _kind(path, follow=False)
    except OSError as error:
        if force and is_absence(error):
            return None
        raise
    if kind is Kind.DIRECTORY and not (recursive or directories):
        raise oserror(errno.EISDIR, str(path), hint="-r removes directories, -d empty ones")
    return kind


def _engine(path: UnionPath) -> Engine:
    """
    Give what plans.

    Raises:
        OSError (EROFS): the union has no upper.
    """
    if path.stack.upper is None:
        raise oserror(errno.EROFS, str(path))
    return path.stack.engine


def _union(target: Place) -> UnionPath:
    assert isinstance(target, UnionPath), "one end of a copy is the union's"
    return target
