"""Many threads read while threads and a process change the layers directly (N4)."""

from __future__ import annotations

import errno
import faulthandler
import itertools
import os
import random
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

import oracle
from grounds import scratch
from trees import Alone, Dir, File, Link, Node, Object, Whiteout
from unionpath import Cache, Layer, LayerStack
from unionpath.resolve.resolver import Resolver
from views import UnionView, outcome

pytestmark = [pytest.mark.property, pytest.mark.rule("N4", "L8", "N3")]

READERS = 16
SECONDS = 2.0
OPAQUE = ".wh..wh..opq"
PATIENCE = 20.0
"""After so long something hangs."""
NAMES = ("a", "b", "c")
RACES = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL}
"""What a look-up may say of a tree that changes under it."""

MISCHIEF = r"""
import os, random, shutil, sys, time

def mischief(layers, seed, ends):
    # Make, remove, rename, hide and uncover names at random.
    chance = random.Random(seed)
    while time.monotonic() < ends:
        directory = chance.choice(layers)
        for _ in range(chance.randrange(3)):
            directory = os.path.join(directory, chance.choice("abc"))
        at = os.path.join(directory, chance.choice("abc"))
        other = os.path.join(chance.choice(layers), chance.choice("abc"))
        marker = os.path.join(directory, chance.choice((".wh.a", ".wh.b", ".wh..wh..opq")))
        try:
            what = chance.randrange(9)
            if what < 2:
                os.mkdir(at)
            elif what == 2:
                with open(at, "w") as file:
                    file.write("x" * chance.randrange(50))
            elif what == 3:
                shutil.rmtree(at)
            elif what == 4:
                os.unlink(at)
            elif what == 5:
                os.rename(at, other)
            elif what == 6:
                os.symlink(chance.choice(("a", "/b", "../c", "a/b", "gone")), at)
            elif what == 7:
                with open(marker, "w"):
                    pass
            else:
                os.unlink(marker)
        except OSError:
            pass
        time.sleep(0.0002)
"""
_made: dict[str, Any] = {}
exec(MISCHIEF, _made)  # the same for threads as for another process
mischief: Callable[[list[str], int, float], None] = _made["mischief"]
PROCESS = MISCHIEF + "\nmischief(sys.argv[2:], 999, time.monotonic() + float(sys.argv[1]))\n"


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """A deadlock shows all threads' stacks and ends the run, instead of standing still for ever."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(params=["watched", "small", "strict", "timed"])
def stack(request: pytest.FixtureRequest) -> Iterator[LayerStack]:
    """A stack over changing layers; the bottom one is immutable, and full."""
    with scratch() as base:
        layers = [base / name for name in ("top", "middle", "bottom")]
        for layer in layers:
            for one in NAMES:
                for two in NAMES:
                    (layer / one / two).mkdir(parents=True)
                    (layer / one / two / "c").write_text(layer.name)
        cache = {"small": Cache(max_entries=12), "timed": Cache(ttl=0.01)}.get(request.param, Cache())
        made = LayerStack([*layers[:2], Layer(layers[2], immutable=True)], cache=cache)
        with pytest.MonkeyPatch.context() as patch:
            if request.param in ("strict", "timed"):
                patch.setattr("unionpath.stores.local.shared_inotify", lambda: None)
            yield made
            made.close()


class Reader:
    """One thread that asks and asks; what it shouldn't have got is in `wrong`."""

    def __init__(self, resolver: Resolver, seed: int, done: threading.Event) -> None:
        self.wrong: list[str] = []
        self.asked = 0
        self._resolver = resolver
        self._chance = random.Random(seed)
        self._done = done

    def run(self) -> None:
        while not self._done.is_set() and len(self.wrong) < 5:
            path = "/" + "/".join(self._chance.choices(NAMES, k=self._chance.randrange(5)))
            try:
                self._ask(path)
                self.asked += 1
            except OSError as error:
                if error.errno not in RACES or error.filename != path:
                    self.wrong.append(repr(error))
            except BaseException as error:  # noqa: BLE001  # whatever it is, the test shall show it
                self.wrong.append(f"{path}: {error!r}")

    def _ask(self, path: str) -> None:
        resolver = self._resolver
        match self._chance.randrange(7):
            case 0:
                assert resolver.kind(path) in range(-1, 7)
            case 1:
                assert not stat.S_ISLNK(resolver.stat(path).st_mode)
            case 2:
                names = resolver.listing(path)
                assert sorted(names) == list(names)
                assert not any(name.startswith(".wh.") for name in names)
            case 3:
                assert resolver.read(path).strip(b"x") in (b"", b"top", b"middle", b"bottom")
            case 4:
                assert resolver.realpath(path, strict=self._chance.random() < 0.5).startswith("/")
            case 5:
                origins = resolver.origins(path)
                assert sorted(set(origins)) == list(origins)
            case _:
                with resolver.open(path) as file:
                    file.read()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
@pytest.mark.changes_lowers("to see the union follow")
def test_nothing_but_races_and_no_wrong_end(stack: LayerStack) -> None:
    """No error but those of races, no wrong answer afterwards, no deadlock."""
    live = [layer.store.place for layer in stack.layers[:2]]
    done = threading.Event()
    with no_longer_than(PATIENCE):
        process = subprocess.Popen([sys.executable, "-c", PROCESS, str(SECONDS), *live])
        readers = [Reader(stack.resolver, seed, done) for seed in range(READERS)]
        threads = [threading.Thread(target=reader.run) for reader in readers]
        ends = time.monotonic() + SECONDS
        writers = [threading.Thread(target=mischief, args=(live, seed, ends)) for seed in (1, 2)]
        for thread in (*threads, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        process.wait()
        done.set()
        for thread in threads:
            thread.join()
        assert [] == [wrong for reader in readers for wrong in reader.wrong]
        assert all(reader.asked for reader in readers)
        time.sleep(0.02)  # longer than the stated time, where there is one
        for _ in range(2):
            assert_right(stack)


def assert_right(stack: LayerStack) -> None:
    """Hold every answer against those of the model, which remembers nothing."""
    model = oracle.Union([described(layer.store.place) for layer in stack.layers])
    view = UnionView(stack.root)
    assert model.walk("/") == view.walk("/")
    for depth in range(4):
        for names in itertools.product((*NAMES, ".."), repeat=depth):
            path = "/" + "/".join(names)
            for question in ("kind", "lkind", "names", "read", "readlink", "resolve"):
                expected = outcome(getattr(model, question), path)
                assert (question, path, expected) == (question, path, outcome(getattr(view, question), path))
    index = stack.resolver._index
    assert index.entries == sum(len(node.names) for node in index.nodes.values())


def described(directory: str) -> Dir:
    """Read a layer as it is now, with `os` alone."""
    names = set(os.listdir(directory))
    opaque = OPAQUE in names
    entries: dict[str, Node] = {}
    for name in names:
        at = os.path.join(directory, name)
        if not name.startswith(".wh."):
            if os.path.islink(at):
                entries[name] = Link(os.readlink(at))
            elif os.path.isdir(at):
                entries[name] = described(at)
            else:
                entries[name] = File(Path(at).read_bytes())
    for name in () if opaque else (name.removeprefix(".wh.") for name in names if name.startswith(".wh.")):
        shown = entries.get(name)
        entries[name] = Whiteout() if shown is None else Alone(cast("Object", shown))
    return Dir(entries, opaque)
