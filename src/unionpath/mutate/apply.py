"""
Plans carried out: the only code that changes an upper.

Whatever takes more than one system call is made in the work area and published by one rename. Where two names
are concerned, an object and its whiteout, their order makes every instant consistent (L6, E5): mark, then
remove; publish, then unmark. `docs/reference/formats.md` shows the moments in between.

A step that fails has changed nothing, and what earlier steps of the plan copied up is taken away again (E6).
Once a change is there for all to see, what is left to do is tidying: a whiteout beside the object it names,
or a name in the work area, means nothing (L6) and goes at the next occasion: its removal can't fail the
change.
"""

from __future__ import annotations

import errno
import os
import stat as _stat
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from io import BytesIO, RawIOBase
from typing import NamedTuple, TypeAlias, assert_never, cast

from unionpath.model.entry import KIND_MASK, KINDS, Kind, Stat
from unionpath.model.errors import oserror
from unionpath.model.layer import LayerView
from unionpath.model.parts import Parts
from unionpath.model.store import Capability
from unionpath.model.text import name_of, parent_of
from unionpath.model.whiteout import MarkerAttribute
from unionpath.model.writable import Move, RawMode, WritableDirectory, WritableStore
from unionpath.mutate.clearing import delete
from unionpath.mutate.copy_up import (
    Origin,
    change_attributes,
    check_able,
    copy_attributes,
    stage,
)
from unionpath.mutate.handle import COPIES
from unionpath.mutate.marks import Marks
from unionpath.mutate.steps import (
    CopyUp,
    Duplicate,
    Link,
    Make,
    Plan,
    Remove,
    Rename,
    SetAttributes,
    Step,
    Write,
)
from unionpath.mutate.work import WorkArea
from unionpath.stores.transfer import sync, transfer

Content: TypeAlias = "bytes | RawIOBase"
"""What is written: bytes, or a reader where the store takes a stream."""

_PRIVATE_PERMISSIONS = 0o600


class Ready(NamedTuple):
    """A large file that was copied into the work area before the lock was taken."""

    name: str
    of: tuple[int, int, int, int]
    """What it is a copy of, as `identity_of` gives it."""


