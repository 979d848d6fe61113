"""
How names are written down: for a terminal without letting them act on it, for JSON without losing a byte.

A file's name may hold any byte but the slash and NUL: control sequences that retitle, repaint or feed a
terminal, marks that turn the direction of writing, bytes that are no text at all.
"""

from __future__ import annotations

from base64 import b64encode
from unicodedata import combining, east_asian_width

_SHORT = {"\a": "\\a", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\x1b": "\\e"}


def shown(name: str) -> str:
    """
    Write a name for people: as it is if every character can be seen, else as bash's `$'…'`.

    The quoted form can be pasted into bash, zsh and ksh and means the same bytes.
    """
    if name.isprintable() and name and not name.startswith("$'"):
        return name
    return "$'" + "".join("\\" + char if char in "\\'" else _visible(char) for char in name) + "'"


def escaped(sentence: str, *, keep: str = "") -> str:
    """Write a sentence that may quote names, without letting them act; characters of `keep` stay."""
    if sentence.isprintable():
        return sentence
    return "".join(char if char in keep else _visible(char) for char in sentence)


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that isn't UTF-8, as PEP 383 carries it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def width(text: str) -> int:
    """Count the columns that visible text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def text_fields(key: str, text: str) -> dict[str, str]:
    """
    Give the JSON members for a name or path: `key`, and `key_base64` with the exact bytes if it isn't UTF-8.

    JSON has no spelling for such bytes that every parser takes, so U+FFFD stands for them in `key`.
    """
    if text.isascii():
        return {key: text}
    raw = text.encode("utf-8", "surrogateescape")
    readable = raw.decode("utf-8", "replace")
    if readable == text:
        return {key: text}
    return {key: readable, f"{key}_base64": b64encode(raw).decode("ascii")}
