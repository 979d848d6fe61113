"""What is kept, for how long, and what happens to it; on an index alone, and on stacks that are let go of."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from unionpath import Cache, LayerStack
from unionpath.model.entry import Kind, make_stat
from unionpath.model.layer import CacheInfo
from unionpath.resolve.index import Index, Node
from unionpath.resolve.readdir import Merged
from unionpath.stores import inotify

FILE = int(Kind.FILE)
STAT = make_stat(Kind.FILE, permissions=0o644)

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")


class FakeWatch:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def node(path: str, parent: Node | None, names: int = 1) -> Node:
    made = Node(path, path.rpartition("/")[2], parent)
    made.fill(Merged({f"f{number}": FILE for number in range(names)}, {}), ())
    made.watches.append(FakeWatch())
    return made


def kept(index: Index, path: str, parent: Node | None, names: int = 1) -> Node:
    """Make a directory and keep it; dropped at once if there is no room."""
    since = index.moment(parent)
    made = node(path, parent, names)
    index.keep(made, coherent=True, since=since)
    return made


def closed(one: Node) -> bool:
    [watch] = one.watches
    assert isinstance(watch, FakeWatch)
    return watch.closed > 0


@pytest.fixture
def index() -> Index:
    return Index(Cache())


@pytest.fixture
def root(index: Index) -> Node:
    return kept(index, "", None, 10)


class TestKeeping:
    def test_what_is_kept_is_found_by_its_path(self, index: Index, root: Node) -> None:
        child = kept(index, "/d", root)
        assert {"": root, "/d": child} == index.nodes
        assert (11, 2) == (index.entries, index.watches())
        assert child.alive
        assert child.deadline is None

    def test_what_is_kept_again_replaces_the_first(self, index: Index, root: Node) -> None:
        first = kept(index, "/d", root)
        below = kept(index, "/d/e", first)
        second = kept(index, "/d", root, 3)
        assert {"": root, "/d": second} == index.nodes
        assert 13 == index.entries
        assert (True, True, False) == (closed(first), closed(below), closed(second))
        assert root.kids == {"d": second}

    def test_a_root_kept_again_replaces_all(self, index: Index, root: Node) -> None:
        kept(index, "/d", root)
        again = kept(index, "", None)
        assert {"": again} == index.nodes
        assert 1 == index.entries

    def test_not_below_a_parent_that_is_gone(self, index: Index, root: Node) -> None:
        child = kept(index, "/d", root)
        index.drop(child)
        assert not index.keep(node("/d/e", child), coherent=True, since=index.moment(child))
        assert {"": root} == index.nodes

    @pytest.mark.parametrize("event", ["name of it", "it", "name of parent", "parent", "all", "let go"])
    def test_not_if_anything_happened_meanwhile(self, index: Index, root: Node, event: str) -> None:
        since = index.moment(root)
        child = node("/d", root)
        if event == "let go":
            index.discard(child)
        elif event == "all":
            index.clear()
        else:
            index.changed(root if "parent" in event else child, "other" if "name" in event else None)
        assert not index.keep(child, coherent=True, since=since)
        assert child not in index.nodes.values()

    def test_what_is_being_built_keeps_its_names(self, index: Index, root: Node) -> None:
        """Whoever builds it answers from what was read, whatever another thread delivers meanwhile."""
        child = node("/d", root, 3)
        index.changed(child, "f1")
        assert {"f0", "f1", "f2"} == child.names.keys()
        assert child.stale is None
        assert 10 == index.entries

    def test_unless_coherent_only_for_a_time(self, index: Index) -> None:
        assert not index.keep(node("", None), coherent=False, since=index.moment(None))
        timed = Index(Cache(ttl=100))
        assert timed.keep(node("", None), coherent=False, since=timed.moment(None))
        deadline = timed.nodes[""].deadline
        assert deadline is not None
        assert 99 < deadline - time.monotonic() <= 100

    def test_nothing_is_trusted_longer_than_its_parent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        index = Index(Cache(ttl=10))
        root = node("", None)
        index.keep(root, coherent=False, since=index.moment(None))
        now = 1_009.0
        coherent, timed = node("/c", root), node("/t", root)
        for child in (coherent, timed):
            index.keep(child, coherent=child is coherent, since=index.moment(root))
            assert 1_010.0 == child.deadline
        assert not index.expired(timed)
        now = 1_010.0
        assert index.expired(timed)
        assert {"": root, "/c": coherent} == index.nodes
        assert index.expired(root)
        assert ({}, 0) == (index.nodes, index.entries)


class TestEvents:
    def test_a_name_is_stale_and_what_is_below_goes(self, index: Index, root: Node) -> None:
        child = kept(index, "/f1", root)
        below = kept(index, "/f1/e", child)
        index.changed(root, "f1")
        assert {"f1"} == root.stale
        assert "f1" not in root.names
        assert {"": root} == index.nodes
        assert (9, True, True) == (index.entries, closed(child), closed(below))
        assert (None, 0, -1) == (index.look(root, "f1"), index.look(root, "f2"), index.look(root, "g"))

    def test_a_directory_goes_with_all_below(self, index: Index, root: Node) -> None:
        child = kept(index, "/d", root)
        kept(index, "/d/e", child)
        other = kept(index, "/o", root)
        index.changed(child, None)
        assert {"": root, "/o": other} == index.nodes
        assert root.kids == {"o": other}
        assert (11, False) == (index.entries, child.alive)

    def test_names_are_put_back(self, index: Index, root: Node) -> None:
        for name in ("f1", "f2", "g"):
            index.changed(root, name)
        assert 8 == index.entries
        version = root.version
        index.settle(root, "f1", version, FILE, (0,))
        index.settle(root, "g", version, None, ())
        assert {"f2"} == root.stale
        assert not root.sorted
        index.settle(root, "f2", version, int(Kind.DIRECTORY), (0, 3))
        assert root.stale is None
        assert {"f2": (0, 3)} == root.contributors
        assert 10 == index.entries
        index.sort(root)
        assert sorted(root.names) == list(root.names)

    def test_not_if_more_happened(self, index: Index, root: Node) -> None:
        index.changed(root, "f1")
        version = root.version
        index.changed(root, "f2")
        index.settle(root, "f1", version, FILE, (0,))
        assert {"f1", "f2"} == root.stale

    def test_names_are_counted_once(self, index: Index, root: Node) -> None:
        """Two threads that look up the same stale name both put it back."""
        index.changed(root, "f1")
        index.changed(root, "f2")
        for _ in range(2):
            index.settle(root, "f1", root.version, FILE, (0,))
        assert 9 == index.entries == len(root.names)

    def test_nothing_is_put_back_where_all_is_gone(self, index: Index, root: Node) -> None:
        index.changed(root, "f1")
        index.drop(root)
        index.settle(root, "f1", root.version, FILE, (0,))
        assert 0 == index.entries

    def test_stats_go_with_their_names(self, index: Index, root: Node) -> None:
        index.keep_stat(root, "f1", root.version, STAT)
        index.keep_stat(root, "f2", root.version, STAT)
        index.changed(root, "f1")
        assert {"f2": STAT} == root.stats

    def test_a_stat_from_before_an_event_is_not_kept(self, index: Index, root: Node) -> None:
        """A layer above may have got the name since."""
        version = root.version
        index.changed(root, "f1")
        index.keep_stat(root, "f1", version, STAT)
        assert root.stats is None

    def test_clear_forgets_all(self, index: Index, root: Node) -> None:
        kept(index, "/d", root)
        since = index.moment(None)
        index.clear()
        assert ({}, 0, 0) == (index.nodes, index.entries, index.watches())
        assert since != index.moment(None)

    def test_reset_forgets_what_a_fork_left_half_done(self, index: Index, root: Node) -> None:
        """In the child of a fork another thread's change may have stopped midway, with the lock held."""
        orphan = kept(index, "/d/e", kept(index, "/d", root))
        del index.nodes["/d"]
        root.kids = None
        index._lock.acquire()
        index.reset()
        assert ({}, 0) == (index.nodes, index.entries)
        assert not orphan.alive
        kept(index, "", None)


