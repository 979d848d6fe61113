"""Renames for the kernel's format: redirects, whiteouts that are files, systems that lack some renames."""

from __future__ import annotations

import errno
import os

import pytest

from places import Place, fail, lack, need_root
from unionpath import UnionPath
from unionpath.model.writable import Move


@pytest.fixture(autouse=True)
def _root_only() -> None:
    """Redirects are trusted attributes."""
    need_root()


def names(path: UnionPath) -> list[str]:
    return sorted(each.name for each in path.iterdir())


@pytest.mark.rule("R4", "M7")
def test_a_redirect_from_the_root_stays_one(overlays: Place) -> None:
    """A directory is found by what it was called, though its parents were made anew under the same names."""
    overlays.fill({"p/a/f": "data", "p/z": "z"})
    root = overlays.stack(rename_dir="redirect").root
    (root / "p/a").rename("/t")
    (root / "p").rmtree()
    (root / "p").mkdir()
    (root / "t").rename("/p/b")
    assert ["f"] == names(root / "p/b")
    (root / "p/b").rename("/p/c")
    for each in (root, overlays.stack(rename_dir="redirect").root):
        assert ["f"] == names(each / "p/c")
        assert "data" == (each / "p/c/f").read_text()


@pytest.mark.rule("R4", "L10")
def test_a_path_too_long_for_a_redirect(overlays: Place) -> None:
    """EXDEV, as from the kernel, and nothing changed."""
    letters = "n" * 250
    at = os.open(overlays.lower, os.O_RDONLY)
    for name in (*[letters] * 18, "d"):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.mknod("f", dir_fd=at)
    os.close(at)
    path = root = overlays.stack(rename_dir="redirect").root
    for _ in range(18):
        path /= letters
    with pytest.raises(OSError) as caught:
        (path / "d").rename("/top")
    assert errno.EXDEV == caught.value.errno
    assert ["f"] == names(path / "d")
    assert [letters] == names(root)


@pytest.mark.rule("R1", "R4", "M9")
@pytest.mark.parametrize("source", ["q/s", "q/f"])
def test_over_a_whiteout_that_is_a_file(overlays: Place, source: str) -> None:
    """It is gone then, and shows as an empty file nowhere."""
    overlays.fill({"p/w": "low", "q/s/k": "1", "q/f": "1"})
    overlays.fill({"p/w": b""}, overlays.upper)
    os.setxattr(overlays.upper / "p", "trusted.overlay.opaque", b"x")
    os.setxattr(overlays.upper / "p/w", "trusted.overlay.whiteout", b"")
    root = overlays.stack().root
    assert not (root / "p/w").exists()
    (root / source).rename("/p/w")
    for each in (root, overlays.stack().root):
        assert not (each / source).exists()
        assert ["w"] == names(each / "p")
        assert (["k"] == names(each / "p/w")) if source == "q/s" else ("1" == (each / "p/w").read_text())


@pytest.mark.rule("R1", "R4", "E6")
@pytest.mark.parametrize(("source", "target"), [("f", "g"), ("d", "e"), ("f", "gone")])
def test_where_no_rename_leaves_a_whiteout(
    overlays: Place, monkeypatch: pytest.MonkeyPatch, source: str, target: str
) -> None:
    """Renames work without, and one that can't leave its whiteout leaves the old name."""
    overlays.fill({"f": "low", "d/k": "1", "gone": "1"})
    root = overlays.stack().root
    (root / "gone").unlink()
    (root / "x").touch()
    lack(monkeypatch, Move.WHITEOUT)
    with monkeypatch.context() as patch:
        fail(patch, "mknod", errno.ENOSPC)
        fail(patch, "link", errno.ENOSPC)
        with pytest.raises(OSError):
            (root / source).rename(f"/{target}")
    for each in (root, overlays.stack().root):
        assert ["d", "f", "x"] == names(each)
    (root / source).rename(f"/{target}")
    assert sorted({"d", "f", "x", target} - {source}) == names(overlays.stack().root)
