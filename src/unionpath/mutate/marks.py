"""Whiteouts and opaque directories, put down and taken away as the upper's format says."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import assert_never, cast

from unionpath.model.entry import Kind
from unionpath.model.errors import is_missing_name
from unionpath.model.layer import LayerView
from unionpath.model.parts import Parts
from unionpath.model.whiteout import (
    Mark,
    MarkerAttribute,
    MarkerDevice,
    MarkerFile,
    MarkerRecord,
    Present,
    SideTable,
)
from unionpath.model.writable import WritableDirectory, WritableStore
from unionpath.mutate.clearing import delete
from unionpath.mutate.work import WorkArea

_MARKER_PERMISSIONS = 0o644
_SHARED = "whiteout"
"""The name in the staging directory of the device that whiteouts are links to."""


class Marks:
    """Writes the marks of one upper."""

    def __init__(self, upper: LayerView, work: WorkArea, *, sync: bool, durable: bool) -> None:
        self.format = upper.format
        self._work = work
        self._sync = sync
        self._durable = durable
        self._unsettled: list[WritableDirectory] = []
        home = cast("WritableStore", upper.store).home()
        kind = upper.format.whiteout(home.parts, "name")
        self.in_place = isinstance(kind, MarkerDevice)
        """A whiteout has the very name that it hides."""
        self.beside = isinstance(kind, MarkerFile)
        """A whiteout is an object of another name in the same directory."""
        table = upper.format.table()
        self.table = None if table is None else Table(table, work)

    def is_marked(self, directory: WritableDirectory, name: str) -> bool:
        """Tell whether the upper has a whiteout, of use or not, of a name that it doesn't show."""
        probe = self.format.probe(directory, name)
        if probe is Mark.ABSENT and self.in_place:
            # In an opaque directory a whiteout means nothing, but it has the name all the same (M5).
            return _is_taken(directory, name)
        return probe is Mark.WHITEOUT

    def has_mark(self, directory: WritableDirectory, name: str) -> bool:
        """Tell whether the upper has a whiteout of a name, also beside what it shows there."""
        if self.beside:
            return _is_taken(directory, self.name_of_whiteout(directory.parts, name))
        probe = self.format.probe(directory, name)
        return probe is Mark.WHITEOUT or (isinstance(probe, Present) and probe.alone)

    def name_of_whiteout(self, parts: Parts, name: str) -> str:
        """The name of the object that stands for a whiteout of `name`."""
        marker = self.format.whiteout(parts, name)
        return marker.name if isinstance(marker, MarkerFile) else name

    def record(self, parts: Parts, name: str) -> MarkerRecord:
        """What is written to the table about a name."""
        marker = self.format.whiteout(parts, name)
        assert isinstance(marker, MarkerRecord)
        return marker

    def put(
        self, directory: WritableDirectory, parts: Parts, name: str, *, before_removal: bool = False
    ) -> None:
        """
        Put a whiteout of `name`; one may be there, and so may the object, where it isn't in the way.

        `before_removal`: the object goes next, so its whiteout must not be lost if the removal isn't (E7). In
        one directory the file system sees to that.
        """
        marker = self.format.whiteout(parts, name)
        match marker:
            case MarkerFile():
                with suppress(FileExistsError):
                    directory.create(marker.name, b"", _MARKER_PERMISSIONS)
            case MarkerDevice():
                self.make_device(directory, name)
            case MarkerRecord():
                self.append(marker.put, sync=before_removal and self._durable)
            case _:
                assert_never(marker)
        self.settle(directory)

    def make_device(self, directory: WritableDirectory, name: str) -> None:
        """
        Make a whiteout device: a further name of the one that this session made first, as the kernel does.

        One inode serves them all, and a link costs a third of a new one (`ovl_whiteout`).
        """
        try:
            directory.link(name, self._work.staging, _SHARED)
            return
        except OSError as error:
            # Not made yet; has as many names as it can have; or of a store without links.
            if error.errno not in (errno.ENOENT, errno.EMLINK, errno.EOPNOTSUPP, errno.EPERM):
                raise
        directory.mknod(name, Kind.CHAR_DEVICE, 0)
        with suppress(OSError):
            self._work.staging.unlink(_SHARED)
        with suppress(OSError):  # the next one will be made, too
            self._work.staging.link(_SHARED, directory, name)

    def drop(self, directory: WritableDirectory, parts: Parts, name: str) -> None:
        """Take the whiteout of `name` away, if there is one."""
        marker = self.format.whiteout(parts, name)
        match marker:
            case MarkerFile():
                with suppress(FileNotFoundError):
                    _take_away(directory, marker.name)
            case MarkerDevice():
                directory.unlink(name)
            case MarkerRecord():
                self.append(marker.drop)
            case _:
                assert_never(marker)
        self.settle(directory)

    def set_opaque(self, directory: WritableDirectory, parts: Parts) -> None:
        """Make a directory that is, or will be, at `parts` hide all below it."""
        marker = self.format.opaque(parts)
        match marker:
            case MarkerFile():
                with suppress(FileExistsError):
                    directory.create(marker.name, b"", _MARKER_PERMISSIONS)
            case MarkerAttribute():
                directory.setxattr(None, marker.attribute, marker.value)
            case MarkerRecord():
                self.append(marker.put)
            case _:
                assert_never(marker)

    def unset_opaque(self, directory: WritableDirectory, parts: Parts) -> None:
        """Undo `set_opaque`."""
        marker = self.format.opaque(parts)
        match marker:
            case MarkerFile():
                directory.unlink(marker.name)
            case MarkerAttribute():
                directory.removexattr(None, marker.attribute)
            case MarkerRecord():
                self.append(marker.drop)
            case _:
                assert_never(marker)

    def append(self, record: bytes, *, sync: bool = False) -> None:
        """Write to the side table; `sync`: to the disk."""
        assert self.table is not None
        self.table.append(record, sync=sync or self._sync)

    def sync(self, directory: WritableDirectory) -> None:
        """Bring a directory's names to the disk now, where that was asked for (E7)."""
        if self._sync:
            directory.sync(None)

    def settle(self, directory: WritableDirectory) -> None:
        """Have a directory's names brought to the disk at the end, where that was asked for (E7)."""
        if self._sync:
            self._unsettled.append(directory)

    def settle_all(self) -> None:
        """Bring them to the disk now; the change is there, and only its lasting is in question."""
        unsettled, self._unsettled = self._unsettled, []
        for directory in unsettled:
            directory.sync(None)


