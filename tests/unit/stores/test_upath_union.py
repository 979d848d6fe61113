"""Unions whose upper is reached through fsspec: as over our own memory, step by step, whatever is done."""

from __future__ import annotations

import errno
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from upath import UPath

from servers import s3_server
from unionpath import Layer, LayerStack, UnionPath
from unionpath.model.errors import UnsupportedOperation
from unionpath.model.writable import WritableStore
from unionpath.opener import WhiteoutName
from unionpath.stores.memory import MemoryStore
from unionpath.stores.upath_writing import WritableUPathStore

MakeUpper: TypeAlias = Callable[[], WritableStore]
NAMES = ("f", "d", "g", "a", "e", "x", "n")
FORMATS: tuple[WhiteoutName, ...] = ("oci", "unionfs", "table")
_numbers = itertools.count()


@pytest.fixture(params=["memory", "file", "s3"], scope="module")
def make_upper(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeUpper]:
    """Make an empty upper."""

    def in_memory() -> WritableStore:
        path = UPath(f"memory:///unionpath-union-{next(_numbers)}")
        path.mkdir()
        return WritableUPathStore(path)

    if request.param == "memory":
        yield in_memory
    elif request.param == "file":
        yield lambda: WritableUPathStore(UPath(f"file://{tmp_path_factory.mktemp('upper')}"))
    else:
        with s3_server() as server:
            yield lambda: WritableUPathStore(server.bucket())


def lower() -> MemoryStore:
    store = MemoryStore()
    root = store.root()
    root.create("f", b"lower f")
    directory = root.mkdir("d")
    directory.create("a", b"lower a")
    directory.mkdir("e").create("x", b"lower x")
    root.mkdir("g").create("a", b"lower g/a")
    return store


def shown(stack: LayerStack) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for path, directories, files in (stack / "/").walk():
        found.update({str(path / name): None for name in directories})
        found.update({str(path / name): (path / name).read_bytes() for name in files})
    return found


def append(path: UnionPath, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def update(path: UnionPath, data: bytes) -> None:
    with path.open("rb+") as file:
        file.seek(1)
        file.write(data)
        file.truncate()


def make(path: UnionPath, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)


ACTIONS: dict[str, Callable[[UnionPath, UnionPath, bytes], object]] = {
    "write": lambda path, other, data: path.write_bytes(data),
    "append": lambda path, other, data: append(path, data),
    "update": lambda path, other, data: update(path, data),
    "make": lambda path, other, data: make(path, data),
    "read": lambda path, other, data: path.read_bytes(),
    "touch": lambda path, other, data: path.touch(exist_ok=False),
    "unlink": lambda path, other, data: path.unlink(),
    "mkdir": lambda path, other, data: path.mkdir(),
    "rmdir": lambda path, other, data: path.rmdir(),
    "rmtree": lambda path, other, data: path.rmtree(),
    "rename": lambda path, other, data: str(path.rename(other)),
    "replace": lambda path, other, data: str(path.replace(other)),
}


def outcome(stack: LayerStack, action: str, path: str, other: str, data: bytes) -> object:
    try:
        return ACTIONS[action](stack / path, stack / other, data)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def some_path(chance: random.Random) -> str:
    return "/" + "/".join(chance.choice(NAMES) for _ in range(chance.choice((1, 1, 2, 2, 3))))


@pytest.mark.rule("E5", "D4", "R1", "R3")
@pytest.mark.parametrize("whiteouts", FORMATS)
def test_any_upper_gives_the_same_union(
    make_upper: MakeUpper, whiteouts: WhiteoutName, seed: int, request: pytest.FixtureRequest
) -> None:
    """The union shows the state before or after, on any upper and also after reopening."""
    for number in range(1 if "s3" in request.node.callspec.id else 4):  # a server takes its time
        chance = random.Random(f"{seed} {number}")
        ours = LayerStack([lower()], upper=Layer(MemoryStore(), whiteouts=whiteouts))
        below, upper = lower(), make_upper()
        theirs = LayerStack([below], upper=Layer(upper, whiteouts=whiteouts))
        done = []
        for _ in range(12):
            step = (
                chance.choice([*ACTIONS]),
                some_path(chance),
                some_path(chance),
                b"0123"[: chance.randrange(5)],
            )
            done.append(step)
            assert outcome(ours, *step) == outcome(theirs, *step), done
            assert shown(ours) == shown(theirs), done
        theirs.close()
        again = LayerStack([below], upper=Layer(upper, whiteouts=whiteouts))
        assert shown(ours) == shown(again), done
        again.close()
        ours.close()


@pytest.mark.rule("E4")
def test_what_the_upper_can_not_hold_is_refused(make_upper: MakeUpper) -> None:
    """What a store can't do is UnsupportedOperation, found before the first change."""
    stack = LayerStack([lower()], upper=make_upper())
    before = shown(stack)
    refused: list[Callable[[], object]] = [
        lambda: (stack / "link").symlink_to("f"),
        lambda: (stack / "link").hardlink_to("/f"),
        lambda: (stack / "f").chmod(0o600),
        lambda: (stack / "f").utime((1, 1)),
    ]
    for action in refused:
        with pytest.raises(UnsupportedOperation):
            action()
    assert before == shown(stack)
    assert [] == [*stack.changes()]
    stack.close()


def test_a_url_is_an_upper(tmp_path: Path) -> None:
    (tmp_path / "lower").write_text("lower")
    path = UPath(f"memory:///unionpath-union-{next(_numbers)}")
    path.mkdir()
    stack = LayerStack([tmp_path], upper=str(path))
    (stack / "new").write_text("upper")
    (stack / "lower").unlink()
    assert ["new"] == [each.name for each in (stack / "/").iterdir()]
    assert b"upper" == path.joinpath("new").read_bytes()
    stack.close()


@pytest.mark.filterwarnings("ignore:.*(not explicitly implemented|default for known protocol).*:UserWarning")
@pytest.mark.rule("E3")
def test_an_upper_that_can_only_be_read_is_refused(tmp_path: Path) -> None:
    """A format or an upper that can't do it is refused at construction."""
    with pytest.raises(UnsupportedOperation):
        LayerStack([lower()], upper=UPath(f"simplecache::file://{tmp_path}"))
