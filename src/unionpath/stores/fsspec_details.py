"""
What fsspec's file systems say of an object: a dict whose keys differ from one file system to the next.

Only `name`, `size` and `type` are common to all; what else is known is found here under its many names.
"""

from __future__ import annotations

import stat as _stat
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeAlias, cast

from unionpath.model.entry import Kind, Stat, kind_of, make_stat

Details: TypeAlias = Mapping[str, object]
"""One entry of `fs.ls(…, detail=True)`, or what `fs.info(…)` gives."""

PERMISSIONS: Final = {Kind.DIRECTORY: 0o755, Kind.SYMLINK: 0o777}
"""Permission bits where none are known; 0o644 for all other kinds."""
TEMPORARY: Final = ".wh..wh.unionpath-tmp-"
"""
How the names of files begin that are being written beside their places; never shown.

The formats that keep their marks in names hide what begins so as well, whoever reads it after a crash.
"""
_TIMES: Final = (
    "mtime",  # local, sftp, smb, tar, libarchive, arrow, hdfs
    "LastModified",  # s3
    "last_modified",  # azure, hugging face
    "updated",  # google
    "modified",  # webdav
    "modificationTime",  # webhdfs, in milliseconds
    "modify",  # ftp, 20240131235959
    "date_time",  # zip
    "created",  # memory
)


def kind_from(details: Details) -> Kind:
    """Tell the kind; what is neither file, directory nor link is shown as something that can't be opened."""
    mode = _mode(details)
    if details.get("islink") is True or details.get("type") == "link" or _stat.S_ISLNK(mode):
        return Kind.SYMLINK
    if details.get("type") == "directory":
        return Kind.DIRECTORY
    if details.get("type") != "other":
        return Kind.FILE
    try:
        return kind_of(mode)
    except ValueError:
        return Kind.SOCKET


def stat_from(details: Details, kind: Kind, *, ino: int, dev: int) -> Stat:
    """Make a `Stat`; sizes that nobody knows are 0, as in /proc: reading goes on to the end all the same."""
    mtime_ns = _mtime_ns(details)
    mode = _mode(details) if kind is not Kind.SYMLINK else 0
    return make_stat(
        kind,
        permissions=_stat.S_IMODE(mode) or PERMISSIONS.get(kind, 0o644),
        size=_size(details, kind),
        ino=_integer(details, "ino") or ino,
        dev=dev,
        nlink=_integer(details, "nlink") or 1,
        uid=_integer(details, "uid"),
        gid=_integer(details, "gid"),
        atime_ns=mtime_ns,
        mtime_ns=mtime_ns,
        ctime_ns=mtime_ns,
    )


def link_target(details: Details) -> str | None:
    """Give the target of a link where the details hold it."""
    for key in ("destination", "linkname"):
        target = details.get(key)
        if isinstance(target, bytes):
            return target.decode("utf-8", "surrogateescape")
        if isinstance(target, str) and target:
            return target
    return None


def _integer(details: Details, key: str) -> int:
    value = details.get(key)
    return value if isinstance(value, int) else 0


def _size(details: Details, kind: Kind) -> int:
    if kind is Kind.SYMLINK and (target := link_target(details)) is not None:
        return len(target.encode("utf-8", "surrogateescape"))
    return _integer(details, "size") if kind is not Kind.DIRECTORY else 0


def _mode(details: Details) -> int:
    """Give `st_mode` as far as it is known, else 0."""
    mode = details.get("mode")
    if isinstance(mode, str):  # git, github
        return int(mode, 8) if mode.isdigit() else 0
    if isinstance(mode, int):
        return mode
    # Zip, section 4.4.15: "the mapping of the external attributes is host-system dependent"; made on Unix
    # (system 3), the upper half is st_mode.
    return _integer(details, "external_attr") >> 16 if details.get("create_system") == 3 else 0


def _mtime_ns(details: Details) -> int:
    for key in _TIMES:
        value = details.get(key)
        if value is not None:
            return _nanoseconds(value, milliseconds=key == "modificationTime")
    return 0


def _nanoseconds(value: object, *, milliseconds: bool) -> int:
    """Turn a time in any form that file systems give into integer nanoseconds; 0 if it can't be read."""
    if isinstance(value, int | float):
        return int(value * (1_000_000 if milliseconds else 1_000_000_000))
    try:
        return _since_epoch(_moment(value))
    except (ValueError, TypeError, OverflowError):
        return 0


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, tuple):
        year, month, day, hour, minute, second = cast("tuple[int, int, int, int, int, int]", value)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    if isinstance(value, str) and value.isdigit():
        return datetime.strptime(value, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return datetime.fromisoformat(str(value))


def _since_epoch(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    past = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (past.days * 86_400 + past.seconds) * 1_000_000_000 + past.microseconds * 1000
