"""What a path's changing methods do beyond the rules: arguments, results, copies between kinds of paths."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from upath import UPath

from unionpath import LayerStack, UnionPath, memory_layer


@pytest.fixture
def root(tmp_path: Path) -> Iterator[UnionPath]:
    for name in ("lower", "upper"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "d" / "e").mkdir(parents=True)
    (tmp_path / "lower" / "d" / "e" / "f").write_text("deep")
    (tmp_path / "lower" / "a").write_text("a")
    with LayerStack([tmp_path / "lower"], upper=tmp_path / "upper") as stack:
        yield stack.root


def errno_of(act: Callable[[], object]) -> int | None:
    with pytest.raises(OSError) as caught:
        act()
    return caught.value.errno


class TestOntoItself:
    """A file copied over itself, by whatever names, stays what it is."""

    def test_by_a_hard_link(self, root: UnionPath) -> None:
        (root / "b").hardlink_to(root / "a")
        assert errno.EINVAL == errno_of(lambda: (root / "a").copy(root / "b"))
        assert "a" == (root / "a").read_text() == (root / "b").read_text()

    def test_by_a_symbolic_link(self, root: UnionPath) -> None:
        (root / "s").symlink_to("a")
        assert errno.EINVAL == errno_of(lambda: (root / "a").copy(root / "s"))
        assert "a" == (root / "a").read_text()

    def test_by_another_stack(self, root: UnionPath) -> None:
        (root / "a").copy_up()
        with LayerStack(root.stack.lowers, upper=root.stack.upper, name="itself") as other:
            assert errno.EINVAL == errno_of(lambda: (root / "a").move(other.root / "a"))
        assert "a" == (root / "a").read_text()

    @pytest.mark.parametrize("layer", ["lower", "upper"])
    def test_by_a_path_of_the_host(self, root: UnionPath, tmp_path: Path, layer: str) -> None:
        if layer == "upper":
            (root / "a").copy_up()
        assert errno.EINVAL == errno_of(lambda: (root / "a").copy(tmp_path / layer / "a"))
        assert "a" == (tmp_path / layer / "a").read_text()

    def test_another_file_is_written_through_a_second_name(self, root: UnionPath) -> None:
        (root / "b").hardlink_to(root / "a")
        (root / "new").write_text("new")
        (root / "new").copy(root / "b")
        assert "new" == (root / "a").read_text()


class TestCopies:
    def test_results_are_the_new_paths(self, root: UnionPath, tmp_path: Path) -> None:
        assert root / "c" == (root / "a").copy("/c")
        assert root / "d" / "a" == (root / "a").copy_into("/d")
        assert root / "m" == (root / "c").move("/m")
        assert root / "d" / "e" / "m" == (root / "m").move_into(root / "d" / "e")
        assert tmp_path / "out" == (root / "d").copy(tmp_path / "out")
        assert "deep" == (tmp_path / "out" / "e" / "f").read_text()

    def test_between_stacks(self, root: UnionPath) -> None:
        with LayerStack([memory_layer()], upper=memory_layer()) as other:
            (root / "d").move(other.root / "d")
            assert "deep" == (other / "d/e/f").read_text()
            assert not (root / "d").exists()
            (other / "d").copy(root / "back", preserve_metadata=True)
        assert "deep" == (root / "back/e/f").read_text()

    def test_with_host_paths_and_universal_paths(self, root: UnionPath, tmp_path: Path) -> None:
        (tmp_path / "host" / "x").mkdir(parents=True)
        (tmp_path / "host" / "x" / "y").write_text("host")
        (root / "h")._copy_from(tmp_path / "host")
        assert "host" == (root / "h/x/y").read_text()
        away = UPath("memory://unionpath-copies")
        (root / "h").copy(away / "h")
        assert "host" == (away / "h" / "x" / "y").read_text()
        (root / "again")._copy_from(away / "h")
        assert "host" == (root / "again/x/y").read_text()

    @pytest.mark.rule("C11")
    def test_metadata(self, root: UnionPath) -> None:
        (root / "a").chmod(0o640)
        (root / "a").utime(ns=(10**18, 10**18 + 7))
        (root / "a").copy("/b", preserve_metadata=True)
        (root / "a").copy("/c")
        found = (root / "b").stat()
        assert (0o100640, 10**18 + 7) == (found.st_mode, found.st_mtime_ns)
        assert 10**18 + 7 != (root / "c").stat().st_mtime_ns


class TestArguments:
    @pytest.mark.parametrize(
        "act",
        [
            lambda p: p.write_text(b"bytes"),
            lambda p: p.write_bytes("text"),
            lambda p: p.chmod("0644"),
            lambda p: p.mkdir("0755"),
            lambda p: p.touch("0644"),
            lambda p: p.chown("root"),
            lambda p: p.utime((1,)),
            lambda p: p.utime(ns=(1.5, 2.5)),
            lambda p: p.rename(None),
            lambda p: p.rename(b"bytes"),
            lambda p: p.symlink_to(3),
            lambda p: p.hardlink_to(None),
            lambda p: p.setxattr(b"user.a", b""),
            lambda p: p.setxattr("user.a", "text"),
            lambda p: p.move(3),
            lambda p: p.copy(None),
        ],
    )
    def test_wrong_types(self, root: UnionPath, act: Callable[[UnionPath], object]) -> None:
        with pytest.raises(TypeError):
            act(root / "a")
        assert "a" == (root / "a").read_text()

    @pytest.mark.parametrize(
        "act",
        [
            lambda p: p.with_name("n\0").write_text("x"),
            lambda p: p.rename("n\0"),
            lambda p: p.symlink_to("n\0"),
            lambda p: p.utime((1, 1), ns=(1, 1)),
            lambda p: p.open("w", newline="?"),
            lambda p: p.open("w", buffering=0),
            lambda p: p.open("rw"),
        ],
    )
    def test_wrong_values(self, root: UnionPath, act: Callable[[UnionPath], object]) -> None:
        with pytest.raises(ValueError):
            act(root / "a")
        assert "a" == (root / "a").read_text()

    def test_an_unknown_encoding_changes_nothing(self, root: UnionPath) -> None:
        for act in (
            lambda: (root / "a").open("w", encoding="no-such"),
            lambda: (root / "a").write_text("x", "no-such"),
        ):
            with pytest.raises(LookupError):
                act()
        with pytest.raises(UnicodeEncodeError):
            (root / "a").write_text("é", "ascii")
        assert "a" == (root / "a").read_text()

    def test_times(self, root: UnionPath) -> None:
        (root / "a").utime((1, 2.5))
        assert (10**9, 2_500_000_000) == ((found := (root / "a").stat()).st_atime_ns, found.st_mtime_ns)
        before = time.time_ns()
        (root / "a").utime()
        assert before - 10**9 <= (root / "a").stat().st_mtime_ns

    def test_newlines_and_encodings(self, root: UnionPath) -> None:
        assert 4 == (root / "n").write_text("a\nb\n", newline="\r\n")
        assert b"a\r\nb\r\n" == (root / "n").read_bytes()
        (root / "n").write_text("é", "utf-16")
        assert "é" == (root / "n").read_text("utf-16")

    @pytest.mark.skipif(not hasattr(os, "setxattr"), reason="there are no extended attributes here")
    def test_attributes(self, root: UnionPath) -> None:
        path = root / "a"
        path.setxattr("user.one", b"1")
        assert (b"1", ["user.one"]) == (path.getxattr("user.one"), path.listxattr())
        assert errno.EEXIST == errno_of(lambda: path.setxattr("user.one", b"2", os.XATTR_CREATE))
        assert errno.ENODATA == errno_of(lambda: path.setxattr("user.two", b"2", os.XATTR_REPLACE))
        path.removexattr("user.one")
        assert errno.ENODATA == errno_of(lambda: path.getxattr("user.one"))
        assert errno.ENODATA == errno_of(lambda: path.removexattr("user.one"))


class TestMkdir:
    def test_parents_with_their_mode(self, root: UnionPath) -> None:
        (root / "x/y/z").mkdir(0o700, parents=True, parent_mode=0o750)
        modes = [(root / path).stat().st_mode & 0o777 for path in ("x", "x/y", "x/y/z")]
        assert [0o750, 0o750, 0o700] == modes
        (root / "x/y/z").mkdir(parents=True, exist_ok=True)
        assert errno.EEXIST == errno_of(lambda: (root / "x/y/z").mkdir(parents=True))
        assert errno.EEXIST == errno_of(lambda: (root / "a").mkdir(exist_ok=True))
        assert errno.ENOTDIR == errno_of(lambda: (root / "a/b").mkdir(parents=True))
