"""That the harness of this directory finds what it is for: shown on writers that are wrong on purpose."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import pytest

from reliability import crash, syscalls, world
from reliability.operations import Operation
from reliability.world import World

if TYPE_CHECKING:
    from unionpath import UnionPath

pytestmark = pytest.mark.skipif(syscalls.missing() is not None, reason=syscalls.missing() or "")


@pytest.fixture(scope="module")
def small() -> Iterator[World]:
    yield from world.worlds("local-oci")


def _upper(root: UnionPath) -> str:
    upper = root.stack.upper
    assert upper is not None
    return str(upper.source)


def _good_write(root: UnionPath) -> None:
    upper = _upper(root)
    stage = os.path.join(upper, ".wh..wh.unionpath")
    os.makedirs(stage, exist_ok=True)
    staged = os.path.join(stage, "new")
    try:
        with open(staged, "wb") as file:
            file.write(b"a new content")
        os.rename(staged, os.path.join(upper, "l.txt"))
    except OSError as error:
        os.unlink(staged)
        raise OSError(error.errno, error.strerror, "/l.txt") from None


def _half_write(root: UnionPath) -> None:
    with open(os.path.join(_upper(root), "l.txt"), "wb", buffering=0) as file:
        file.write(b"a new ")
        file.write(b"content")


def _good_unlink(root: UnionPath) -> None:
    upper = _upper(root)
    try:
        with open(os.path.join(upper, ".wh.both.txt"), "wb"):
            pass
        os.unlink(os.path.join(upper, "both.txt"))
    except OSError as error:
        if os.path.exists(os.path.join(upper, "both.txt")):
            os.unlink(os.path.join(upper, ".wh.both.txt"))
        raise OSError(error.errno, error.strerror, "/both.txt") from None


def _resurrecting_unlink(root: UnionPath) -> None:
    os.unlink(os.path.join(_upper(root), "both.txt"))
    with open(os.path.join(_upper(root), ".wh.both.txt"), "xb"):
        pass


def _losing_rename(root: UnionPath) -> None:
    upper = _upper(root)
    os.unlink(os.path.join(upper, "u.txt"))
    with open(os.path.join(upper, "new.txt"), "xb") as file:
        file.write(b"upper\n")


def _write_to_lower(root: UnionPath) -> None:
    os.chmod(str(root.stack.lowers[1].source) + "/l.txt", 0o777)
    os.mkdir(os.path.join(_upper(root), "new"))


def _mute_write(root: UnionPath) -> None:
    try:
        _good_write(root)
    except OSError:
        pass


def _littering_write(root: UnionPath) -> None:
    at = os.path.join(_upper(root), ".wh..wh.unionpath/stage/1")
    os.makedirs(at, exist_ok=True)
    with open(f"{at}/new", "wb") as file:
        file.write(b"a new content")
    os.rename(f"{at}/new", os.path.join(_upper(root), "l.txt"))
    os.rmdir(at)


def _kills(at: World, operation: Operation) -> list[str]:
    known = crash.clean(at, operation)
    problems: list[str] = []
    for number in range(1, 100):
        stopped, found = crash.kill(at, operation, known, number)
        problems += found
        if not stopped:
            assert number > 1, "nothing was ever stopped"
            return problems
    raise AssertionError("never survived")


def _faults(at: World, operation: Operation, sticky: bool) -> list[str]:
    known = crash.clean(at, operation)
    problems: list[str] = []
    for number in range(1, 100):
        hit, found = crash.fail(
            at, operation, known, number, errno.ENOSPC, lambda call: call.changes, sticky=sticky
        )
        problems += found
        if not hit:
            assert number > 1
            return problems
    raise AssertionError("never survived")


def test_a_good_writer_passes_everything(small: World) -> None:
    operation = Operation("good", _good_write)
    assert [] == _kills(small, operation)
    count, problems = crash.watch(small, operation, crash.clean(small, operation))
    assert [] == problems
    assert count == 4


def test_a_good_unlink_passes_everything(small: World) -> None:
    assert [] == _kills(small, Operation("good", _good_unlink))


@pytest.mark.changes_lowers("one of the writers does")
@pytest.mark.parametrize(
    ("writer", "finding"),
    [
        (_half_write, "neither before nor after"),
        (_resurrecting_unlink, "neither before nor after"),
        (_losing_rename, "neither before nor after"),
        (_write_to_lower, "a lower changed"),
    ],
)
def test_a_kill_finds(writer: Callable[[UnionPath], None], finding: str) -> None:
    for fresh in world.worlds("local-oci"):
        assert any(finding in problem for problem in _kills(fresh, Operation("bad", writer)))


@pytest.mark.parametrize("writer", [_half_write, _resurrecting_unlink, _losing_rename])
def test_an_onlooker_finds(small: World, writer: Callable[[UnionPath], None]) -> None:
    operation = Operation("bad", writer)
    _, problems = crash.watch(small, operation, crash.clean(small, operation))
    assert any("neither before nor after" in problem for problem in problems)


@pytest.mark.parametrize(
    ("writer", "finding"),
    [
        (_half_write, "not as before"),
        (_resurrecting_unlink, "no path of the union"),
        (_mute_write, "no error, but"),
        (_littering_write, "left over"),
    ],
)
def test_a_fault_finds(small: World, writer: Callable[[UnionPath], None], finding: str) -> None:
    assert any(finding in problem for problem in _faults(small, Operation("bad", writer), sticky=False))


def test_calls_are_counted_as_strace_counts_them(tmp_path: Path) -> None:
    """The same program, and two independent counters."""
    if (strace := which("strace")) is None:
        pytest.skip("strace isn't installed")
    program = (
        "import os, sys\nos.chdir(sys.argv[1])\nos.mkdir('d')\nopen('d/f', 'wb').write(b'x')\n"
        "os.chmod('d/f', 0o600)\nos.rename('d/f', 'g')\nos.rmdir('d')\nos.unlink('g')\n"
    )
    log = tmp_path / "log"
    calls = "mkdir,mkdirat,write,chmod,fchmodat,rename,renameat,renameat2,rmdir,unlink,unlinkat"
    command = [strace, "-qq", "-o", str(log), "-e", f"trace={calls}"]
    done = subprocess.run([*command, sys.executable, "-c", program, str(tmp_path)], check=False)
    if done.returncode != 0:
        pytest.skip("strace can't trace here")
    expected = [line.split("(")[0] for line in log.read_text().splitlines() if "+++" not in line]
    seen: list[str] = []

    def body(control: syscalls.Control) -> None:
        sys.argv[1:] = [str(tmp_path)]
        control.begin()
        exec(program, {})
        control.end()

    ending = syscalls.supervise(body, lambda call: seen.append(call.name) if call.changes else None)
    assert ending.crash is None
    assert expected == [name for name in seen if name != "openat"]
