"""
The work area of an upper: its lock, the staging directories of its writers, and what the dead left.

One directory, hidden from the union: `.wh..wh.unionpath` in the upper, the same beside a table, or, where the
format has no private names (`overlayfs`), a directory next to the upper or the one named by `workdir=`:

    lowers              what the upper was first written over (E3)
    stage/<id>/         what one living writer has in work; it holds a lock on it
    stage/<id>/volatile that writer syncs nothing (E7)
    copying/<n>         locks for the copy-up of large files

A writer that dies loses its locks; whoever opens the upper next finds its directory unlocked, and clears it
(E5).
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import stat as _stat
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from io import BytesIO
from typing import Final, TypeVar, cast
from zlib import crc32

from unionpath.model.entry import KINDS, Kind
from unionpath.model.errors import is_absence, oserror
from unionpath.model.layer import LayerView
from unionpath.model.store import Capability, Directory
from unionpath.model.whiteout import MarkerDevice
from unionpath.model.writable import Lock, WritableDirectory, WritableStore
from unionpath.mutate.clearing import delete
from unionpath.mutate.door import door_of

PRIVATE: Final = ".wh..wh.unionpath"
_STAGE: Final = "stage"
_LOWERS: Final = "lowers"
_VOLATILE: Final = "volatile"
_COPYING: Final = "copying"
_COPY_LOCKS: Final = 64
_DIRECTORY: Final = int(Kind.DIRECTORY)
_T = TypeVar("_T")


class _Session:
    """One writer's staging directory, while it lives; apart from the area, so that a finalizer can end it."""

    def __init__(self, stage: WritableDirectory, name: str, directory: WritableDirectory, lock: Lock) -> None:
        self.stage = stage
        self.name = name
        self.directory = directory
        self.lock = lock
        self.process = os.getpid()

    def end(self) -> None:
        """Take the directory away; a child of a fork leaves its parent's alone."""
        try:
            if self.process == os.getpid():
                with suppress(OSError):  # the next open clears what is left
                    delete(self.stage, self.name)
        finally:
            self.lock.close()


class _User:
    """Somebody who needs the session."""

    __slots__ = ("__weakref__",)