class Table:
    """The side table of a layer, a log that is only ever added to, or replaced as a whole."""

    def __init__(self, table: SideTable, work: WorkArea) -> None:
        self._table = table
        self._work = work
        self._appended = 0

    def append(self, record: bytes, *, sync: bool) -> None:
        """Add lines in one write; if that fails half way, take back what was written."""
        directory = self._entered()
        if not self._is_sound(directory):
            # Another writer died in the middle of a line.
            self.mend()
        try:
            file = directory.open_writable(self._table.file, "ab")
        except FileNotFoundError:
            directory.create(self._table.file, self._table.header + record, sync=sync)
            self._open_to_all(directory)
            return
        size = file.seek(0, 2)
        try:
            with file:
                written = file.write(record)
                if written != len(record):
                    raise OSError(errno.ENOSPC, "the table of whiteouts was cut short")
        except BaseException:
            with directory.open_writable(self._table.file, "rb+") as again:
                again.truncate(size)
            raise
        if sync:
            directory.sync(self._table.file)
        self._appended += 1
        if self._appended in (1, 256) or self._appended % 512 == 0:
            self.compact()

    def _is_sound(self, directory: WritableDirectory) -> bool:
        """Tell whether the file ends with a whole line, or isn't there."""
        try:
            with directory.open(self._table.file) as file:
                size = file.seek(0, 2)
                file.seek(max(size - 1, 0))
                return size >= len(self._table.header) and file.read(1) == b"\n"
        except FileNotFoundError:
            return True

    def _open_to_all(self, directory: WritableDirectory) -> None:
        """Let those write to the table who may write to the upper."""
        permissions = directory.status().st_mode & 0o666
        with suppress(OSError):  # a store without modes
            directory.chmod(self._table.file, permissions)

    def compact(self) -> None:
        """Write the table anew if most of it is history."""
        data = self._table.compacted()
        if data is not None:
            self._replace(data)

    def pending(self) -> list[Parts]:
        """The places of removals that were begun and not finished."""
        return self._table.pending()

    def mend(self) -> None:
        """Cut off what a crash left of a last line."""
        try:
            directory = cast("WritableDirectory", self._table.home).child(self._table.directory)
            data = directory.read(self._table.file)
        except OSError as error:
            if is_missing_name(error):
                return
            raise
        sound = self._table.sound_length(data)
        if self._table.header.startswith(data):  # not even the header is whole: there was nothing in it
            directory.unlink(self._table.file)
        elif sound != len(data):
            with directory.open_writable(self._table.file, "rb+") as file:
                file.truncate(sound)

    def _replace(self, data: bytes) -> None:
        directory = self._entered()
        name = self._work.new_name()
        self._work.staging.create(name, data, sync=True)
        self._work.staging.rename(name, directory, self._table.file)

    def _entered(self) -> WritableDirectory:
        home = cast("WritableDirectory", self._table.home)
        try:
            return home.child(self._table.directory)
        except FileNotFoundError:
            with suppress(FileExistsError):
                home.mkdir(self._table.directory)
            return home.child(self._table.directory)


def _is_taken(directory: WritableDirectory, name: str) -> bool:
    try:
        directory.stat(name)
    except OSError as error:
        if not is_missing_name(error):
            raise
        return False
    return True


def _take_away(directory: WritableDirectory, marker: str) -> None:
    """Remove a marker, of whatever kind it is: only its name counts."""
    try:
        directory.unlink(marker)
    except IsADirectoryError:
        delete(directory, marker)
