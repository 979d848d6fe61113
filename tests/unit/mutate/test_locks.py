"""What keeps whom waiting, and what happens between the look and the change."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from places import Place, before, in_child
from unionpath import UnionPath
from unionpath.mutate import engine, plan
from unionpath.mutate.plan import Facts
from unionpath.mutate.steps import Plan
from unionpath.opener import WhiteoutName

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

    def elsewhere(name: str) -> None:
        (place.stack() / name).touch()

    assert in_time(threading.Thread(target=elsewhere, args=("third",)))
    assert 0 == in_child(partial(elsewhere, "fourth"), seconds=5)
    assert {"other", "third", "fourth"} <= {each.name for each in full_pipe.parent.iterdir()}


@pytest.mark.rule("D3")
@pytest.mark.parametrize("whiteouts", ["oci", "unionfs"])
def test_rmdir_is_the_systems(place: Place, monkeypatch: pytest.MonkeyPatch, whiteouts: str) -> None:
    """Whoever takes no lock makes a file in the directory in the last instant: it isn't empty, then."""
    place.whiteouts = "unionfs" if whiteouts == "unionfs" else "oci"
    stack = place.stack()
    (stack / "d").mkdir()

    def appear(_at: object, gone: object, *_: object) -> None:
        if gone == "d":
            (place.upper / "d/foreign").write_text("precious")

    with monkeypatch.context() as patch:
        before(patch, "rename", appear)
        before(patch, "rmdir", appear)
        with pytest.raises(OSError, match="not empty"):
            (stack / "d").rmdir()
    assert "precious" == (stack / "d/foreign").read_text()


@pytest.mark.rule("D3")
@pytest.mark.parametrize("whiteouts", ["oci", "unionfs", "overlayfs", "table"])
@pytest.mark.parametrize("name", ["d", "low"])
@pytest.mark.parametrize("who", ["the same thread", "someone else"])
def test_rmdir_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whiteouts: WhiteoutName, name: str, who: str
) -> None:
    """A finalizer, a signal's handler or a foreign program makes a file after the first look."""
    place = Place(tmp_path, whiteouts)
    place.fill({"low/x": "1"})
    stack = place.stack()
    (stack / "d").mkdir()
    (stack / "low/x").unlink()
    done: list[object] = []
    planned = plan.rmdir

    def interrupted(facts: Facts) -> Plan:
        made = planned(facts)
        if not done:
            done.append(True)
            at = stack / name / "inside" if who == "the same thread" else place.upper / name / "inside"
            at.write_text("precious")
        return made

    monkeypatch.setattr(plan, "rmdir", interrupted)
    with pytest.raises(OSError, match="not empty"):
        (stack / name).rmdir()
    assert "precious" == (stack / name / "inside").read_text()
    place.close()


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
    acts: dict[str, Callable[[], object]] = {
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
        (stack / "n").hardlink_to(stack / pair[1])
        (stack / pair[0]).rename(stack / pair[1])

    assert 0 == in_child(work, seconds=5)
    assert "x" * 100 + "+" == (place.upper / pair[1]).read_text()
