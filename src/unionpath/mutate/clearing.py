"""Objects of an upper deleted with all below them; what is taken away for good, out of everybody's sight."""

from __future__ import annotations

import errno
from contextlib import suppress

from unionpath.model.entry import KINDS, Kind
from unionpath.model.writable import WritableDirectory


def delete(directory: WritableDirectory, name: str) -> None:
    """Delete an object with all below it; nothing there is fine. Follows no link."""
    try:
        directory.unlink(name)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
    pending: list[tuple[WritableDirectory, str, WritableDirectory | None]] = [(directory, name, None)]
    while pending:
        above, name, here = pending.pop()
        if here is not None:
            with suppress(FileNotFoundError):
                above.rmdir(name)
            continue
        here = _entered_to_clear(above, name)
        if here is None:
            continue
        pending.append((above, name, here))
        for inner, kind in here.scan(KINDS).items():
            if kind == Kind.DIRECTORY:
                pending.append((here, inner, None))
            else:
                with suppress(FileNotFoundError):
                    here.unlink(inner)


def _entered_to_clear(above: WritableDirectory, name: str) -> WritableDirectory | None:
    try:
        here = above.child(name)
        if here.status().st_mode & 0o700 != 0o700:
            above.chmod(name, 0o700)
            here = above.child(name)
    except FileNotFoundError:
        return None
    return here
