"""A lower's file open for writing: copied up at the first byte, one file to all who have it open."""

from __future__ import annotations

import errno
import io
import mmap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from unionpath import LayerStack, UnionPath


@pytest.fixture
def root(tmp_path: Path) -> Iterator[UnionPath]:
    for name in ("lower", "upper"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "f").write_bytes(b"0000")
    with LayerStack([tmp_path / "lower"], upper=tmp_path / "upper") as stack:
        yield stack.root


def is_copied_up(path: UnionPath) -> bool:
    return path.layer == path.stack.upper


@pytest.mark.rule("C1")
@pytest.mark.parametrize("mode", ["r+b", "ab", "a+b"])
def test_opening_and_writing_nothing_copies_nothing_up(root: UnionPath, mode: str) -> None:
    with (root / "f").open(mode) as file:
        file.write(b"")
        file.flush()
        file.seek(0, io.SEEK_END)
    assert not is_copied_up(root / "f")


@pytest.mark.rule("C1")
def test_a_descriptor_is_the_uppers(root: UnionPath) -> None:
    with (root / "f").open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0:1] = b"X"
    assert is_copied_up(root / "f")
    assert b"X000" == (root / "f").read_bytes()


@pytest.mark.rule("C9")
def test_what_one_writes_the_others_read(root: UnionPath) -> None:
    with (root / "f").open("r+b", 0) as one, (root / "f").open("r+b", 0) as two:
        one.write(b"11")
        assert b"1100" == two.read()
        two.write(b"22")
        assert b"0022" == one.read()


@pytest.mark.rule("C9")
def test_the_end_is_where_others_left_it(root: UnionPath) -> None:
    with (root / "f").open("r+b", 0) as one, (root / "f").open("ab", 0) as two:
        two.write(b"two")
        one.seek(0, io.SEEK_END)
        one.write(b"one")
    assert b"0000twoone" == (root / "f").read_bytes()


@pytest.mark.rule("C9")
def test_a_file_cut_by_another_is_cut(root: UnionPath) -> None:
    with (root / "f").open("r+b", 0) as file:
        (root / "f").open("wb").close()
        file.seek(0, io.SEEK_END)
        file.write(b"x")
    assert b"x" == (root / "f").read_bytes()


@pytest.mark.rule("C9")
def test_threads_share_one_file(root: UnionPath) -> None:
    for turn in range(20):
        (root / "f").unlink(missing_ok=True)
        with LayerStack([root.stack.lowers[0]], upper=root.stack.upper, adopt=True) as stack:
            (stack / "f").write_bytes(b"") if turn else None
        failures: list[BaseException] = []
        with (root / "f").open("ab", 0) as file:

            def write(file: io.RawIOBase = file, failures: list[BaseException] = failures) -> None:
                try:
                    file.write(b"x")
                except BaseException as error:  # noqa: BLE001 (shown below)
                    failures.append(error)

            threads = [threading.Thread(target=write) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert [] == failures
        assert b"xxxx" == (root / "f").read_bytes()[-4:]


def test_a_file_follows_its_name(root: UnionPath) -> None:
    with (root / "f").open("ab") as file:
        (root / "f").rename("/g")
        file.write(b"!")
    assert b"0000!" == (root / "g").read_bytes()
    assert not (root / "f").exists()


@pytest.mark.parametrize("end", ["unlink", "replace"])
def test_a_file_that_lost_its_name_harms_nobody(root: UnionPath, end: str) -> None:
    with (root / "f").open("r+b") as file:
        if end == "unlink":
            (root / "f").unlink()
        else:
            (root / "f").write_bytes(b"another")
        file.seek(0, io.SEEK_END)
        file.write(b"!")
        file.flush()
        file.seek(0)
        assert b"0000!" == file.read()
    expected = None if end == "unlink" else b"another"
    assert expected == ((root / "f").read_bytes() if (root / "f").exists() else None)


@pytest.mark.rule("C9")
def test_a_write_to_a_name_that_someone_else_took_away_is_refused(root: UnionPath) -> None:
    """Where it went, only they know: an error, and no lost write."""
    upper = root.stack.upper
    assert upper is not None
    with LayerStack(root.stack.lowers, upper=upper, name="other") as other:
        file = (root / "f").open("ab", 0)
        (other / "f").rename("/g")
        with pytest.raises(OSError) as caught:
            file.write(b"!")
        file.close()
    assert (errno.ESTALE, "/f") == (caught.value.errno, caught.value.filename)
    assert b"0000" == (root / "g").read_bytes()


def test_what_io_promises(root: UnionPath) -> None:
    with (root / "f").open("r+b") as file:
        assert ("rb+", "/f") == (file.mode, file.name)
        assert file.readable()
        assert file.writable()
        assert file.seekable()
        assert not file.isatty()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"x")
    with (root / "f").open("ab") as appending:
        assert "ab" == appending.mode
        assert 4 == appending.tell()
        assert not appending.readable()
        with pytest.raises(io.UnsupportedOperation):
            appending.read()
    with (root / "f").open("a+", encoding="utf-8") as text:
        assert ("a+", "/f") == (text.mode, text.name)
        text.seek(0)
        assert "0000" == text.read()
        text.write("é")
    assert "0000é" == (root / "f").read_text(encoding="utf-8")
