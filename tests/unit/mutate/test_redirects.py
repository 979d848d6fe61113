"""Renames for the kernel's format: redirects, whiteouts that are files, systems that lack a kind of rename."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from places import Place, die, fail, in_child, need_root
from unionpath import UnionPath
from unionpath.model.writable import Move
from unionpath.stores import system_calls


@pytest.fixture(autouse=True)
def _root_only() -> None:
    """Redirects are trusted attributes."""
    need_root()


def names(path: UnionPath) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def lack(patch: pytest.MonkeyPatch, *lacking: Move) -> None:
    """Let the system have no such renames."""
    real: Callable[..., None] = system_calls.rename

    def rename(source: int, name: str, target: int, target_name: str, how: Move) -> None:
        if how in lacking:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        real(source, name, target, target_name, how)

    patch.setattr(system_calls, "rename", rename)


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
@pytest.mark.parametrize(("source", "target"), [("f", "g"), ("d", "e"), ("f", "gone"), ("d", "gone")])
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


@pytest.mark.rule("E5")
@pytest.mark.parametrize("change", ["rename", "rmtree", "mkdir"])
def test_a_crash_where_names_are_not_exchanged(
    each_place: Place, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """What only the upper has is never lost, at whichever rename the writer dies."""
    each_place.fill({"d/low": "low", "x/k": "1"})
    with each_place.stack() as stack:
        (stack / "d/mine").write_text("only in the upper")
        (stack / "x").rmtree()
    lack(monkeypatch, Move.EXCHANGE, Move.WHITEOUT)
    acts: dict[str, Callable[[UnionPath], object]] = {
        "rename": lambda root: (root / "d").rename("/e"),
        "rmtree": lambda root: (root / "d").rmtree(),
        "mkdir": lambda root: (root / "x").mkdir(),
    }
    for number in range(1, 6):

        def work(last: int = number) -> None:
            count = [0]
            real = os.rename

            def rename(*arguments: object, **more: object) -> None:
                real(*arguments, **more)  # type: ignore[arg-type]  # handed on
                count[0] += 1
                if count[0] == last:
                    die()

            monkeypatch.setattr(os, "rename", rename)
            acts[change](each_place.stack(durability="auto").root)

        before = sorted(map(str, each_place.stack(durability="auto").root.rglob("*")))
        status = in_child(work)
        with each_place.stack(durability="auto") as stack:
            after = sorted(map(str, stack.root.rglob("*")))
            if status >= 0:
                return  # it went through, or was refused as a whole
            if change == "rename" and after != before:
                assert "only in the upper" == (stack / "e/mine").read_text()
            elif change == "rename":
                assert "only in the upper" == (stack / "d/mine").read_text()
            elif change == "rmtree":
                assert after in (before, [each for each in before if not each.startswith("/d")])
                if after != before:
                    return
            else:
                assert after in (before, sorted([*before, "/x"]))
                if after != before:
                    return


@pytest.mark.rule("E6", "E7")
@pytest.mark.parametrize("case", ["onto a deleted name", "a lower file", "a lower directory"])
def test_a_directory_that_cannot_be_synced(
    each_place: Place, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """What was done by then is done: the error says so, and nothing is taken back by halves."""
    each_place.fill({"old/deleted": "D", "f": "low", "e/x": "1"})
    stack = each_place.stack(durability="strict")
    (stack / "old").rmtree()
    (stack / "mine").mkdir()
    (stack / "mine/k").write_text("k")
    source, target = {
        "onto a deleted name": ("mine", "old"),
        "a lower file": ("f", "g"),
        "a lower directory": ("e", "e2"),
    }[case]
    before = {str(path) for path in (stack / source).rglob("*")}
    with monkeypatch.context() as patch:
        fail(patch, "sync", errno.EIO, lambda at, name=None: name is None and at.place() == str(each_place.upper))
        with pytest.raises(OSError):
            (stack / source).rename(f"/{target}")
    stack.close()
    for each in (stack, each_place.stack(durability="strict")):
        assert [False, True] == sorted([(each / source).exists(), (each / target).exists()])
        shown = source if (each / source).exists() else target
        expected = {str(path).replace(f"/{source}", f"/{shown}", 1) for path in before}
        assert expected == {str(path) for path in (each / shown).rglob("*")}
