"""Names and objects of a lower that would be marks in the upper: shown, but never copied up as marks."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from places import Place, need_root, skip_for
from unionpath import Layer, UnionPath
from writers import no_device

CHANGES: dict[str, Callable[[UnionPath], object]] = {
    "chmod": lambda root: (root / ".wh.x").chmod(0o600),
    "write_text": lambda root: (root / ".wh.x").write_text("new"),
    "append": lambda root: _append(root / ".wh.x"),
    "open": lambda root: (root / ".wh.x").open("w").close(),
    "copy_up": lambda root: (root / ".wh.x").copy_up(),
    "hardlink_to": lambda root: (root / "n").hardlink_to(root / ".wh.x"),
    "rename": lambda root: (root / ".wh.x").rename(root / "n"),
    "unlink": lambda root: (root / ".wh.x").unlink(),
    "new inside": lambda root: (root / ".wh.d/new").write_text("n"),
    "chmod inside": lambda root: (root / ".wh.d/f").chmod(0o600),
    "unlink inside": lambda root: (root / ".wh.d/f").unlink(),
    "rename of what holds one": lambda root: (root / "q").rename(root / "q2"),
}


def _append(path: UnionPath) -> None:
    with path.open("ab", 0) as file:
        file.write(b"1")


def shown(root: UnionPath) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


@pytest.mark.rule("M4")
@pytest.mark.parametrize("whiteouts", ["oci", "unionfs"])
@pytest.mark.parametrize("change", CHANGES)
def test_names_that_mean_something_in_the_upper(place: Place, whiteouts: str, change: str) -> None:
    """A change of `.wh.x`, of which a table lower thinks nothing, hides no `x`: it is refused, or works."""
    place.whiteouts = "unionfs" if whiteouts == "unionfs" else "oci"
    files = {".wh.x": "data", "x": "xdata", ".wh.d/f": "f", "d/g": "g", "q/.wh.a": "a", "q/a": "aa"}
    place.fill(files)
    root = place.stack(Layer(place.lower, whiteouts="table")).root
    before = shown(root)
    with pytest.raises(OSError):
        CHANGES[change](root)
    assert before == shown(root)
    assert not [
        name
        for _, directories, names in os.walk(place.upper)
        for name in (*directories, *names)
        if name in (".wh.x", ".wh.a", ".wh.d")
    ]


@pytest.mark.rule("C7")
@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "dev").chmod(0o600),
        lambda root: (root / "dev").copy_up(),
        lambda root: (root / "dev").rename(root / "dev2"),
        lambda root: (root / "d").rename(root / "d2"),
        lambda root: (root / "link").hardlink_to(root / "dev"),
    ],
    ids=["chmod", "copy_up", "rename", "rename of what holds one", "hardlink_to"],
)
def test_a_device_that_would_be_a_whiteout(overlays: Place, change: Callable[[UnionPath], object]) -> None:
    """A character device 0:0 of an `oci` lower is no whiteout there, and isn't made one."""
    need_root()
    overlays.fill({"d/y": "y"})
    overlays.fill({"dev": "below"}, overlays.directory / "below")
    for name in ("dev", "d/dev"):
        os.mknod(overlays.lower / name, 0o020644, 0)
    root = overlays.stack(Layer(overlays.lower), Layer(overlays.directory / "below")).root
    names = sorted(map(str, root.rglob("*")))
    with pytest.raises(OSError):
        change(root)
    assert names == sorted(map(str, root.rglob("*")))
    assert "/d/dev" in names


@pytest.mark.rule("C10")
@pytest.mark.parametrize("space", ["trusted", "user"])
def test_marks_of_the_kernel_in_another_format(overlays: Place, space: str) -> None:
    """A lower's attributes that mean nothing in its own format don't begin to mean something in the upper."""
    if space == "trusted":
        need_root()
    skip_for(no_device(0, 0))
    overlays.userxattr = space == "user"
    overlays.fill({"d/y": "y", "f": "F"})
    overlays.fill({"d/x": "x"}, overlays.directory / "below")
    try:
        os.setxattr(overlays.lower / "d", f"{space}.overlay.opaque", b"y")
        os.setxattr(overlays.lower / "f", f"{space}.overlay.metacopy", b"")
    except OSError as error:
        pytest.skip(f"no {space} xattr can be set here: {error.strerror}")
    root = overlays.stack(Layer(overlays.lower), Layer(overlays.directory / "below")).root
    before = shown(root)
    (root / "d").chmod(0o700)
    (root / "f").chmod(0o600)
    assert before == shown(root)
    assert {"/d/x", "/d/y"} <= before.keys()
    assert not [at for name in "df" for at in os.listxattr(overlays.upper / name) if ".overlay." in at]