def identity_of(status: Stat) -> tuple[int, int, int, int]:
    """Tell one state of one file from others."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Application:
    """One plan being carried out, under the upper's lock."""

    def __init__(
        self,
        upper: LayerView,
        work: WorkArea,
        marks: Marks,
        *,
        directories: dict[str, WritableDirectory],
        origins: Callable[[str], Origin],
        listing: Callable[[str], Mapping[str, int]],
        ready: dict[str, Ready],
        settled: Callable[[], None],
        durable: bool,
        litter: list[str],
    ) -> None:
        self._upper = upper
        self._store = cast("WritableStore", upper.store)
        self._capabilities = upper.store.capabilities
        self._work = work
        self._marks = marks
        self._directories = directories
        self._origins = origins
        self._listing = listing
        self._ready = ready
        self._settled = settled
        self._durable = durable
        self._staged: list[str] = []
        self._litter = litter
        self._undo: list[Callable[[], object]] = []
        self._renames = Capability.RENAMES in self._capabilities
        self.opened: RawIOBase | None = None

    def run(self, plan: Plan, *, content: Content = b"", mode: RawMode | None = None) -> RawIOBase | None:
        """
        Do every step. `content` is that of a `Write`; with `mode`, the file that a `Make` made is opened.

        Raises:
            OSError: as the upper or a layer failed; everything is as before.
        """
        try:
            for step in plan:
                if isinstance(step, Duplicate):
                    self._check_tree(step.path, step.kind)
            for step in plan:
                self._do(step, content, mode)
        except BaseException:
            self._undo_all()
            raise
        finally:
            # What was staged and not published is of no use to anyone.
            self._litter += self._staged
        self._marks.settle_all()
        return self.opened

    def _published(self) -> None:
        """Note that the change is there for all to see: from now on nothing is undone."""
        self._undo.clear()

    def _undo_all(self) -> None:
        if self.opened is not None:
            self.opened.close()
        # In reverse, and only as far as it goes: an earlier step may rest on a later one's undoing. Whatever
        # is left of the steps before the change itself shows nothing else than what was there.
        with suppress(OSError):
            for undo in reversed(self._undo):
                undo()

    def _do(self, step: Step, content: Content, mode: RawMode | None) -> None:
        match step:
            case CopyUp(whole=True):
                self._copy_up_whole(step)
            case CopyUp():
                self._copy_up(step, mode)
            case Make():
                self._make(step, mode)
            case Write():
                self._write(step, content)
            case Link():
                self._link(step)
            case Remove():
                self._remove(step)
            case Rename():
                self._rename(step)
            case SetAttributes():
                self._set_attributes(step)
            case Duplicate():
                self._duplicate(step)
            case _:
                assert_never(step)

    # --- where things are --------------------------------------------------------------------------

    def directory(self, path: str) -> WritableDirectory:
        """Give the upper's directory at a path of the union."""
        todo: list[str] = []
        while (known := self._directories.get(path)) is None:
            if path == "/":
                known = self._directories[path] = self._store.root()
                break
            todo.append(path)
            path = parent_of(path)
        for each in reversed(todo):
            known = self._directories[each] = known.child(name_of(each))
        return known

    def _place(self, path: str) -> tuple[WritableDirectory, str]:
        return self.directory(parent_of(path)), name_of(path)

    def _new_name(self) -> str:
        name = self._work.new_name()
        self._staged.append(name)
        return name

    def _publish(
        self, staged: str, directory: WritableDirectory, name: str, how: Move = Move.EXCLUSIVE
    ) -> None:
        """Give a staged object its name."""
        try:
            self._work.staging.rename(staged, directory, name, how)
        except PermissionError as error:
            self._publish_closed(error, staged, directory, name, how)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP or how is Move.REPLACE:
                raise
            self._publish_plainly(staged, directory, name, how)
        if how is not Move.EXCHANGE:
            self._staged.remove(staged)
        self._marks.settle(directory)

    def _publish_closed(
        self, refused: PermissionError, staged: str, directory: WritableDirectory, name: str, how: Move
    ) -> None:
        """Do the same for a directory that its own mode closes to its owner, who then can't move it."""
        staging = self._work.staging
        mode = staging.stat(staged).st_mode
        if not _stat.S_ISDIR(mode) or mode & 0o200:
            raise refused
        staging.chmod(staged, _stat.S_IMODE(mode) | 0o200)
        staging.rename(staged, directory, name, how)
        directory.chmod(name, _stat.S_IMODE(mode))

    def _publish_plainly(self, staged: str, directory: WritableDirectory, name: str, how: Move) -> None:
        """
        Do the same where a file system (NFS, say) has nothing but rename(2).

        Other writers of the union are kept out by the lock. There is nothing in the place of an exchange:
        what the upper alone has is never put where a crash would have it cleared.
        """
        if how is Move.EXCHANGE:
            raise oserror(errno.EXDEV, name, hint="this file system can't exchange two names; use move()")
        if self._has(directory, name):
            raise FileExistsError(errno.EEXIST, "the name is taken")
        self._work.staging.rename(staged, directory, name)

    # --- copy-up -----------------------------------------------------------------------------------

    def _complete_in_place(self, origin: Origin, directory: WritableDirectory, name: str) -> None:
        """
        Give a metadata-only file with several names its data; all of them have it then.

        The marks that say where its data is go last: until then its own bytes mean nothing.
        """
        with closing(origin.open()) as source, closing(directory.open_writable(name, "rb+")) as target:
            status = directory.stat(name)
            transfer(source, target)
            sync(target)
        for attribute in directory.listxattr(name):
            last = attribute.rpartition(".")[2]
            if origin.format.is_private_attribute(attribute) and last in ("redirect", "metacopy"):
                directory.removexattr(name, attribute)
        directory.utime(name, (status.st_atime_ns, status.st_mtime_ns))

    def _copy_up(self, step: CopyUp, mode: RawMode | None) -> None:
        directory, name = self._place(step.path)
        origin = self._origins(step.path)
        if not self._renames:
            self._put_copy(step.kind, origin, directory, name, data=step.data)
            change_attributes(directory, name, step.change)
        else:
            times = directory.status()
            if step.layer == 0 and origin.status().st_nlink > 1:
                self._complete_in_place(origin, directory, name)
                return
            staged = self._stage(step, origin)
            if mode is not None and step.kind is Kind.FILE:
                # Opened before it has its name: a failure to open changes nothing.
                self.opened = self._work.staging.open_writable(staged, mode)
            self._publish(staged, directory, name, Move.EXCLUSIVE if step.layer else Move.REPLACE)
            _set_times(directory, times)
            if step.kind is Kind.FILE:
                COPIES.note(lambda: directory.stat(name), origin.status())
        if step.layer == 0:
            return
        remove = directory.rmdir if step.kind is Kind.DIRECTORY else directory.unlink
        self._undo.append(lambda: self._keeping_times(directory, lambda _here: remove(name)))

    def _stage(self, step: CopyUp, origin: Origin) -> str:
        ready = self._ready.pop(step.path, None) if step.data else None
        if ready is not None:
            self._staged.append(ready.name)
            if ready.of == identity_of(origin.status()):
                change_attributes(self._work.staging, ready.name, step.change)
                return ready.name
        name = self._new_name()
        stage(
            origin,
            self._work.staging,
            name,
            self._upper,
            data=step.data,
            durable=self._durable,
            change=step.change,
        )
        return name

    def _put_copy(
        self, kind: Kind, origin: Origin, directory: WritableDirectory, name: str, *, data: bool = True
    ) -> None:
        """Copy one object to its name at once, where the store shows files only when they are whole."""
        check_able(kind, self._capabilities, origin.path)
        if kind is Kind.DIRECTORY:
            directory.mkdir(name, 0o777)
        elif not data:
            directory.create(name)
        else:
            with closing(origin.open()) as source:
                directory.put(name, source)

    def _copy_up_whole(self, step: CopyUp) -> None:
        """
        Make a directory of the upper show all that the union shows there by itself, in one step.

        Nothing changes for anyone who looks: a complete opaque copy takes the place of what merged.
        """
        directory, name = self._place(step.path)
        in_upper = self._has(directory, name)
        parts = _parts(step.path)
        staged = self._stage_tree(step.path, opaque=self._marks.table is None)
        self._settled()
        times = directory.status()
        how = Move.EXCHANGE if in_upper else Move.EXCLUSIVE
        self._publish(staged, directory, name, how)
        self._undo.append(lambda: self._take_back(directory, name, staged, exchange=in_upper))
        _set_times(directory, times)
        if self._marks.table is not None:
            # Marks in the table go by paths: those of what stood here before hold until now.
            here = directory.child(name)
            self._undo.append(lambda: self._marks.unset_opaque(here, parts))
            self._marks.set_opaque(here, parts)
        self._directories.clear()

    def _take_back(self, directory: WritableDirectory, name: str, staged: str, *, exchange: bool) -> None:
        """Have a directory as it was before it was made whole."""
        how = Move.EXCHANGE if exchange else Move.EXCLUSIVE

        def back(here: WritableDirectory) -> None:
            here.rename(name, self._work.staging, staged, how)

        self._keeping_times(directory, back)
        if not exchange:
            self._litter.append(staged)

    def _stage_tree(self, path: str, *, opaque: bool) -> str:
        """
        Stage a directory with all that the union shows in it; files of the upper are linked, not copied.
        """
        top = self._new_name()
        staging = self._work.staging
        pending = [(path, staging, top)]
        made: list[tuple[Origin, WritableDirectory, str]] = []
        while pending:
            source, above, name = pending.pop()
            origin = self._origins(source)
            above.mkdir(name, 0o700)
            made.append((origin, above, name))
            here = above.child(name)
            if opaque and source == path:
                self._marks.set_opaque(here, _parts(path))
            for inner, code in self._listing(source).items():
                below = f"{source}/{inner}"
                self._check_name(source, inner)
                if code & KIND_MASK == Kind.DIRECTORY:
                    pending.append((below, here, inner))
                else:
                    self._stage_leaf(below, here, inner)
        # Children first: what is put into a directory changes its times.
        for origin, above, name in reversed(made):
            copy_attributes(origin, origin.status(), above, name, self._upper)
            self._marks.sync(above.child(name))
        return top

    def _check_name(self, directory: str, name: str) -> None:
        """Refuse to copy a name that the upper would take for a marker (M4)."""
        if self._marks.format.is_reserved(_parts(directory), name):
            path = f"{directory}/{name}"
            raise oserror(errno.EINVAL, path, hint="names like this are markers in the upper's format")

    def _stage_leaf(self, path: str, here: WritableDirectory, name: str) -> None:
        origin = self._origins(path)
        own = origin.format is self._marks.format and origin.name is not None
        if own and (not self._lacks_data(origin) or self._is_completed(origin)):
            assert origin.name is not None
            with suppress(OSError):  # too many links, or of another store: then it is copied
                here.link(name, cast("WritableDirectory", origin.directory), origin.name)
                return
        stage(origin, here, name, self._upper, durable=self._durable)

    def _lacks_data(self, origin: Origin) -> bool:
        """Tell whether a file of the upper finds its data by its place (metacopy, M7)."""
        assert origin.name is not None
        layout = origin.format
        is_file = _stat.S_ISREG(origin.status().st_mode)
        return layout.has_redirects and is_file and layout.is_metacopy(origin.directory, origin.name)

    def _is_completed(self, origin: Origin) -> bool:
        """
        Give a metadata-only file of the upper its data, if it has more names, which must stay one file's.
        """
        assert origin.name is not None
        if origin.status().st_nlink == 1:
            return False
        self._complete_in_place(origin, cast("WritableDirectory", origin.directory), origin.name)
        return True

    def _has(self, directory: WritableDirectory, name: str) -> bool:
        try:
            directory.stat(name)
        except FileNotFoundError:
            return False
        return True

    # --- making ------------------------------------------------------------------------------------

    def _make(self, step: Make, mode: RawMode | None) -> None:
        directory, name = self._place(step.path)
        if step.over_whiteout and self._marks.in_place:
            self._make_staged(step, directory, name, mode)
            return
        parts = _parts(parent_of(step.path))
        if step.kind is Kind.DIRECTORY:
            made = directory.mkdir(name, step.permissions)
            if step.over_whiteout:
                # Its own whiteout keeps it from merging until it is opaque (L6).
                try:
                    self._set_opaque(made, (*parts, name))
                except BaseException:
                    with suppress(OSError):
                        directory.rmdir(name)
                    raise
        elif step.kind is Kind.SYMLINK:
            directory.symlink(name, step.target)
        else:
            self._open_new(directory, name, step.permissions, mode)
        self._marks.settle(directory)
        self._unmark(step, directory, name)

    def _unmark(self, step: Make | Write | Link, directory: WritableDirectory, name: str) -> None:
        """Drop the whiteout of a name just made."""
        if step.over_whiteout:
            with suppress(OSError):  # tidying
                self._marks.drop(directory, _parts(parent_of(step.path)), name)

    def _set_opaque(self, directory: WritableDirectory, parts: Parts) -> None:
        """Make a directory opaque, also one that its own mode closes to its owner."""
        try:
            self._marks.set_opaque(directory, parts)
        except PermissionError:
            mode = _stat.S_IMODE(directory.status().st_mode)
            if mode & 0o300 == 0o300:
                raise
            directory.chmod(None, mode | 0o300)
            try:
                self._marks.set_opaque(directory, parts)
            finally:
                directory.chmod(None, mode)
        # Before anything is done that rests on it.
        self._marks.sync(directory)

    def _open_new(
        self, directory: WritableDirectory, name: str, permissions: int, mode: RawMode | None
    ) -> None:
        if mode is None:
            directory.create(name, b"", permissions)
        elif mode.startswith("a") and not self._renames:
            # Others may do the same, and all that they append is to be there in the end.
            directory.create(name, b"", permissions)
            self.opened = directory.open_writable(name, mode)
        else:
            self.opened = directory.open_new(name, mode, permissions)
        if self._renames:
            COPIES.note(lambda: directory.stat(name), None)

    def _make_staged(self, step: Make, directory: WritableDirectory, name: str, mode: RawMode | None) -> None:
        """Make an object in the place of a whiteout device."""
        staging, staged = self._work.staging, self._new_name()
        if step.kind is Kind.DIRECTORY:
            made = staging.mkdir(staged, step.permissions)
            self._inherit(directory, staged, Kind.DIRECTORY, step.permissions)
            self._set_opaque(made, _parts(step.path))
            self._publish(staged, directory, name, Move.EXCHANGE)
            return
        if step.kind is Kind.SYMLINK:
            staging.symlink(staged, step.target)
        else:
            self._open_new(staging, staged, step.permissions, mode)
        self._inherit(directory, staged, step.kind, step.permissions)
        self._publish(staged, directory, name, Move.REPLACE)

    def _inherit(self, directory: WritableDirectory, staged: str, kind: Kind, permissions: int) -> None:
        """Do to a staged new object what the system does to one made in a set-group-ID directory (C10)."""
        above, staging = directory.status(), self._work.staging
        if kind is not Kind.SYMLINK and Capability.XATTRS in self._capabilities:
            self._inherit_access(directory, staged, kind, permissions)
        if not above.st_mode & _stat.S_ISGID:
            return
        staging.chown(staged, -1, above.st_gid)
        if kind is Kind.DIRECTORY:
            staging.chmod(staged, _stat.S_IMODE(staging.stat(staged).st_mode) | _stat.S_ISGID)

    def _inherit_access(
        self, directory: WritableDirectory, staged: str, kind: Kind, permissions: int
    ) -> None:
        """Give a staged new object the default access list of its directory, within its own mode (acl(5))."""
        default = directory.getxattr(None, "system.posix_acl_default")
        if default is None:
            return
        staging = self._work.staging
        staging.setxattr(staged, "system.posix_acl_access", default)
        if kind is Kind.DIRECTORY:
            staging.setxattr(staged, "system.posix_acl_default", default)
        # The umask has no say where there is such a list.
        staging.chmod(staged, permissions & _stat.S_IMODE(staging.stat(staged).st_mode))

    def _write(self, step: Write, content: Content) -> None:
        directory, name = self._place(step.path)
        self._put_content(step, content, directory, name)
        COPIES.note(lambda: directory.stat(name), None)

    def _put_content(self, step: Write, content: Content, directory: WritableDirectory, name: str) -> None:
        if not self._renames:
            directory.put(name, BytesIO(content) if isinstance(content, bytes) else content)
            change_attributes(directory, name, step.change)
        elif step.like is not None:
            self._replace_content(step, directory, name, content)
        elif (
            step.staged is not None
            or step.change is not None
            or (step.over_whiteout and self._marks.in_place)
        ):
            staged = self._staged_content(step, content, 0o666)
            self._inherit(directory, staged, Kind.FILE, 0o666)
            change_attributes(self._work.staging, staged, step.change)
            in_place = step.over_whiteout and self._marks.in_place
            self._publish(staged, directory, name, Move.REPLACE if in_place else Move.EXCLUSIVE)
            if in_place:
                return
        else:
            assert isinstance(content, bytes)
            directory.create(name, content, 0o666, sync=self._durable)
            self._marks.settle(directory)
        self._unmark(step, directory, name)

    def _staged_content(self, step: Write, content: Content, permissions: int) -> str:
        if step.staged is not None:
            self._staged.append(step.staged)
            return step.staged
        assert isinstance(content, bytes)
        staged = self._new_name()
        self._work.staging.create(staged, content, permissions, sync=self._durable)
        return staged

    def _replace_content(
        self, step: Write, directory: WritableDirectory, name: str, content: Content
    ) -> None:
        """Put new bytes in the place of a file's, keeping its owner, mode and attributes (C11)."""
        origin = self._origins(step.path)
        staged = self._staged_content(step, content, _PRIVATE_PERMISSIONS)
        copy_attributes(
            origin, origin.status(), self._work.staging, staged, self._upper, times=False, content=False
        )
        if os.geteuid() != 0 and step.change is None:
            self._drop_privileges(staged)
        change_attributes(self._work.staging, staged, step.change)
        times = directory.status()
        self._publish(staged, directory, name, Move.REPLACE if step.like == 0 else Move.EXCLUSIVE)
        _set_times(directory, times)

    def _drop_privileges(self, staged: str) -> None:
        """Take off what the system takes off a file that someone without privileges writes to."""
        mode = _stat.S_IMODE(self._work.staging.stat(staged).st_mode)
        kept = mode & ~(_stat.S_ISUID | (_stat.S_ISGID if mode & _stat.S_IXGRP else 0))
        if kept != mode and Capability.MODES in self._capabilities:
            self._work.staging.chmod(staged, kept)

    def _link(self, step: Link) -> None:
        source, source_name = self._place(step.source)
        directory, name = self._place(step.path)
        if step.over_whiteout and self._marks.in_place:
            staged = self._new_name()
            self._work.staging.link(staged, source, source_name)
            self._publish(staged, directory, name, Move.REPLACE)
            return
        directory.link(name, source, source_name)
        self._marks.settle(directory)
        self._unmark(step, directory, name)

    # --- removing ----------------------------------------------------------------------------------

    def _remove(self, step: Remove) -> None:
        directory, name = self._place(step.path)
        parts = _parts(parent_of(step.path))
        if not step.in_upper:
            self._marks.put(directory, parts, name)
            if self._marks.table is not None and Capability.TIMES in self._capabilities:
                with suppress(OSError):  # the change is there
                    directory.utime(None)  # as if a name had gone from it
        elif not self._renames:
            self._remove_piecemeal(step, directory, parts, name)
        elif step.kind is not Kind.DIRECTORY:
            self._remove_leaf(step, directory, parts, name)
        elif not step.tree and self._is_removed_empty(step, directory, parts, name):
            pass
        elif self._marks.table is not None:
            self._remove_directory_of_table(step, directory, parts, name)
        else:
            self._remove_directory(step, directory, parts, name)
        if step.kind is Kind.DIRECTORY:
            self._forget(step.path)

    def _remove_leaf(self, step: Remove, directory: WritableDirectory, parts: Parts, name: str) -> None:
        if step.whiteout and self._marks.in_place:
            self._publish(self._staged_whiteout(), directory, name, Move.REPLACE)
            return
        if step.whiteout:
            self._mark(directory, parts, name)
        directory.unlink(name)
        self._published()
        self._marks.settle(directory)

    def _mark(self, directory: WritableDirectory, parts: Parts, name: str) -> None:
        """Put a whiteout beside what is removed next; one that was there stays, whatever comes."""
        if not self._marks.has_mark(directory, name):
            self._undo.append(lambda: self._marks.drop(directory, parts, name))
        self._marks.put(directory, parts, name, before_removal=True)

    def _staged_whiteout(self) -> str:
        staged = self._new_name()
        self._marks.make_device(self._work.staging, staged)
        return staged

    def _is_removed_empty(self, step: Remove, directory: WritableDirectory, parts: Parts, name: str) -> bool:
        """
        Remove a directory that holds nothing at all; False if it holds markers.

        Raises:
            OSError (ENOTEMPTY): someone who knows nothing of this union has put something into it.
        """
        here = directory.child(name)
        if self._marks.format.read(here, KINDS).shown:
            raise oserror(errno.ENOTEMPTY, step.path)
        if here.scan(KINDS) or self._marks.in_place:
            return False
        if step.whiteout:
            self._mark(directory, parts, name)
        directory.rmdir(name)
        self._published()
        self._marks.settle(directory)
        if self._marks.table is not None:
            with suppress(OSError):  # tidying
                self._marks.append(self._marks.record(parts, name).forget)
        return True

    def _remove_directory(self, step: Remove, directory: WritableDirectory, parts: Parts, name: str) -> None:
        """Take a directory away in one step; what was in it is cleared out of sight."""
        if not step.whiteout:
            self._set_aside(directory, name)
        elif self._marks.in_place:
            self._publish(self._staged_whiteout(), directory, name, Move.EXCHANGE)
        else:
            self._turn_into_whiteout(directory, name, self._marks.name_of_whiteout(parts, name))

    def _turn_into_whiteout(self, directory: WritableDirectory, name: str, marker: str) -> None:
        """
        Rename a directory to the name of its own whiteout. Only its name counts, so this one step hides
        what it held and what lies below. Then the plain empty file that others expect takes its place.
        """
        staged = self._new_name()
        self._work.staging.create(staged, b"", 0o644)
        try:
            directory.rename(name, directory, marker, Move.EXCLUSIVE)
        except FileExistsError:  # it has its whiteout beside it, so nothing shows through
            self._set_aside(directory, name)
            return
        try:
            self._publish(staged, directory, marker, Move.EXCHANGE)
        except OSError as error:
            # Without exchange, the directory stays what it is now: a whiteout, of an odd kind.
            if error.errno != errno.EXDEV and self._is_undone(directory, marker, name):
                raise

    def _is_undone(self, directory: WritableDirectory, marker: str, name: str) -> bool:
        """Give a directory its name back; False if that fails, too: then it is removed, if not tidily."""
        try:
            directory.rename(marker, directory, name, Move.EXCLUSIVE)
        except OSError:
            return False
        return True

    def _set_aside(self, directory: WritableDirectory, name: str) -> None:
        directory.rename(name, self._work.staging, self._new_name())
        self._marks.settle(directory)

    def _remove_directory_of_table(
        self, step: Remove, directory: WritableDirectory, parts: Parts, name: str
    ) -> None:
        record = self._marks.record(parts, name)
        if not step.whiteout:
            self._set_aside(directory, name)
            with suppress(OSError):  # tidying
                self._marks.append(record.forget)
            return
        self._undo.append(lambda: self._marks.append(record.restore))
        self._marks.append(record.remove, sync=self._durable)
        self._set_aside(directory, name)
        self._published()
        with suppress(OSError):  # whoever opens the upper next says so
            self._marks.append(record.removed_hidden)

    def _remove_piecemeal(self, step: Remove, directory: WritableDirectory, parts: Parts, name: str) -> None:
        """Remove where nothing can be renamed: hidden first, then object by object."""
        if self._marks.table is not None and step.kind is Kind.DIRECTORY:
            record = self._marks.record(parts, name)
            self._marks.append(record.remove)
            delete(directory, name)
            self._marks.append(record.removed_hidden if step.whiteout else record.removed)
            return
        if step.whiteout:
            self._marks.put(directory, parts, name)
        delete(directory, name)

    def clear_removed(self, path: str) -> None:
        """Finish a removal that a crash interrupted (`MarkerRecord.remove`)."""
        record = self._marks.record(_parts(parent_of(path)), name_of(path))
        with suppress(FileNotFoundError, NotADirectoryError):
            delete(*self._place(path))
        self._marks.append(record.removed_hidden)

    def _forget(self, path: str) -> None:
        for known in tuple(self._directories):
            if known == path or known.startswith(path + "/"):
                del self._directories[known]

    # --- renaming ----------------------------------------------------------------------------------

    def _rename(self, step: Rename) -> None:
        source, name = self._place(step.path)
        target, target_name = self._place(step.target)
        moved = step.kind is Kind.DIRECTORY
        if step.opaque and self._marks.table is None:
            # It has nothing to merge with where it is, so this changes nothing yet.
            here, parts = source.child(name), _parts(step.path)
            if not self._marks.format.is_opaque(here):
                self._undo.append(
                    lambda: self._keeping_times(here, lambda here: self._marks.unset_opaque(here, parts))
                )
                self._keeping_times(here, lambda here: self._set_opaque(here, parts))
        if step.redirect is not None:
            marker = self._marks.format.redirection(step.redirect)
            assert marker is not None
            self._redirect(source.child(name), marker, step)
        if step.over_directory:
            self._empty(target, step.target)
        if self._marks.in_place:
            self._rename_device(step, source, name, target, target_name)
        else:
            self._rename_marked(step, source, name, target, target_name)
        self._marks.settle(source)
        self._marks.settle(target)
        if moved:
            self._directories.clear()

    def _keeping_times(self, directory: WritableDirectory, act: Callable[[WritableDirectory], None]) -> None:
        times = directory.status()
        act(directory)
        _set_times(directory, times)

    def _redirect(self, directory: WritableDirectory, marker: MarkerAttribute, step: Rename) -> None:
        """
        Say where the lowers' part of a directory stays; it is there already, so this changes nothing yet.
        """
        old = directory.getxattr(None, marker.attribute)
        try:
            directory.setxattr(None, marker.attribute, marker.value)
            if old is None:
                self._undo.append(lambda: directory.removexattr(None, marker.attribute))
        except OSError as error:
            # As the kernel: a redirect that doesn't fit leaves it to the caller to copy (`ovl_set_redirect`).
            if error.errno not in (errno.ENOSPC, errno.E2BIG, errno.ERANGE):
                raise
            raise oserror(errno.EXDEV, step.path, step.target) from error

    def _rename_marked(
        self,
        step: Rename,
        source: WritableDirectory,
        name: str,
        target: WritableDirectory,
        target_name: str,
    ) -> None:
        """Mark, move, unmark; the move alone is what anyone sees (L6)."""
        above, target_above = _parts(parent_of(step.path)), _parts(parent_of(step.target))
        if step.opaque and self._marks.table is not None:
            self._undo.append(lambda: self._marks.unset_opaque(source, _parts(step.target)))
            self._marks.set_opaque(source, _parts(step.target))
        if step.whiteout:
            self._mark(source, above, name)
        source.rename(name, target, target_name, Move.REPLACE)
        self._published()
        with suppress(OSError):  # tidying
            if self._marks.table is not None and step.kind is Kind.DIRECTORY:
                self._marks.append(self._marks.record(above, name).forget)
            if step.over_whiteout or step.over_directory:
                self._marks.drop(target, target_above, target_name)

    def _rename_device(
        self,
        step: Rename,
        source: WritableDirectory,
        name: str,
        target: WritableDirectory,
        target_name: str,
    ) -> None:
        """Move, with the whiteouts in the places of names."""
        if step.kind is Kind.DIRECTORY and step.over_whiteout:
            # rename(2) puts no directory over a device; the device comes to lie where the directory was.
            if not _stat.S_ISCHR(target.stat(target_name).st_mode):
                # A file with an attribute would be one only in a directory that is marked for such.
                self._publish(self._staged_whiteout(), target, target_name, Move.REPLACE)
            source.rename(name, target, target_name, Move.EXCHANGE)
            self._published()
            if not step.whiteout:
                with suppress(OSError):  # tidying: it hides nothing
                    source.unlink(name)
            return
        if not step.whiteout:
            source.rename(name, target, target_name, Move.REPLACE)
            self._published()
            return
        try:
            source.rename(name, target, target_name, Move.WHITEOUT)
            self._published()
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            # Not in one step here: both names show in between, never neither (E5).
            whiteout = self._staged_whiteout()
            source.rename(name, target, target_name, Move.REPLACE)
            self._published()
            self._publish(whiteout, source, name)

    def _empty(self, target: WritableDirectory, path: str) -> None:
        """Clear a directory that shows nothing of its markers, so that a rename can take its place."""
        name = name_of(path)
        here = target.child(name)
        if self._marks.beside:
            # With its own whiteout beside it, it merges with nothing, and what is in it means nothing.
            self._marks.put(target, _parts(parent_of(path)), name)
        elif self._marks.table is None:
            self._marks.set_opaque(here, _parts(path))
        else:
            record = self._marks.record(_parts(parent_of(path)), name)
            self._marks.append(record.put + record.forget)
        for marker in here.scan(KINDS):
            delete(here, marker)

    # --- metadata, copies --------------------------------------------------------------------------

    def _set_attributes(self, step: SetAttributes) -> None:
        if step.path == "/":
            change_attributes(self.directory("/"), None, step.change)
            return
        directory, name = self._place(step.path)
        change_attributes(directory, name, step.change)

    def _duplicate(self, step: Duplicate) -> None:
        """Copy a file, or a tree top down, to a new name, as the union shows it."""
        self._undo.append(lambda: self._unmake(step))
        self._duplicate_all(step)
        self._settled()

    def _unmake(self, step: Duplicate) -> None:
        """Take half a copy away."""
        directory, name = self._place(step.target)
        if step.over_directory:
            here = directory.child(name)
            for inner in self._marks.format.read(here, KINDS).shown:
                delete(here, inner)
            return
        if step.over_whiteout:
            self._marks.put(directory, _parts(parent_of(step.target)), name)
        delete(directory, name)

    def _check_tree(self, path: str, kind: Kind) -> None:
        """Refuse, before anything is changed, to copy what the upper has no form for (E4)."""
        pending = [(path, kind)]
        while pending:
            path, kind = pending.pop()
            check_able(kind, self._capabilities, path)
            if kind is Kind.DIRECTORY:
                listing = self._listing(path)
                pending += [(f"{path}/{name}", Kind(code & KIND_MASK)) for name, code in listing.items()]

    def _duplicate_all(self, step: Duplicate) -> None:
        pending = [(step.path, step.target, step.kind, step.over_whiteout)]
        while pending:
            source, target, kind, over_whiteout = pending.pop()
            directory, name = self._place(target)
            fills = step.over_directory and target == step.target
            if not fills:
                self._put_copy(kind, self._origins(source), directory, name)
            elif self._has(directory, name):
                self._empty(directory, target)
                over_whiteout = True
            else:
                directory.mkdir(name, 0o777)
            if kind is Kind.DIRECTORY:
                if over_whiteout or fills:
                    self._marks.set_opaque(directory.child(name), _parts(target))
                for inner, code in self._listing(source).items():
                    self._check_name(target, inner)
                    pending.append((f"{source}/{inner}", f"{target}/{inner}", Kind(code & KIND_MASK), False))
            if over_whiteout:
                self._marks.drop(directory, _parts(parent_of(target)), name)


def _set_times(directory: WritableDirectory, status: Stat) -> None:
    """
    Give a directory the times that it had: what was put into it shows no change (C2).

    The change itself is done; as in the kernel, this is best effort (`ovl_do_copy_up`).
    """
    with suppress(OSError):
        directory.utime(None, (status.st_atime_ns, status.st_mtime_ns))


def _parts(path: str) -> Parts:
    return tuple(path.split("/")[1:]) if path not in ("", "/") else ()