class WorkArea:
    """The work area of one upper, as one stack uses it."""

    def __init__(
        self,
        upper: LayerView,
        workdir: WritableStore | None,
        lowers: Sequence[str],
        *,
        volatile: bool,
        adopt: bool,
    ) -> None:
        self._upper = upper
        self._store = cast("WritableStore", upper.store)
        self._workdir = workdir
        self._lowers = "".join(f"{lower}\n" for lower in lowers).encode("utf-8", "surrogateescape")
        self._volatile = volatile
        self._adopt = adopt
        self._stages = Capability.RENAMES in self._store.capabilities
        self._area: WritableDirectory | None = None
        self._session: _Session | None = None
        self._ending: Callable[[], object] = _nothing
        self._door = door_of(self._store)
        # Never used twice, whatever session they are for.
        self._names = itertools.count(1)
        # Who is in the middle of something; an interrupt takes them away with their frames.
        self._users: weakref.WeakSet[_User] = weakref.WeakSet()
        self._closing = False
        _AREAS.add(self)

    # --- the lock ----------------------------------------------------------------------------------

    def run(self, act: Callable[[], _T]) -> _T:
        """
        Do something as the one writer of the upper, in this process and others; reentrant.

        Raises:
            OSError (ESTALE): the upper isn't where it was (E9). Others: the area can't be made.
        """
        return self._door.run(self._begin, act)

    def _begin(self) -> None:
        self._store.confirm()
        if self._area is None:
            self._open()
        if self._stages and (self._session is None or self._session.directory.status().st_nlink == 0):
            self._start()

    def _open(self) -> None:
        """Make the area if it isn't there."""
        home, name = self._place(make=True)
        try:
            self._area = home.child(name)
        except FileNotFoundError:
            above = home.status()
            with suppress(FileExistsError):
                # As open to others as the upper itself is; what is staged is the writer's alone.
                home.mkdir(name, _stat.S_IMODE(above.st_mode) | 0o700)
                _open_as(home, name, above.st_mode)
                if Capability.TIMES in self._store.capabilities:  # nothing that shows has changed
                    with suppress(OSError):  # it may be someone else's
                        home.utime(None, (above.st_atime_ns, above.st_mtime_ns))
            self._area = home.child(name)
        if self._area.status().st_dev != self._store.home().status().st_dev:
            raise oserror(
                errno.EXDEV, self._area.place(), hint="a workdir has to be on the file system of its upper"
            )
        self._session = None
        if not self._stages:
            self._remember_lowers()

    def _start(self) -> None:
        """Begin a session, under the lock."""
        self._end_session()
        if self._area is None or self._area.status().st_nlink == 0:
            # Someone cleared the upper under our hands: begin anew.
            self._open()
        assert self._area is not None
        # A volatile writer's end is for whoever opens the upper next to judge, or for `recover`.
        self._clear_dead(self._area, volatile=self._adopt)
        self._remember_lowers()
        stage = _entered(self._area, _STAGE)
        name = secrets.token_hex(8)
        directory = stage.mkdir(name, 0o700)
        stage.chmod(name, 0o700)  # without the set-group-ID bit of an upper's root
        if Capability.XATTRS in self._store.capabilities:
            _forget_default_access(directory)
        lock = stage.lock(name)
        lock.acquire()
        if self._volatile:
            directory.create(_VOLATILE)
        self._session = _Session(stage, name, directory, lock)
        self._ending = weakref.finalize(self, self._session.end)

    def _place(self, *, make: bool) -> tuple[WritableDirectory, str]:
        """Say in which directory the area is, and under which name."""
        if self._workdir is not None:
            # Another upper may use the same one.
            place = self._store.real_path or self._store.place
            return self._workdir.root(), f"unionpath-{sha256(os.fsencode(place)).hexdigest()[:16]}"
        if not isinstance(self._upper.format.whiteout(self._store.home().parts, "name"), MarkerDevice):
            return self._store.home(), PRIVATE
        name = f".{os.path.basename(self._store.real_path or 'upper')}.unionpath"
        try:
            beside = self._store.neighbour(name, make=make)
        except PermissionError as error:
            raise oserror(
                error.errno or errno.EPERM,
                error.filename or name,
                hint="the work area beside the upper isn't this user's; name one with Layer(…, workdir=…)",
            ) from error
        if beside is None and make:
            raise oserror(
                errno.EXDEV,
                self._store.place,
                hint="an overlayfs upper needs a directory beside it; name one with Layer(…, workdir=…)",
            )
        if beside is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return beside.root(), "unionpath"

    # --- staging -----------------------------------------------------------------------------------

    @property
    def staging(self) -> WritableDirectory:
        """The directory for work in progress; names in it are the writer's own."""
        assert self._session is not None
        return self._session.directory

    def new_name(self) -> str:
        """Give a name that no staging directory has."""
        return f"{next(self._names):x}"

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Keep the session until an operation is over that is not under the lock all the time."""
        user = _User()
        self._users.add(user)
        try:
            yield
        finally:
            self._users.discard(user)
            if self._closing:
                self.close()

    @contextmanager
    def copying(self, path: str) -> Generator[None, None, None]:
        """Be the one who copies up `path`, without keeping other writers waiting (C9)."""
        lock = self.run(lambda: self._copy_lock(path))
        lock.acquire()
        try:
            yield
        finally:
            lock.release()
            lock.close()

    def _copy_lock(self, path: str) -> Lock:
        assert self._area is not None
        locks = _entered(self._area, _COPYING)
        name = f"{crc32(os.fsencode(path)) % _COPY_LOCKS:02x}"
        with suppress(FileExistsError):
            locks.create(name)
        return locks.lock(name)

    # --- what others left --------------------------------------------------------------------------

    def check(self) -> None:
        """
        See whether the upper may be written over these lowers, and clear what dead writers left.

        Raises:
            ValueError: it was written over others (E3), or a volatile writer died (E7); not if adopted.
        """
        try:
            home, name = self._place(make=False)
            area = home.child(name)
        except OSError as error:
            if is_absence(error):
                return
            raise
        if not self._may_write_over(area):
            raise ValueError(
                f"{self._upper.name} was written over other lowers, so its whiteouts may mean something else"
                f" now:\nthen:\n{_shown(area.read(_LOWERS))}now:\n{_shown(self._lowers)}"
                "take an upper of its own, or accept it with LayerStack(…, adopt=True)"
            )
        try:
            # Somebody who is writing has seen to all this.
            self._door.try_run(lambda: self._see_to(area))
        except OSError as error:
            # Whoever may not write here clears nothing; a first change will say so.
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise

    def _see_to(self, area: WritableDirectory) -> None:
        self._check_volatile(area)
        self._clear_dead(area, volatile=self._adopt)
        if self._adopt:
            self._write_lowers(area)

    def recover(self) -> None:
        """Clear what dead writers left, accepting that a volatile one may have lost something."""
        self.run(self._recover)

    def _recover(self) -> None:
        assert self._area is not None
        self._clear_dead(self._area, volatile=True)

    def _clear_dead(self, area: WritableDirectory, *, volatile: bool) -> None:
        """Clear what the dead left; `volatile`: those too that may have lost something."""
        stage, dead = self._dead(area)
        for name in dead:
            if stage is not None and (volatile or not _is_volatile(stage, name)):
                delete(stage, name)

    def _check_volatile(self, area: WritableDirectory) -> None:
        stage, dead = self._dead(area)
        if self._adopt or stage is None:
            return
        if any(_is_volatile(stage, name) for name in dead):
            raise ValueError(
                f"{self._upper.name}: a writer with durability='volatile' ended without closing its stack, so"
                " what it wrote may be incomplete; accept that with LayerStack(…, adopt=True), or begin with"
                " an empty upper"
            )

    def _dead(self, area: WritableDirectory) -> tuple[WritableDirectory | None, list[str]]:
        """Name the sessions whose writers are gone: nobody holds a lock on them."""
        try:
            stage = area.child(_STAGE)
        except FileNotFoundError:
            return None, []
        found: list[str] = []
        for name, kind in stage.scan(KINDS).items():
            if kind != _DIRECTORY:
                continue  # not ours
            # Ended just now; or another user's, who will see to it.
            with suppress(FileNotFoundError, PermissionError):
                lock = stage.lock(name)
                try:
                    if lock.acquire(wait=False):
                        found.append(name)
                finally:
                    lock.close()
        return stage, found

    def _may_write_over(self, area: Directory) -> bool:
        """Tell whether the upper belongs to these lowers (E3)."""
        try:
            known = area.read(_LOWERS)
        except FileNotFoundError:
            return True
        return known == self._lowers or self._adopt or self._is_empty()

    def _is_empty(self) -> bool:
        table = self._upper.format.table()
        if table is not None:
            with suppress(FileNotFoundError):
                if table.home.child(table.directory).stat(table.file).st_size > len(table.header):
                    return False
        return set(self._store.home().scan(KINDS)) <= {PRIVATE}

    def _remember_lowers(self) -> None:
        assert self._area is not None
        if not self._may_write_over(self._area):
            raise oserror(
                errno.ESTALE,
                self._store.place,
                hint="a stack with other lowers has written to this upper since; make a new stack",
            )
        self._write_lowers(self._area)

    def _write_lowers(self, area: WritableDirectory) -> None:
        try:
            if area.read(_LOWERS) == self._lowers:
                return
        except FileNotFoundError:
            pass
        if not self._stages:
            area.put(_LOWERS, BytesIO(self._lowers))
            return
        # Whole or not at all, also after a power loss: an empty file would name other lowers.
        name = f"{_LOWERS}.{secrets.token_hex(4)}"
        area.create(name, self._lowers, sync=not self._volatile)
        with suppress(OSError):  # a store without modes
            area.chmod(name, area.status().st_mode & 0o666)  # whatever the umask
        area.rename(name, area, _LOWERS)

    # --- the end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """End the session; the next change begins a new one."""
        with self._door.mutex:
            self._closing = bool(self._users) or self._door.depth() > 1
            if self._closing:
                return  # the last of those who are in the middle of something does it
            self._end_session()
            self._area = None
        self._door.rest()

    def _end_session(self) -> None:
        ending, self._ending = self._ending, _nothing
        ending()
        self._session = None

    def leave(self) -> None:
        """Be in the child of a fork: what was open is the parent's, and what was locked nobody's here."""
        self._users = weakref.WeakSet()
        self._end_session()
        self._area = None


def _forget_default_access(directory: WritableDirectory) -> None:
    """Have what is staged get no access list of the upper's root: a copy has its original's alone (C2)."""
    try:
        directory.removexattr(None, "system.posix_acl_default")
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL):
            raise


def _is_volatile(stage: WritableDirectory, session: str) -> bool:
    try:
        return _VOLATILE in stage.child(session).scan(KINDS)
    except FileNotFoundError:
        return False


def _shown(lowers: bytes) -> str:
    return "".join(f"    {line}\n" for line in lowers.decode("utf-8", "replace").splitlines())


def _entered(directory: WritableDirectory, name: str) -> WritableDirectory:
    """Enter a directory, made if it isn't there."""
    mode = directory.status().st_mode
    with suppress(FileExistsError):
        directory.mkdir(name, _stat.S_IMODE(mode) | 0o700)
        _open_as(directory, name, mode)
    return directory.child(name)


def _open_as(directory: WritableDirectory, name: str, mode: int) -> None:
    """Let those work in a directory who may write to the upper, whatever the umask."""
    with suppress(OSError):  # a store without modes
        directory.chmod(name, _stat.S_IMODE(mode) & ~(_stat.S_ISUID | _stat.S_ISGID) | 0o700)


def _nothing() -> None:
    """Stand in for the end of a session that never began."""


_AREAS: weakref.WeakSet[WorkArea] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for area in tuple(_AREAS):
        area.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
