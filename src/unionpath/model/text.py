"""
The text of a union path, kept in order: as `str(PurePosixPath(text))` writes it, a leading `//` being `/`.

Text in order has no empty component and no `.`, keeps `..`, and is `.` if it has no component at all.
"""

from __future__ import annotations

from typing import Final

ROOT: Final = "/"
HERE: Final = "."


def in_order(text: str) -> str:
    """Put any text in order."""
    kept = "/".join([part for part in text.split("/") if part and part != "."])
    return "/" + kept if text.startswith("/") else kept or HERE


def split(text: str) -> list[str]:
    """Give the parts of text in order, `/` first if it is absolute."""
    if text[0] != "/":
        return [] if text == HERE else text.split("/")
    return [ROOT] if text == ROOT else [ROOT, *text[1:].split("/")]


def unsplit(parts: list[str]) -> str:
    """Write parts down; the opposite of `split`."""
    if parts and parts[0] == ROOT:
        return "/" + "/".join(parts[1:])
    return "/".join(parts) or HERE


def parent_of(text: str) -> str:
    """Leave the last component away; the root and `.` stay what they are."""
    above, slash, _ = text.rpartition("/")
    return above or (ROOT if slash else HERE)


def name_of(text: str) -> str:
    """Give the last component; empty for the root and for `.`."""
    return "" if text == HERE else text[text.rfind("/") + 1 :]


def before_children(text: str) -> str:
    """Give what stands before a name in the text of a child."""
    return "/" if text == ROOT else "" if text == HERE else text + "/"


def is_within(text: str, base: str) -> bool:
    """Tell whether `base` is the path itself or a parent of it."""
    above = split(base)
    return (text[0] == "/") == (base[0] == "/") and split(text)[: len(above)] == above


def relative(text: str, base: str, *, walk_up: bool) -> str:
    """
    Give the way from `base` to a path; with `walk_up` it may begin with `..`.

    Raises:
        ValueError: there is none, with pathlib's words.
    """
    own, above = split(text), split(base)
    shared = 0
    while shared < min(len(own), len(above)) and own[shared] == above[shared]:
        shared += 1
    if shared < len(above):
        if not walk_up:
            raise ValueError(f"{text!r} is not in the subpath of {base!r}")
        if ".." in above[shared:]:
            raise ValueError(f"'..' segment in {base!r} cannot be walked")
    if (text[0] == "/") != (base[0] == "/"):
        raise ValueError(f"{text!r} and {base!r} have different anchors")
    return unsplit([".."] * (len(above) - shared) + own[shared:])
