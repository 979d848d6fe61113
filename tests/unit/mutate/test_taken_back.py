"""Operations that fail, or whose writer dies half way: the state before or after, handles and marks too."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from places import Place, die, fail, in_child, lack
from unionpath import UnionPath
from unionpath.model.writable import Move


def names(path: UnionPath) -> list[str]:
    return sorted(each.name for each in path.iterdir())


class TestHandlesAfterAFailure:
    """A file of a lower is open for writing, and not copied up yet."""

    @pytest.mark.rule("C9", "E6")
    def test_of_a_rename(self, each_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is written goes to the file that was opened, and not to the one at the target."""
        each_place.fill({"a": "aaaa", "b": "bbbb"})
        stack = each_place.stack()
        (stack / "b").write_text("precious")
        with (stack / "a").open("r+b", 0) as handle:
            with monkeypatch.context() as patch:
                fail(patch, "rename", errno.ENOSPC)
                fail(patch, "link", errno.ENOSPC)
                with pytest.raises(OSError):
                    (stack / "a").rename("/b")
            handle.write(b"XX")
        assert ("XXaa", "precious") == ((stack / "a").read_text(), (stack / "b").read_text())

    @pytest.mark.rule("C9", "E6")
    @pytest.mark.parametrize("path", ["a", "d"])
    def test_of_a_removal(self, each_place: Place, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
        """What is written isn't lost."""
        each_place.fill({"a": "aaaa", "d/x": "aaaa"})
        stack = each_place.stack()
        file = stack / ("a" if path == "a" else "d/x")
        with file.open("r+b", 0) as handle:
            with monkeypatch.context() as patch:
                for method in ("create", "mknod", "link", "rename", "mkdir", "open_writable", "open_new"):
                    fail(patch, method, errno.ENOSPC)
                with pytest.raises(OSError):
                    (stack / "a").unlink() if path == "a" else (stack / "d").rmtree()
            handle.write(b"XX")
        assert "XXaa" == file.read_text()


@pytest.mark.rule("E6", "C4")
def test_an_open_that_fails_empties_nothing(each_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """`w` on a lower's file, with no descriptor left to hand out."""
    each_place.fill({"a": "precious"})
    stack = each_place.stack()
    (stack / "s").touch()
    with monkeypatch.context() as patch:
        fail(patch, "open_writable", errno.EMFILE)
        try:
            (stack / "a").open("w").close()
        except OSError:
            assert "precious" == (stack / "a").read_text()
        else:
            assert "" == (stack / "a").read_text()


@pytest.mark.rule("E6", "L6")
@pytest.mark.parametrize("path", ["x", "f"])
@pytest.mark.parametrize("whiteouts", ["oci", "unionfs"])
def test_a_whiteout_that_was_there_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch, path: str, whiteouts: str
) -> None:
    """A directory beside its own whiteout, as a crash leaves it, and a rename that fails."""
    place.whiteouts = "unionfs" if whiteouts == "unionfs" else "oci"
    place.fill({"x/old": "deleted", "f": "deleted"})
    place.fill({"x/mine": "", ".wh.x": "", "f": "mine", ".wh.f": ""}, place.upper)
    stack = place.stack()
    (stack / "t").touch()
    with monkeypatch.context() as patch:
        fail(patch, "rename", errno.EIO, lambda _at, _name, _to, name, *_: name == "y")
        with pytest.raises(OSError):
            (stack / path).rename("/y")
        fail(patch, "unlink", errno.EIO, lambda _at, name: name == "f")
        fail(patch, "rename", errno.EIO, lambda _at, name, *_: name == path)
        with pytest.raises(OSError):
            (stack / path).unlink() if path == "f" else (stack / path).rmtree()
    for each in (stack, place.stack()):
        assert ["mine"] == names(each / "x")
        assert "mine" == (each / "f").read_text()
    (stack / path).rename("/y")
    (stack / "y").rename(f"/{path}")
    assert ["mine"] == names(place.stack() / "x")


@pytest.mark.rule("L8", "R4", "E6")
@pytest.mark.parametrize("change", ["rename", "rmdir"])
def test_changes_skip_no_faulty_layer(
    each_place: Place, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """`on_layer_error="skip"` is for reading: what can't be seen for now isn't hidden for good."""
    lowers = [each_place.lower, each_place.directory / "second"]
    each_place.fill({"d/f": "low"})
    each_place.fill({"d/precious": "p"}, lowers[1])
    stack = each_place.stack(*lowers, on_layer_error="skip")
    (stack / "d/f").unlink()
    with monkeypatch.context() as patch:
        fail(patch, "scan", errno.EIO, lambda at, *_: at.place().startswith(str(lowers[1])))
        stack.refresh()
        assert [] == names(stack / "d")
        with pytest.raises(OSError) as caught:
            (stack / "d").rename("/e") if change == "rename" else (stack / "d").rmdir()
        assert errno.EIO == caught.value.errno
    stack.refresh()
    for each in (stack, each_place.stack(*lowers)):
        assert ["precious"] == names(each / "d")


@pytest.mark.rule("L10", "R4")
@pytest.mark.changes_lowers("the deep tree is removed by the test: what tidies up can't")
def test_deep_directories_are_renamed(place: Place) -> None:
    """They may be deeper than calls may be nested."""
    depth = sys.getrecursionlimit() + 50
    place.fill({"top/": ""})
    at = os.open(place.lower / "top", os.O_RDONLY)
    for name in (*["d"] * depth, "sub", "f"):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    try:
        stack = place.stack()
        deep = UnionPath(stack, "/top/" + "/".join(["d"] * depth))
        (deep / "sub").rename(deep / "sub2")
        assert ["sub2"] == names(deep)
        assert ["f"] == names(deep / "sub2")
        stack.close()
    finally:
        subprocess.run(["rm", "-r", place.lower, place.upper], check=True)


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
        fail(
            patch,
            "sync",
            errno.EIO,
            lambda at, name=None: name is None and at.place() == str(each_place.upper),
        )
        with pytest.raises(OSError):
            (stack / source).rename(f"/{target}")
    stack.close()
    for each in (stack, each_place.stack(durability="strict")):
        assert [False, True] == sorted([(each / source).exists(), (each / target).exists()])
        shown = source if (each / source).exists() else target
        expected = {str(path).replace(f"/{source}", f"/{shown}", 1) for path in before}
        assert expected == {str(path) for path in (each / shown).rglob("*")}
