"""What nobody should pass, and what nobody should find in a layer: refused or survived, never a hang."""

from __future__ import annotations

import codecs
import errno
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trees import Device, Dir, Fifo, File
from unions import Builder
from views import refusal

if TYPE_CHECKING:
    from unionpath import UnionPath

NOBODY = 65534


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail what hangs."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"hung for {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class TestArguments:
    """Segments and options of the wrong type."""

    @pytest.mark.rule("L10")
    @pytest.mark.parametrize("segment", [b"bytes", 3, None, 1.5, ["a"]], ids=repr)
    def test_segments(self, local: Builder, segment: object) -> None:
        """A path is made of text."""
        from unionpath import UnionPath

        root = local(Dir({"f": File()}))
        with pytest.raises(TypeError):
            UnionPath(root, segment)  # type: ignore[arg-type]  # that is the test
        with pytest.raises(TypeError):
            root / segment  # type: ignore[operator]  # that is the test
        with pytest.raises(TypeError):
            root.joinpath(segment)  # type: ignore[arg-type]  # that is the test

    @pytest.mark.parametrize("stack", ["/tmp", None, 3, Path("/tmp")], ids=repr)
    def test_stacks(self, stack: object) -> None:
        """A path needs a stack: a string alone is a mistake to be told of."""
        from unionpath import UnionPath

        with pytest.raises(TypeError):
            UnionPath(stack, "f")  # type: ignore[arg-type]  # that is the test

    def test_a_path_is_not_one_of_the_system(self, local: Builder) -> None:
        """`open(path)` is a clear TypeError, never the host's file of that name."""
        root = local(Dir({"etc": Dir({"hostname": File()})}))
        calls: list[Callable[..., object]] = [open, os.stat, os.listdir, os.fspath, Path]
        for call in calls:
            with pytest.raises(TypeError):
                call(root / "etc/hostname")

    @pytest.mark.parametrize("mode", ["", "rr", "q", "rw", "r+w", "tb", "rbt", "U"])
    def test_modes(self, local: Builder, mode: str) -> None:
        """A mode that `open` doesn't know is ValueError, and opens nothing."""
        root = local(Dir({"f": File()}))
        with pytest.raises(ValueError):
            (root / "f").open(mode)

    @pytest.mark.parametrize("pattern", ["", "/", "/f"])
    def test_patterns(self, local: Builder, pattern: str) -> None:
        """An empty or absolute pattern is refused as pathlib refuses it."""
        root = local(Dir({"f": File()}))
        with pytest.raises((ValueError, NotImplementedError)):
            list(root.glob(pattern))

    @pytest.mark.rule("L10")
    def test_lone_surrogates(self, local: Builder) -> None:
        """Text that no name can be is no name: not there, or refused, but no crash of another kind."""
        root = local(Dir({"f": File()}))
        with pytest.raises((ValueError, OSError)):
            (root / "\ud800").stat()
        assert not (root / "\ud800").exists()


class TestUnprivileged:
    """Permission denied, as a user who isn't root."""

    @pytest.fixture
    def top(self, tmp_path: Path) -> Path:
        if os.geteuid() != 0:
            pytest.skip("only root can become somebody else")
        for name in ("top", "below"):
            (tmp_path / name / "closed").mkdir(parents=True)
            (tmp_path / name / "closed/f").write_bytes(b"f")
            (tmp_path / name / "open").mkdir()
        (tmp_path / "top/secret").write_bytes(b"secret")
        (tmp_path / "top/secret").chmod(0o600)
        (tmp_path / "below/open/shadowed").write_bytes(b"below")
        (tmp_path / "top/closed").chmod(0o700)
        (tmp_path / "top/searchable/inner").mkdir(parents=True)
        (tmp_path / "top/searchable/inner/f").write_bytes(b"f")
        (tmp_path / "top/searchable").chmod(0o711)
        return tmp_path / "top"

    @pytest.mark.rule("L8", "E2")
    @pytest.mark.parametrize(
        ("ask", "path", "expected"),
        [
            (lambda p: p.read_bytes(), "secret", "EACCES"),
            (lambda p: p.stat().st_size, "secret", 6),
            (lambda p: p.stat().st_mode, "closed", stat.S_IFDIR | 0o700),
            (lambda p: p.stat(), "closed/f", "EACCES"),
            (lambda p: p.read_bytes(), "closed/f", "EACCES"),
            (lambda p: p.exists(), "closed/f", "EACCES"),
            (lambda p: p.lstat(), "closed/missing", "EACCES"),
            (lambda p: list(p.iterdir()), "closed", "EACCES"),
            (lambda p: p.read_bytes(), "open/shadowed", b"below"),
            (lambda p: p.read_bytes(), "searchable/inner/f", b"f"),
            (lambda p: [child.name for child in p.iterdir()], "searchable/inner", ["f"]),
            (lambda p: list(p.iterdir()), "searchable", "EACCES"),
            (lambda p: [child.name for child in p.iterdir()], "", ["closed", "open", "searchable", "secret"]),
            (lambda p: [child.name for child in p.rglob("inner")], "", []),
        ],
    )
    def test_is_refused_as_the_system_refuses(
        self, top: Path, ask: Callable[[UnionPath], object], path: str, expected: object
    ) -> None:
        """EACCES of a layer is raised when its answer is needed; no lower layer takes its place."""
        got = _as_nobody(top, ask, path)
        assert [repr(expected)] * 3 == got


def _as_nobody(top: Path, ask: Callable[[UnionPath], object], path: str) -> list[str]:
    """Ask three times (what is remembered must not matter) in a process without privileges."""
    for directory in (top.parent, *top.parent.parents[:-1]):
        if directory.stat().st_uid == 0 and not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o011)
    codecs.lookup("ascii")  # who has no privileges may not read the interpreter's own files
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(into, "\n".join(_ask_as_nobody(top, ask, path)).encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as answers:
        got = answers.read().decode()
    os.waitpid(child, 0)
    return got.split("\n")


def _ask_as_nobody(top: Path, ask: Callable[[UnionPath], object], path: str) -> Iterator[str]:
    from unionpath import LayerStack

    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    with LayerStack([top, top.parent / "below"]) as stack:
        for _ in range(3):
            try:
                yield repr(ask(stack.root / path))
            except OSError as error:
                assert str(error.filename) == str(stack.root / path), error
                yield repr(errno.errorcode[error.errno or 0])


class TestSpecialFiles:
    """C7, as far as reading goes: shown by stat and listing; opening never blocks for ever."""

    @pytest.mark.rule("N3")
    def test_fifos_do_not_hang(self, union: Builder) -> None:
        """A FIFO without a writer is at its end at once."""
        root = union(Dir({"p": Fifo(0o640)}), Dir({"p": File(b"hidden")}))
        with at_most(10):
            assert (root / "p").is_fifo()
            assert ["p"] == [child.name for child in root.iterdir()]
            assert b"" == (root / "p").read_bytes()
            assert "" == (root / "p").read_text()
            with (root / "p").open("rb", buffering=0) as pipe:
                assert pipe.read() in (b"", None)
            assert stat.S_ISFIFO((root / "p").stat().st_mode)

    @pytest.mark.rule("N3")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_fifo_with_a_writer(self, local: Builder, tmp_path: Path) -> None:
        """A FIFO that somebody writes to gives what was written."""
        root = local(Dir({"p": Fifo()}))
        reader = os.open(tmp_path / "0/p", os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(tmp_path / "0/p", os.O_WRONLY)
        os.write(writer, b"through the pipe")
        os.close(writer)
        with at_most(10):
            assert b"through the pipe" == (root / "p").read_bytes()
        os.close(reader)

    @pytest.mark.rule("N3", "L11")
    def test_devices_are_shown_and_not_opened(self, union: Builder) -> None:
        """What a device reaches lies outside the layer: shown, but opening it is EACCES."""
        root = union(Dir({"null": Device(1, 3, 0o666)}))
        assert (root / "null").is_char_device()
        assert os.makedev(1, 3) == (root / "null").stat().st_rdev
        with at_most(10):
            assert "EACCES" == refusal((root / "null").read_bytes)

    @pytest.mark.rule("N3")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_sockets(self, local: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A socket is shown; opening it is ENXIO, as for the system."""
        root = local(Dir())
        monkeypatch.chdir(tmp_path / "0")  # a socket's path has 108 bytes at most
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("s")
        assert (root / "s").is_socket()
        assert ["s"] == [child.name for child in root.iterdir()]
        assert "ENXIO" == refusal((root / "s").read_bytes)


class TestVanishingLayers:
    """Layers that go away, or change into something else, under an open stack."""

    @pytest.mark.rule("E2", "L8")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_layer_removed_under_the_stack(self, local: Builder, tmp_path: Path) -> None:
        """A layer whose root is gone is an error or an empty layer at once, never an old answer."""
        root = local(Dir({"f": File(b"top")}), Dir({"f": File(b"below"), "d": Dir()}))
        assert b"top" == (root / "f").read_bytes() == (root / "f").read_bytes()
        (tmp_path / "0/f").unlink()
        (tmp_path / "0").rmdir()
        for _ in range(3):
            try:
                assert b"below" == (root / "f").read_bytes()
                assert ["d", "f"] == [child.name for child in root.iterdir()]
            except OSError as error:
                assert error.errno in (errno.ENOENT, errno.ESTALE, errno.EIO)
                assert error.filename in ("/f", "/")

    @pytest.mark.rule("L11", "L8")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_layer_replaced_under_the_stack(self, local: Builder, tmp_path: Path) -> None:
        """What takes the place of a layer's root is another tree: never shown as the layer."""
        root = local(Dir({"f": File(b"right")}))
        assert b"right" == (root / "f").read_bytes() == (root / "f").read_bytes()
        (tmp_path / "0").rename(tmp_path / "elsewhere")
        (tmp_path / "0").mkdir()
        (tmp_path / "0/f").write_bytes(b"wrong")
        for _ in range(3):
            try:
                assert b"right" == (root / "f").read_bytes()
            except OSError as error:
                assert error.errno in (errno.ESTALE, errno.EIO, errno.ENOENT)

    def test_a_closed_stack(self, local: Builder) -> None:
        """After `close` nothing is kept open; a question opens what it needs, or is refused with words."""
        root = local(Dir({"f": File(b"0")}))
        stack = local.stack
        assert stack is not None
        assert b"0" == (root / "f").read_bytes()
        stack.close()
        stack.close()
        try:
            assert b"0" == (root / "f").read_bytes()
        except ValueError as error:
            assert "closed" in str(error)


@pytest.mark.changes_lowers("to see the union follow")
def test_many_threads_ask_at_once(local: Builder, tmp_path: Path) -> None:
    """Look-ups from many threads, while the layers change: only right answers."""
    root = local(Dir({"d": Dir({"f": File(b"0")})}), Dir({"d": Dir({f"n{at}": File() for at in range(50)})}))
    wrong: list[BaseException] = []
    done = threading.Event()

    def ask() -> None:
        try:
            while not done.is_set():
                assert b"0" == (root / "d/f").read_bytes()
                assert (root / "d/n7").is_file()
                assert {"f", "n7"} <= {child.name for child in (root / "d").iterdir()}
                assert not (root / "d/missing").exists()
        except BaseException as error:  # noqa: BLE001 - shown by the main thread
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for at in range(300):
            (tmp_path / f"0/d/new{at}").touch()
            (tmp_path / f"1/d/old{at}").touch()
            assert (root / f"d/new{at}").exists()
            assert (root / f"d/old{at}").exists()
            (tmp_path / f"0/d/new{at}").unlink()
            assert not (root / f"d/new{at}").exists()
    finally:
        done.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
    assert [] == wrong
