"""A path inside a layer as checked components; the root is `()`."""

from __future__ import annotations

from typing import TypeAlias

Parts: TypeAlias = tuple[str, ...]
"""
Checked components, from the root down: none is empty, `.`, `..`, or holds a slash or a NUL.
Text becomes `Parts` once, at the border; inside there is no string surgery.
"""


def parse_parts(text: str) -> Parts:
    """
    Turn a slash-separated path that has no `..` into `Parts`; repeated slashes and `.` vanish.

    Raises:
        TypeError: `text` is not a str.
        ValueError: it holds a NUL, a `..`, or a lone surrogate that no file name can hold (L10).
    """
    if not isinstance(text, str):
        raise TypeError(f"a path in a layer is a str, not {type(text).__name__}")
    check_text(text)
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    if ".." in parts:
        raise ValueError(f"a path in a layer may not hold '..': {text!r}")
    return parts


def check_text(text: str) -> None:
    """
    Refuse text that no layer can hold as a path (L10).

    Undecodable bytes of file names arrive as the surrogates U+DC80 to U+DCFF (PEP 383) and are fine;
    any other lone surrogate has no bytes at all.

    Raises:
        ValueError: a NUL, with the message that `os` gives; UnicodeEncodeError for a lone surrogate.
    """
    if "\0" in text:
        raise ValueError("embedded null byte")
    if not text.isascii():
        text.encode("utf-8", "surrogateescape")


def encoded_length(name: str) -> int:
    """Length of one name in the bytes a POSIX file system stores."""
    return len(name) if name.isascii() else len(name.encode("utf-8", "surrogateescape"))


def show_parts(parts: Parts) -> str:
    """Write `Parts` as an absolute path for people and for error messages."""
    return "/" + "/".join(parts)
