"""
File objects over what a store opens.

`open`'s arguments are checked as `io.open` checks them, then come its three layers: raw, buffer, text.
"""

from __future__ import annotations

import io
import os
import warnings
from locale import getencoding
from typing import BinaryIO, Final, NamedTuple, TextIO

from unionpath.model.writable import RawMode

_WHOLE_TEXT_CODECS: Final = frozenset(
    ("utf-8", "utf8", "UTF-8", "ascii", "us-ascii", "latin-1", "iso-8859-1")
)
"""Encodings for which decoding in one go and decoding piece by piece are known to agree, errors included."""
_NEWLINES: Final = (None, "", "\n", "\r", "\r\n")


class Mode(NamedTuple):
    """An `open` mode taken apart."""

    text: str
    action: str
    """One of `r`, `w`, `a`, `x`."""
    updating: bool
    binary: bool

    @property
    def raw(self) -> RawMode:
        """The raw file's mode, where something may be changed through it."""
        words: dict[str, RawMode] = {"w": "wb", "a": "ab", "x": "xb"}
        updating: dict[str, RawMode] = {"r": "rb+", "w": "wb+", "a": "ab+", "x": "xb+"}
        return (updating if self.updating else words)[self.action]

    @property
    def reads_only(self) -> bool:
        """Tell whether nothing could be changed through the file."""
        return self.action == "r" and not self.updating


def parse_arguments(
    mode: str, buffering: int, encoding: str | None, errors: str | None, newline: str | None
) -> Mode:
    """
    Take a mode apart, and refuse what `io.open` refuses before it touches the file.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: an unknown mode, or an option of text in binary mode; the messages are those of `io.open`.
    """
    _check_types(mode, buffering, encoding=encoding, errors=errors, newline=newline)
    parsed = _parse_mode(mode)
    if parsed.binary:
        _check_binary(buffering, encoding=encoding, errors=errors, newline=newline)
    elif not parsed.reads_only:
        _check_text(buffering, encoding, errors, newline)
    return parsed


def _check_text(buffering: int, encoding: str | None, errors: str | None, newline: str | None) -> None:
    """Refuse what a text file would refuse, before anything is made or cut (C11)."""
    if buffering == 0:
        raise ValueError("can't have unbuffered text I/O")
    if encoding not in _WHOLE_TEXT_CODECS or errors is not None or newline not in _NEWLINES:
        io.TextIOWrapper(io.BytesIO(), encoding, errors, newline)


def _check_types(mode: object, buffering: object, **texts: object) -> None:
    if not isinstance(mode, str):
        raise TypeError(f"open() argument 'mode' must be str, not {type(mode).__name__}")
    if not isinstance(buffering, int):
        raise TypeError(f"{type(buffering).__name__!r} object cannot be interpreted as an integer")
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"open() argument {name!r} must be str or None, not {type(value).__name__}")


def _parse_mode(mode: str) -> Mode:
    if len(set(mode)) != len(mode) or not set(mode) <= set("rwaxbt+"):
        raise ValueError(f"invalid mode: {mode!r}")
    if "t" in mode and "b" in mode:
        raise ValueError("can't have text and binary mode at once")
    actions = [char for char in mode if char in "rwax"]
    if len(actions) > 1:
        raise ValueError("must have exactly one of create/read/write/append mode")
    if not actions:
        raise ValueError("Must have exactly one of create/read/write/append mode and at most one plus")
    return Mode(mode, actions[0], updating="+" in mode, binary="b" in mode)


def _check_binary(buffering: int, **texts: str | None) -> None:
    for name, value in texts.items():
        if value is not None:
            raise ValueError(f"binary mode doesn't take {'a' if name == 'newline' else 'an'} {name} argument")
    if buffering == 1:
        warnings.warn(
            "line buffering (buffering=1) isn't supported in binary mode, the default buffer size is used",
            RuntimeWarning,
            stacklevel=4,
        )


def wrap(
    raw: io.RawIOBase,
    name: str,
    mode: Mode,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
) -> io.RawIOBase | BinaryIO | TextIO:
    """
    Put buffering and encoding around a raw file, as `io.open` does; closes it on failure.

    The file object's `name` is the union's path; its `mode` is the one asked for (text) or the raw file's.

    Raises:
        ValueError: text without a buffer, or a newline that isn't one. LookupError: an unknown encoding.
    """
    try:
        _put_attribute(raw, "name", name)
        if buffering == 0:
            if mode.binary:
                return raw
            raise ValueError("can't have unbuffered text I/O")
        buffer = _buffer(raw, mode, buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE)
        if mode.binary:
            return buffer
        text = io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering=buffering == 1)
        _put_attribute(text, "mode", mode.text)
        return text
    except BaseException:
        raw.close()
        raise


def _buffer(
    raw: io.RawIOBase, mode: Mode, size: int
) -> io.BufferedReader | io.BufferedWriter | io.BufferedRandom:
    if mode.updating:
        return io.BufferedRandom(raw, size)
    return io.BufferedReader(raw, size) if mode.action == "r" else io.BufferedWriter(raw, size)


def _put_attribute(file: object, attribute: str, value: str) -> None:
    """Set what a file object says of itself; one that can't be told keeps its own word."""
    try:
        setattr(file, attribute, value)
    except AttributeError:
        pass


def decode(data: bytes, encoding: str | None, errors: str | None, newline: str | None) -> str:
    """
    Decode the whole of a file exactly as a text file would, its newlines included.

    A `TextIOWrapper` costs more than reading a small file does, so the common encodings go without one.
    """
    if encoding == "locale":
        encoding = getencoding()
    if encoding not in _WHOLE_TEXT_CODECS or newline not in _NEWLINES or errors == "":
        return io.TextIOWrapper(io.BytesIO(data), encoding, errors, newline).read()
    text = data.decode(encoding, "strict" if errors is None else errors)
    if newline is None and "\r" in text:
        return text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def encode(text: str, encoding: str, errors: str | None, newline: str | None) -> bytes:
    """
    Encode a whole text exactly as a text file would, its newlines included.

    Raises:
        UnicodeEncodeError, LookupError, ValueError, TypeError: as a text file opened for writing does.
    """
    if encoding == "locale":
        encoding = getencoding()
    if encoding in _WHOLE_TEXT_CODECS and newline in (None, "", "\n") and errors != "" and os.linesep == "\n":
        return text.encode(encoding, "strict" if errors is None else errors)
    data = io.BytesIO()
    file = io.TextIOWrapper(data, encoding, errors, newline)
    file.write(text)
    file.flush()
    return data.getvalue()
