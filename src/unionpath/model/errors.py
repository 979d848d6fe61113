"""Errors: `OSError` with errno and the union's path, and the few types errno has no word for."""

from __future__ import annotations

import errno as _errno
import sys
from os import strerror

if sys.version_info >= (3, 13):
    from pathlib import UnsupportedOperation as UnsupportedOperation
else:

    class UnsupportedOperation(NotImplementedError):
        """
        An operation that this kind of path or layer does not have.

        The same type as `pathlib.UnsupportedOperation` where the interpreter has one (3.13 on).
        """


def oserror(number: int, path: str, path2: str | None = None, *, hint: str | None = None) -> OSError:
    """
    Make the `OSError` of an errno, with the union's path (both paths for a rename) as its file name (E2).

    The subclass is the one Python picks for the errno, so `except FileNotFoundError` and `e.errno`
    both work. `hint` says what to do next and follows the system's own message.
    """
    message = strerror(number) if hint is None else f"{strerror(number)}: {hint}"
    if path2 is None:
        return OSError(number, message, path)
    return OSError(number, message, path, None, path2)


class MalformedLayerError(OSError):
    """
    A marker in a layer is not what the layer's whiteout format allows (M6, M7). errno is EIO or EPERM.

    Raised by formats with the marker's place in the layer; `filename` is that place.
    """

    def __init__(self, place: str, problem: str, *, number: int = _errno.EIO) -> None:
        super().__init__(number, f"malformed layer: {problem}", place)


def is_absence(error: OSError) -> bool:
    """Tell whether a layer's error means "not here" (ENOENT, ENOTDIR); every other one is a fault (L8)."""
    return error.errno in (_errno.ENOENT, _errno.ENOTDIR)


def is_missing_name(error: OSError) -> bool:
    """Tell whether an error about one name means that it isn't there: absent, or too long to be (L10)."""
    return is_absence(error) or error.errno == _errno.ENAMETOOLONG
