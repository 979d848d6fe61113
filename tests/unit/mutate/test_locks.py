"""What keeps whom waiting, and what happens between the look and the change."""

from __future__ import annotations

import errno
import os
import threading
import zlib
from collections.abc import Iterator

import pytest

from places import Place, before, in_child
from unionpath import UnionPath
from unionpath.mutate import engine

PIPE = 1 << 17
"""More bytes than a FIFO takes at once."""


def in_time(act: threading.Thread, seconds: float = 5) -> bool:
    act.start()
    act.join(seconds)
    return not act.is_alive()


@pytest.fixture
def full_pipe(place: Place) -> Iterator[UnionPath]:
    """Give a FIFO of the upper to which a thread is writing more than its reader has read."""
    stack = place.stack()
    (stack / "warm").touch()
    os.mkfifo(place.upper / "fifo")
    reader = os.open(place.upper / "fifo", os.O_RDWR)
    writer = threading.Thread(target=(stack / "fifo").write_bytes, args=(b"x" * PIPE,))
    writer.start()
    writer.join(0.05)
    assert writer.is_alive()
    yield stack / "fifo"
    left = PIPE
    while left:
        left -= len(os.read(reader, left))
    writer.join()
    os.close(reader)


@pytest.mark.rule("C7")
def test_a_full_pipe_keeps_nobody_else_waiting(full_pipe: UnionPath, place: Place) -> None:
    """Neither writers of the same stack nor of another one, nor who makes a stack."""
    assert in_time(threading.Thread(target=(full_pipe.parent / "other").touch))
    assert in_time(threading.Thread(target=lambda: (place.stack() / "third").touch()))
    assert 0 == in_child(lambda: (place.stack() / "fourth").touch(), seconds=5)
    assert {"other", "third", "fourth"} <= {each.name for each in full_pipe.parent.iterdir()}


@pytest.mark.rule("D3")
def test_rmdir_spares_what_appears_meanwhile(each_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes no lock makes a file in the directory, right before it goes."""
    each_place.fill({"low/x": "1"})
    stack = each_place.stack()
    (stack / "d").mkdir()
    (stack / "low").copy_up()
    (stack / "low/x").unlink()
    for name in ("d", "low"):

        def appear(_at: object, gone: object, *_: object, name: str = name) -> None:
            if gone == name:
                (each_place.upper / name / "foreign").write_text("precious")

        with monkeypatch.context() as patch:
            before(patch, "rename", appear)
            before(patch, "rmdir", appear)
            try:
                (stack / name).rmdir()
            except OSError as error:
                assert error.errno in (errno.ENOTEMPTY, errno.EEXIST)
        assert "precious" == (each_place.upper / name / "foreign").read_text()
        assert "precious" == (stack / name / "foreign").read_text()


@pytest.mark.rule("D3")
def test_rmdir_sees_what_an_operation_inside_it_did(
    each_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finalizer or a signal's handler makes a file after the look: it isn't removed unseen."""
    stack = each_place.stack()
    (stack / "d").mkdir()
    done: list[UnionPath] = []
    plan = engine.planner.rmdir

    def interrupted(*arguments: object, **more: object) -> object:
        made = plan(*arguments, **more)  # type: ignore[arg-type]  # handed on
        if not done:
            done.append(stack / "d/inside")
            done[0].write_text("precious")
        return made

    monkeypatch.setattr(engine.planner, "rmdir", interrupted)
    with pytest.raises(OSError) as caught:
        (stack / "d").rmdir()
    assert errno.ENOTEMPTY == caught.value.errno
    assert "precious" == (stack / "d/inside").read_text()


@pytest.mark.rule("C1")
@pytest.mark.parametrize("first", ["chmod", "write_bytes", "append"])
def test_a_change_inside_a_change_of_the_same_file(
    place: Place, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Both are done, whichever of them copies the file up."""
    place.fill({"log": "0"})
    stack = place.stack()
    done: list[bool] = []

    def log() -> None:
        if not done:
            done.append(True)
            with (stack / "log").open("ab", 0) as file:
                file.write(b"1")

    before(monkeypatch, "create", lambda *_: log())
    before(monkeypatch, "open_new", lambda *_: log())
    acts = {
        "chmod": lambda: (stack / "log").chmod(0o600),
        "write_bytes": lambda: (stack / "log").write_bytes(b"new"),
        "append": lambda: append(stack / "log"),
    }
    acts[first]()
    if not done:
        pytest.skip("nothing is made on the way")
    found = (stack / "log").read_bytes()
    assert found in {"chmod": (b"01",), "write_bytes": (b"new", b"new1"), "append": (b"012", b"021")}[first]


def append(path: UnionPath) -> None:
    with path.open("ab", 0) as file:
        file.write(b"2")


@pytest.mark.rule("C6")
def test_large_files_in_one_operation(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two whose locks are one and the same don't wait for each other."""
    monkeypatch.setattr(engine, "_LARGE", 4)
    seen: dict[int, str] = {}
    pair = next(
        (seen[key], name)
        for name in (f"f{number}" for number in range(1000))
        if (key := zlib.crc32(f"/{name}".encode()) % 64) in seen or seen.setdefault(key, name) is None
    )
    place.fill(dict.fromkeys(pair, "x" * 100))

    def work() -> None:
        stack = place.stack()
        handles = [(stack / name).open("ab", 0) for name in pair]
        for handle in handles:
            handle.write(b"+")
            handle.close()
        (stack / pair[0]).hardlink_to(stack / pair[1]) if False else (stack / "n").hardlink_to(
            stack / pair[1]
        )
        (stack / pair[0]).rename(stack / pair[1])

    assert 0 == in_child(work, seconds=5)
    assert "x" * 100 + "+" == (place.upper / pair[1]).read_text()