class TestBounds:
    def test_too_large_a_directory_is_not_kept(self) -> None:
        index = Index(Cache(max_entries=5))
        assert not index.keep(node("", None, 6), coherent=True, since=index.moment(None))
        assert index.keep(node("", None, 5), coherent=True, since=index.moment(None))
        assert 5 == index.entries

    def test_the_bound_holds(self) -> None:
        index = Index(Cache(max_entries=100))
        root = kept(index, "", None, 10)
        for number in range(300):
            above = kept(index, f"/d{number}", root, number % 20)
            kept(index, f"/d{number}/e", above, 1 + number % 7)
            assert index.entries <= 100
            assert index.entries == sum(len(each.names) for each in index.nodes.values())
            assert index.nodes[""] is root

    def test_the_recently_used_survive(self) -> None:
        index = Index(Cache(max_entries=110))
        root = kept(index, "", None, 10)
        hot = [kept(index, f"/hot{number}", root, 10) for number in range(4)]
        for number in range(200):
            cold = kept(index, f"/cold{number}", root, 10)
            cold.used = False
            for each in (root, *hot):
                each.used = True
        assert all(each.alive for each in hot)
        assert index.nodes["/hot0"] is hot[0]

    def test_everything_gets_a_second_chance_only(self) -> None:
        index = Index(Cache(max_entries=30))
        root = kept(index, "", None, 10)
        first, second = kept(index, "/1", root, 10), kept(index, "/2", root, 10)
        third = kept(index, "/3", root, 10)
        assert (False, True, True) == (first.alive, second.alive, third.alive)

    def test_names_put_back_count(self) -> None:
        """A directory that grows is bounded too."""
        index = Index(Cache(max_entries=20))
        root = kept(index, "", None, 10)
        other = kept(index, "/o", root, 8)
        for number in range(5):
            index.changed(root, f"new{number}")
            index.settle(root, f"new{number}", root.version, FILE, (0,))
        assert not other.alive
        assert 15 == index.entries
        for number in range(5, 11):
            index.changed(root, f"new{number}")
            index.settle(root, f"new{number}", root.version, FILE, (0,))
        assert index.entries <= 20

    def test_stats_are_bounded(self, index: Index, root: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("unionpath.resolve.index._STATS_KEPT", 7)
        child = kept(index, "/d", root)
        for number in range(50):
            index.keep_stat((root, child)[number % 2], f"f{number}", root.version, STAT)
            assert sum(len(each.stats or {}) for each in (root, child)) <= 7
        assert any(each.stats for each in (root, child))

    def test_nothing_at_all(self) -> None:
        index = Index(Cache(max_entries=0))
        assert not index.keep(node("", None), coherent=True, since=index.moment(None))


def descriptors(below: Path) -> int:
    """Count the descriptors open on anything in a directory."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{fd}").startswith(str(below))
        except OSError:  # the one that lists
            continue
    return count


def watches() -> int:
    """Count what the kernel watches for this process."""
    instance = inotify.shared_inotify()
    assert instance is not None
    instance._deliver()  # closed ones are taken out with the next event
    info = Path(f"/proc/self/fdinfo/{instance._fd}").read_text()
    return info.count("inotify wd")


@linux
class TestLettingGo:
    @pytest.fixture
    def layers(self, tmp_path: Path) -> list[Path]:
        for layer in "ab":
            for number in range(20):
                (tmp_path / layer / f"d{number}" / "e").mkdir(parents=True)
        return [tmp_path / "a", tmp_path / "b"]

    @pytest.fixture
    def uncollected(self) -> Iterator[None]:
        """Whatever isn't let go of by itself stays."""
        gc.collect()
        gc.disable()
        yield
        gc.enable()

    def use(self, stack: LayerStack) -> None:
        for _ in range(2):
            for number in range(20):
                stack.resolver.listing(f"/d{number}/e")
        assert 41 == stack.cache_info().directories
        assert 82 == stack.cache_info().watches

    def test_a_closed_stack_holds_nothing(self, layers: list[Path], tmp_path: Path) -> None:
        before = watches()
        stack = LayerStack(layers)
        self.use(stack)
        assert before + 82 == watches()
        assert descriptors(tmp_path) > 2
        stack.close()
        assert before == watches()
        assert descriptors(tmp_path) <= 2  # the layers' roots, whose descriptors the layers hold
        assert CacheInfo(0, 0, 0, 0, 0) == stack.cache_info()
        assert ["d0", "d1"] == list(stack.resolver.listing("/"))[:2]

    def test_a_stack_dropped_without_close_holds_nothing(
        self, layers: list[Path], tmp_path: Path, uncollected: None
    ) -> None:
        before = watches()
        stack = LayerStack(layers)
        self.use(stack)
        del stack
        assert before == watches()
        assert descriptors(tmp_path) <= 2
        gc.collect()
        assert 0 == descriptors(tmp_path)

    @pytest.mark.changes_lowers("to see the union follow")
    def test_other_stacks_keep_their_watches(self, layers: list[Path], tmp_path: Path) -> None:
        one, other = LayerStack(layers), LayerStack(layers)
        self.use(one)
        self.use(other)
        before = watches()
        one.close()
        assert before == watches()
        (tmp_path / "b" / "d7" / "e" / "new").touch()
        assert ["new"] == list(other.resolver.listing("/d7/e"))
        other.close()

    def test_an_interpreter_ends_quietly(self, layers: list[Path]) -> None:
        program = (
            "import sys; from unionpath import LayerStack\n"
            "stack = LayerStack(sys.argv[1:])\n"
            "for _ in range(2): print(len(list(stack.resolver.listing('/d3/e'))))\n"
        )
        done = subprocess.run(
            [sys.executable, "-Wd", "-c", program, *map(str, layers)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert ("0\n0\n", "") == (done.stdout, done.stderr)
