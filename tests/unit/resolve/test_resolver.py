"""The two ways of looking up: that they agree, what each asks of the layers, and what is remembered."""

from __future__ import annotations

import errno
import os
import stat as stat_
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from faults import FaultyStore
from grounds import BY_ID, scratch
from trees import Alone, Dir, File, Link, Whiteout
from unionpath import Cache, Layer, LayerStack
from unionpath.model.entry import Kind
from unionpath.model.parts import Parts
from unionpath.model.store import Capability, Directory, Listener
from unionpath.resolve.resolver import Resolver
from unionpath.stores import inotify, local
from unionpath.stores.local import LocalStore
from unionpath.stores.memory import MemoryStore
from unionpath.stores.recording import RecordingStore
from unionpath.stores.wrapping import WrappingDirectory, WrappingStore

FILE, DIRECTORY = int(Kind.FILE), int(Kind.DIRECTORY)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
needs_inotify = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's")


class Unwatched(WrappingStore):
    """A store as on a network file system: nothing of it can be watched."""

    @property
    def capabilities(self) -> Capability:
        return self.inner.capabilities & ~Capability.WATCHABLE

    @property
    def notifier(self) -> None:
        return None

    def root(self) -> Directory:
        return UnwatchedDirectory(self.inner.root(), self)


class UnwatchedDirectory(WrappingDirectory):
    __slots__ = ()

    def child(self, name: str) -> Directory:
        return UnwatchedDirectory(self._inner.child(name), self._store)

    def watch(self, listener: Listener, *, contents: bool = False) -> None:
        return None


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two layers with a directory in common."""
    for layer in "ab":
        (tmp_path / layer / "d" / "e").mkdir(parents=True)
        (tmp_path / layer / "d" / f"in-{layer}").write_text(layer)
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def recorded(pair: tuple[Path, Path]) -> tuple[RecordingStore, RecordingStore]:
    first, second = (RecordingStore(LocalStore(layer), ordered=True) for layer in pair)
    return first, second


def outcome(call: Callable[[], object]) -> object:
    """Give a value, or the errno and path of an error."""
    try:
        value = call()
    except OSError as error:
        return errno.errorcode[error.errno or 0], error.filename
    return (value.st_mode, value.st_ino) if isinstance(value, os.stat_result) else value


def answers(resolver: Resolver, path: str) -> dict[str, object]:
    """Ask everything about one path."""
    return {
        "kind": outcome(lambda: resolver.kind(path)),
        "lkind": outcome(lambda: resolver.kind(path, False)),
        "stat": outcome(lambda: resolver.stat(path)),
        "lstat": outcome(lambda: resolver.stat(path, False)),
        "listing": outcome(lambda: list(resolver.listing(path).items())),
        "read": outcome(lambda: resolver.read(path)),
        "open": outcome(lambda: _all_of(resolver, path)),
        "readlink": outcome(lambda: resolver.readlink(path)),
        "realpath": outcome(lambda: resolver.realpath(path, strict=True)),
        "as far": outcome(lambda: resolver.realpath(path, strict=False)),
        "origins": outcome(lambda: resolver.origins(path)),
        "versions": outcome(lambda: resolver.versions(path)),
    }


def _all_of(resolver: Resolver, path: str) -> bytes:
    with resolver.open(path) as file:
        return file.read() or b""


class TestBothWays:
    @pytest.mark.property
    @pytest.mark.rule("L1", "L9", "S1", "N3")
    @given(oracle.stacks(layers=4), st.lists(oracle.paths, min_size=1, max_size=5))
    def test_first_touch_second_look_and_no_memory_agree(self, layers: list[Dir], paths: list[str]) -> None:
        """Whatever is remembered, the answers are the same."""
        with scratch() as base:
            sites = BY_ID["local-oci"].sites(base, layers)
            # A bound of nothing at all makes every question go the slow way.
            strict = LayerStack([site.layer() for site in sites], cache=Cache(max_entries=0))
            fixed = LayerStack([site.layer(immutable=True) for site in sites])
            with LayerStack([site.layer() for site in sites]) as stack:
                for path in (*paths, "/", "/a", "/a/b/c"):
                    once = answers(stack.resolver, path)
                    assert (path, once) == (path, answers(stack.resolver, path))
                    assert (path, once) == (path, answers(stack.resolver, path))
                    assert (path, once) == (path, answers(strict.resolver, path))
                    assert (path, once) == (path, answers(fixed.resolver, path))
                    assert (path, once) == (path, answers(fixed.resolver, path))
                stack.resolver.listing("/")
                for path in paths:
                    assert (path, answers(strict.resolver, path)) == (path, answers(stack.resolver, path))

    @pytest.mark.rule("L10")
    def test_refusals_don_t_depend_on_memory(self, pair: tuple[Path, Path]) -> None:
        """A path with NUL is ValueError, a component too long ENAMETOOLONG."""
        with LayerStack(pair) as stack:
            for _ in range(3):
                for path in ("/d/a\0b", "/\0", "d\0/x"):
                    with pytest.raises(ValueError, match="null"):
                        stack.resolver.kind(path)
                for path in ("/d/" + "x" * 256, "/" + "ü" * 128, "/d/" + "x" * 300 + "/y"):
                    with pytest.raises(OSError) as refusal:
                        stack.resolver.kind(path)
                    assert (errno.ENAMETOOLONG, path) == (refusal.value.errno, refusal.value.filename)
                assert -1 == stack.resolver.kind("/d/" + "x" * 255)

    @pytest.mark.rule("L9")
    @pytest.mark.parametrize("path", ["d/e", "/d/e", "d/../d/e", "/../d/e", "d/e/../e", "/d/e/..//./e"])
    def test_dots_and_relative_paths(
        self, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        """`.` vanishes, `..` is physical; relative union paths start at the root, wherever the process is."""
        os.mkdir(pair[0] / "cwd")
        with LayerStack(pair) as stack:
            for directory in (pair[0], pair[0] / "cwd"):
                monkeypatch.chdir(directory)
                assert "/d/e" == stack.resolver.realpath(path, strict=True)
                assert DIRECTORY == stack.resolver.kind(path)
                assert (0, 1) == stack.resolver.origins(path)
            assert [DIRECTORY] * 4 == [stack.resolver.kind(root) for root in ("", ".", "/", "..")]
            assert (
                "/" == stack.resolver.realpath("", strict=True) == stack.resolver.realpath("..", strict=False)
            )

    @pytest.mark.rule("E8")
    def test_a_chdir_changes_nothing(self, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """Relative layer paths are made absolute at construction."""
        monkeypatch.chdir(pair[0].parent)
        with LayerStack(["a", "b"]) as stack:
            monkeypatch.chdir("/")
            assert ["d"] == list(stack.resolver.listing("/"))


class TestCalls:
    """What is asked of the layers."""

    def test_a_first_touch_lists_nothing(self, recorded: tuple[RecordingStore, RecordingStore]) -> None:
        with LayerStack(map(Layer, recorded)) as stack:
            assert b"b" == stack.resolver.read("/d/in-b")
            for store in recorded:
                assert 0 == store.counts["scan"]
                assert 0 == store.counts["watch"]

    @needs_inotify
    def test_the_second_look_lists_once_and_then_nothing_is_asked(
        self, recorded: tuple[RecordingStore, RecordingStore]
    ) -> None:
        with LayerStack(map(Layer, recorded)) as stack:
            for _ in range(2):
                stack.resolver.kind("/d/in-b")
            for store in recorded:
                assert (2, 2) == (store.counts["scan"], store.counts["watch"])
                store.clear()
            for _ in range(50):
                assert FILE == stack.resolver.kind("/d/in-b")
                assert -1 == stack.resolver.kind("/d/missing")
                assert ["e", "in-a", "in-b"] == list(stack.resolver.listing("/d"))
            assert [0, 0] == [store.counts.total() for store in recorded]
            stack.resolver.stat("/d/in-b")
            assert [[], [("stat", "/d/in-b")]] == [store.calls for store in recorded]

    @needs_inotify
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_change_costs_one_question_about_one_name(
        self, recorded: tuple[RecordingStore, RecordingStore], pair: tuple[Path, Path]
    ) -> None:
        with LayerStack(map(Layer, recorded)) as stack:
            for _ in range(2):
                stack.resolver.kind("/d/x")
            (pair[1] / "d" / "x").touch()
            for store in recorded:
                store.clear()
            for _ in range(3):
                assert FILE == stack.resolver.kind("/d/x")
                assert ["e", "in-a", "in-b", "x"] == list(stack.resolver.listing("/d"))
            assert [("stat", "/d/x"), ("stat", "/d/.wh.x")] == recorded[0].calls
            assert [("stat", "/d/x")] == recorded[1].calls

    @needs_inotify
    @pytest.mark.parametrize("entries", [1, 5])
    def test_what_can_t_be_kept_is_not_listed_for_every_look(
        self, recorded: tuple[RecordingStore, RecordingStore], pair: tuple[Path, Path], entries: int
    ) -> None:
        """A directory larger than `max_entries`, alone or with those above it."""
        for number in range(5):
            (pair[0] / "d" / str(number)).touch()
        with LayerStack(map(Layer, recorded), cache=Cache(max_entries=entries)) as stack:
            for _ in range(20):
                assert FILE == stack.resolver.kind("/d/in-b")
            assert recorded[0].counts["scan"] <= 4
            assert stack.cache_info().entries <= entries

    def test_a_layer_without_the_directory_is_never_asked(
        self, recorded: tuple[RecordingStore, RecordingStore], tmp_path: Path
    ) -> None:
        (tmp_path / "c").mkdir()
        other = RecordingStore(LocalStore(tmp_path / "c"), ordered=True)
        with LayerStack([Layer(other), *map(Layer, recorded)]) as stack:
            for _ in range(2):
                stack.resolver.kind("/d/in-b")
            other.clear()
            for number in range(10):
                stack.resolver.kind(f"/d/{number}")
                stack.resolver.stat("/d/in-b")
                stack.resolver.listing("/d")
            assert [] == other.calls

    @pytest.mark.changes_lowers("to see the union follow")
    def test_immutable_layers_are_neither_polled_nor_read_again(
        self, recorded: tuple[RecordingStore, RecordingStore], pair: tuple[Path, Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        def poll() -> None:
            raise AssertionError("polled")

        monkeypatch.setattr(local._SharedNotifier, "poll", lambda _: poll())
        stack = LayerStack([Layer(store, immutable=True) for store in recorded])
        for _ in range(2):
            listed = stack.resolver.listing("/d")
            known = stack.resolver.stat("/d/in-b")
        for store in recorded:
            assert 0 == store.counts["watch"]
            store.clear()
        (pair[1] / "d" / "in-b").unlink()
        (pair[0] / "d" / "new").touch()
        assert listed == stack.resolver.listing("/d")
        assert known is stack.resolver.stat("/d/in-b")
        assert (FILE, -1) == (stack.resolver.kind("/d/in-b"), stack.resolver.kind("/d/new"))
        assert [[], []] == [store.calls for store in recorded]
        stack.refresh()
        assert (-1, FILE) == (stack.resolver.kind("/d/in-b"), stack.resolver.kind("/d/new"))

    @needs_inotify
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_stat_that_raced_with_an_event_is_not_remembered(self, pair: tuple[Path, Path]) -> None:
        """Stats of immutable layers are kept, unless a layer above got the name meanwhile."""
        top, bottom = pair

        class Late(WrappingStore):
            def before(self, method: str, parts: Parts) -> None:
                if method == "stat" and parts == ("d", "in-b") and not (top / "d/in-b").exists():
                    (top / "d/in-b").write_text("newer")
                    inotify.poll_shared()

        with LayerStack([top, Layer(Late(LocalStore(bottom)), immutable=True)]) as stack:
            for _ in range(2):
                stack.resolver.listing("/d")
            stack.resolver.stat("/d/in-b")
            assert 5 == stack.resolver.stat("/d/in-b").st_size

    def test_a_thousand_new_layers_cost_nothing_where_nothing_is(self, tmp_path: Path) -> None:
        deep = MemoryStore()
        deep.root().mkdir("d").create("f", b"x")
        with LayerStack([*(Layer(MemoryStore()) for _ in range(500)), Layer(deep)]) as stack:
            for _ in range(3):
                assert b"x" == stack.resolver.read("/d/f")
                assert (500,) == stack.resolver.origins("/d")


@pytest.mark.rule("L8")
class TestFaults:
    """A layer below the deciding one is never asked, so its faults are masked; every other is raised."""

    @contextmanager
    def stack(self, top: Dir, bottom: Dir, places: set[Parts], base: Path) -> Iterator[LayerStack]:
        upper, lower = BY_ID["local-oci"].sites(base, [top, bottom])
        source = lower.layer().store
        with LayerStack([upper.layer(), Layer(FaultyStore(source, places, errno.EIO))]) as stack:
            yield stack

    @pytest.mark.parametrize("looks", [0, 1, 2, 3], ids="looks{}".format)
    @pytest.mark.parametrize(
        "top",
        [
            Dir({"d": Dir({"x": File()}, opaque=True)}),
            Dir({"d": Dir({"x": File()})}, opaque=True),
        ],
        ids=["opaque", "opaque root"],
    )
    def test_below_an_opaque_directory(self, tmp_path: Path, top: Dir, looks: int) -> None:
        with self.stack(top, Dir({"d": Dir({"y": File()})}), {("d",), ("d", "x")}, tmp_path) as stack:
            for _ in range(looks):
                stack.resolver.listing("/")
            for _ in range(3):
                assert ["x"] == list(stack.resolver.listing("/d"))
                assert DIRECTORY == stack.resolver.kind("/d")
                assert FILE == stack.resolver.kind("/d/x")
                assert -1 == stack.resolver.kind("/d/y")
                assert (0,) == stack.resolver.origins("/d")
                assert ((0, "/d"),) == stack.resolver.versions("/d")

    @pytest.mark.parametrize("looks", [0, 1, 2, 3], ids="looks{}".format)
    def test_below_a_file_or_a_whiteout(self, tmp_path: Path, looks: int) -> None:
        top = Dir({"f": File(b"top"), "w": Whiteout()})
        with self.stack(top, Dir({"f": Dir(), "w": Dir({"x": File()})}), {("f",), ("w",)}, tmp_path) as stack:
            for _ in range(looks):
                stack.resolver.listing("/")
            for _ in range(3):
                assert b"top" == stack.resolver.read("/f")
                assert -1 == stack.resolver.kind("/w")
                assert -1 == stack.resolver.kind("/w/x")
                assert ["f"] == list(stack.resolver.listing("/"))

    def test_a_layer_that_can_t_be_listed_may_be_asked(self, tmp_path: Path) -> None:
        """Its fault concerns what only it could show."""
        top, bottom = Dir({"d": Dir({"x": File()})}), Dir({"d": Dir({"y": File()})})

        class Unlistable(WrappingStore):
            def before(self, method: str, parts: Parts) -> None:
                if method == "scan" and parts == ("d",):
                    raise OSError(errno.EIO, os.strerror(errno.EIO), "the layer's place")

        upper, lower = BY_ID["local-oci"].sites(tmp_path, [top, bottom])
        with LayerStack([upper.layer(), Layer(Unlistable(lower.layer().store), name="broken")]) as stack:
            for _ in range(4):
                assert (FILE, FILE) == (stack.resolver.kind("/d/x"), stack.resolver.kind("/d/y"))
                with pytest.raises(OSError, match="/d") as fault:
                    stack.resolver.listing("/d")
                assert (errno.EIO, "/d") == (fault.value.errno, fault.value.filename)
                assert "broken" in fault.value.__notes__[0]
                assert isinstance(fault.value.__cause__, OSError)
                assert "the layer's place" == fault.value.__cause__.filename


class TestTime:
    """`Cache(ttl=…)`: for layers that nobody watches."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [1_000.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        return now

    @pytest.mark.rule("N4")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_an_answer_holds_for_the_stated_time(self, pair: tuple[Path, Path], clock: list[float]) -> None:
        """A name made elsewhere shows up within that time, or after `refresh`."""
        layers = [Layer(Unwatched(LocalStore(layer))) for layer in pair]
        with LayerStack(layers, cache=Cache(ttl=10)) as stack:
            for _ in range(2):
                stack.resolver.listing("/d")
            (pair[1] / "d" / "new").touch()
            clock[0] += 9.9
            assert -1 == stack.resolver.kind("/d/new")
            assert "new" not in stack.resolver.listing("/d")
            clock[0] += 0.2
            assert FILE == stack.resolver.kind("/d/new")
            assert "new" in stack.resolver.listing("/d")
            (pair[1] / "d" / "new").unlink()
            assert FILE == stack.resolver.kind("/d/new")
            stack.refresh()
            assert -1 == stack.resolver.kind("/d/new")

    def test_repeats_cost_no_call(
        self, recorded: tuple[RecordingStore, RecordingStore], clock: list[float]
    ) -> None:
        with LayerStack([Layer(Unwatched(store)) for store in recorded], cache=Cache(ttl=10)) as stack:
            for _ in range(2):
                stack.resolver.listing("/d")
            for store in recorded:
                store.clear()
            for _ in range(10):
                stack.resolver.kind("/d/in-b")
                stack.resolver.kind("/d/missing")
                stack.resolver.listing("/d")
            assert [0, 0] == [store.counts.total() for store in recorded]
            clock[0] += 10
            stack.resolver.kind("/d/in-b")
            assert recorded[0].counts.total() > 0

    @needs_inotify
    @pytest.mark.changes_lowers("to see the union follow")
    def test_watched_layers_don_t_need_it(self, pair: tuple[Path, Path], clock: list[float]) -> None:
        with LayerStack(pair, cache=Cache(ttl=10)) as stack:
            for _ in range(2):
                stack.resolver.listing("/d")
            (pair[1] / "d" / "new").touch()
            assert FILE == stack.resolver.kind("/d/new")

    @needs_inotify
    @pytest.mark.changes_lowers("to see the union follow")
    def test_one_layer_that_can_t_be_watched_is_enough(
        self, pair: tuple[Path, Path], clock: list[float]
    ) -> None:
        with LayerStack([pair[0], Layer(Unwatched(LocalStore(pair[1])))], cache=Cache(ttl=10)) as stack:
            for _ in range(2):
                stack.resolver.listing("/d")
            (pair[1] / "d" / "new").touch()
            assert -1 == stack.resolver.kind("/d/new")
            clock[0] += 10
            assert FILE == stack.resolver.kind("/d/new")


class TestWithoutWatches:
    """Where changes can't be noticed, layers are asked every time."""

    @pytest.fixture(params=["no inotify", "no watches left", "all watches used", "a store without"])
    def stack(
        self, request: pytest.FixtureRequest, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[LayerStack]:
        sources: list[str | Unwatched] = [str(layer) for layer in pair]
        if request.param == "no inotify":
            monkeypatch.setattr(local, "shared_inotify", lambda: None)
        elif request.param == "a store without":
            sources = [Unwatched(LocalStore(layer)) for layer in pair]
        elif (instance := inotify.shared_inotify()) is None:
            pytest.skip("no inotify here")
        elif request.param == "no watches left":
            monkeypatch.setattr(instance, "_limit", 0)
        else:
            instance._deliver()
            monkeypatch.setattr(instance, "_limit", len(instance._watches) + 3)
        stack = LayerStack(sources)
        yield stack
        stack.close()

    @pytest.mark.rule("N4")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_every_change_is_seen(self, stack: LayerStack, pair: tuple[Path, Path]) -> None:
        """A name made elsewhere shows up at the next look."""
        ask = stack.resolver
        new = pair[1] / "d" / "e" / "new"
        for _ in range(4):
            assert -1 == ask.kind("/d/e/new")
            assert "new" not in ask.listing("/d/e")
            new.touch()
            assert FILE == ask.kind("/d/e/new")
            assert ["new"] == list(ask.listing("/d/e"))
            whiteout = pair[0] / "d" / ".wh.e"
            (pair[0] / "d" / "e").rmdir()
            whiteout.touch()
            assert -1 == ask.kind("/d/e/new")
            whiteout.unlink()
            (pair[0] / "d" / "e").mkdir()
            assert FILE == ask.kind("/d/e/new")
            new.unlink()

    def test_nothing_leaks(self, stack: LayerStack) -> None:
        for _ in range(3):
            for path in ("/", "/d", "/d/e"):
                stack.resolver.listing(path)
        assert stack.cache_info().watches <= 3

    @pytest.mark.changes_lowers("to see the union follow")
    def test_no_instance_is_as_good(self, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """`shared_inotify` gives None where the user's instances are used up."""

        class Refused(inotify.Inotify):
            def _open(self) -> int:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(inotify, "_instance", None)
        monkeypatch.setattr(inotify, "_unavailable", False)
        monkeypatch.setattr(inotify, "Inotify", Refused)
        assert inotify.shared_inotify() is None
        inotify.poll_shared()
        with LayerStack(pair) as stack:
            for _ in range(3):
                (pair[0] / "x").touch()
                assert FILE == stack.resolver.kind("/x")
                (pair[0] / "x").unlink()
                assert -1 == stack.resolver.kind("/x")


class TestInfo:
    @needs_inotify
    def test_it_counts(self, pair: tuple[Path, Path]) -> None:
        stack = LayerStack(pair)
        assert (0, 0, 0, 0, 0) == _numbers(stack)
        for _ in range(2):
            stack.resolver.kind("/d/in-a")
        assert (0, 2, 4, 2, 4) == _numbers(stack)
        for path in ("/d/in-b", "/d/missing", "/d"):
            stack.resolver.kind(path)
        stack.resolver.stat("/d/in-a")
        stack.resolver.listing("/d")
        stack.resolver.read("/d/in-a")
        assert (6, 2, 4, 2, 4) == _numbers(stack)

    def test_refresh_begins_anew(self, pair: tuple[Path, Path]) -> None:
        """Counted since the stack was made or refreshed."""
        stack = LayerStack(pair)
        for _ in range(4):
            stack.resolver.kind("/d/in-a")
        stack.refresh()
        assert (0, 0, 0, 0, 0) == _numbers(stack)

    @needs_inotify
    @pytest.mark.changes_lowers("to see the union follow")
    def test_entries_follow_changes(self, pair: tuple[Path, Path]) -> None:
        with LayerStack(pair) as stack:
            stack.resolver.listing("/d")
            for number in range(30):
                (pair[0] / "d" / f"new{number}").touch()
                stack.resolver.kind(f"/d/new{number}")
            assert 34 == stack.cache_info().entries
            for number in range(30):
                (pair[0] / "d" / f"new{number}").unlink()
            assert ["e", "in-a", "in-b"] == list(stack.resolver.listing("/d"))
            assert 4 == stack.cache_info().entries


def _numbers(stack: LayerStack) -> tuple[int, ...]:
    info = stack.cache_info()
    return info.hits, info.misses, info.entries, info.directories, info.watches


@needs_fork
@pytest.mark.rule("N4")
class TestFork:
    """A name made elsewhere shows up at the next look: parent and child are elsewhere to each other."""

    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_both_see_what_either_does(self, pair: tuple[Path, Path]) -> None:
        with LayerStack(pair) as stack:
            ask = stack.resolver
            for _ in range(2):
                ask.listing("/d")
            to_child, to_parent = os.pipe(), os.pipe()
            child = os.fork()
            if child == 0:  # pragma: no cover  # another process
                status = 1
                try:
                    status = self._child(ask, pair, to_child[0], to_parent[1])
                finally:
                    os._exit(status)
            for step in range(20):
                (pair[step % 2] / "d" / f"parent{step}").touch()
                assert FILE == ask.kind(f"/d/parent{step}")
                os.write(to_child[1], b"x")
                assert b"x" == os.read(to_parent[0], 1)
                assert FILE == ask.kind(f"/d/child{step}")
                assert -1 == ask.kind(f"/d/parent{step}")
                assert f"child{step}" in ask.listing("/d")
            assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            for fd in (*to_child, *to_parent):
                os.close(fd)

    def _child(self, ask: Resolver, pair: tuple[Path, Path], source: int, target: int) -> int:
        for step in range(20):
            os.read(source, 1)
            wrong = ask.kind(f"/d/parent{step}") != FILE or f"parent{step}" not in ask.listing("/d")
            (pair[step % 2] / "d" / f"parent{step}").unlink()
            (pair[1 - step % 2] / "d" / f"child{step}").touch()
            wrong = wrong or ask.kind(f"/d/child{step}") != FILE or ask.kind(f"/d/parent{step}") != -1
            os.write(target, b"x")
            if wrong:
                return 2 + step
        return 0

    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_child_that_only_looks_takes_no_events_away(self, pair: tuple[Path, Path]) -> None:
        with LayerStack(pair) as stack:
            for _ in range(2):
                stack.resolver.listing("/d")
            (pair[0] / "d" / "new").touch()
            child = os.fork()
            if child == 0:  # pragma: no cover  # another process
                os._exit(0 if all("new" in stack.resolver.listing("/d") for _ in range(3)) else 1)
            assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert FILE == stack.resolver.kind("/d/new")


class TestSwaps:
    """A name that changes its kind between the look-up and the question."""

    def swapping(self, pair: tuple[Path, Path], method: str) -> WrappingStore:
        top = pair[0] / "d" / "in-a"

        class Swapping(WrappingStore):
            def before(self, asked: str, parts: Parts) -> None:
                if asked == method and parts == ("d", "in-a") and not top.is_symlink():
                    top.unlink()
                    top.symlink_to("in-b")

        return Swapping(LocalStore(pair[0]))

    @pytest.mark.parametrize("looks", range(3), ids="looks{}".format)
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_link_in_the_place_of_a_file_is_followed(self, pair: tuple[Path, Path], looks: int) -> None:
        for method, ask in (
            ("read", lambda stack: stack.resolver.read("/d/in-a")),
            ("open", lambda stack: _all_of(stack.resolver, "/d/in-a")),
        ):
            with LayerStack([Layer(self.swapping(pair, method)), pair[1]]) as stack:
                for _ in range(looks):
                    stack.resolver.listing("/d")
                assert b"b" == ask(stack)
            (pair[0] / "d" / "in-a").unlink()
            (pair[0] / "d" / "in-a").write_text("a")

    @needs_inotify
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_followed_stat_never_gives_a_link(self, pair: tuple[Path, Path]) -> None:
        with LayerStack([Layer(self.swapping(pair, "stat")), pair[1]]) as stack:
            for _ in range(2):
                stack.resolver.listing("/d")
            assert stat_.S_ISREG(stack.resolver.stat("/d/in-a").st_mode)
            assert stat_.S_ISLNK(stack.resolver.stat("/d/in-a", False).st_mode)

    @needs_inotify
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_listing_lacks_no_name_that_only_changed(self, pair: tuple[Path, Path]) -> None:
        """Events for one name arrive while another is being put back."""
        touched = [0]

        class Touching(WrappingStore):
            def before(self, method: str, parts: Parts) -> None:
                if method == "stat" and parts == ("d", "in-a") and touched[0] < 5:
                    touched[0] += 1
                    _rename_and_back(pair[0] / "d" / "e")
                    inotify.poll_shared()

        with LayerStack([Layer(Touching(LocalStore(pair[0]))), pair[1]]) as stack:
            for _ in range(2):
                stack.resolver.listing("/d")
            _rename_and_back(pair[0] / "d" / "in-a")
            assert ["e", "in-a", "in-b"] == list(stack.resolver.listing("/d"))
            assert touched[0]


def _rename_and_back(path: Path) -> None:
    """Have its name told of, though nothing changes in the end."""
    path.rename(path.with_name("elsewhere"))
    path.with_name("elsewhere").rename(path)


@pytest.mark.rule("L10")
class TestDepth:
    """Depth is not limited by recursion (3 000 levels work), and costs no more than it must."""

    LEVELS = 3_000

    def test_in_memory(self) -> None:
        store = MemoryStore()
        directory = store.root()
        for _ in range(self.LEVELS):
            directory = directory.mkdir("d")
        directory.create("f", b"deep")
        directory.symlink("up", "../" * 1_000 + "x")
        with LayerStack([Layer(store), Layer(MemoryStore())]) as stack:
            deep = "/d" * self.LEVELS
            for _ in range(2):
                assert b"deep" == stack.resolver.read(f"{deep}/f")
                assert ["f", "up"] == list(stack.resolver.listing(deep))
                assert deep == stack.resolver.realpath(deep, strict=True)
                assert "/d" * 2_000 + "/x" == stack.resolver.realpath(f"{deep}/up", strict=False)
                assert f"{deep}/x/y" == stack.resolver.realpath(f"{deep}/x/y", strict=False)
                assert DIRECTORY == stack.resolver.kind(deep + "/.." * (self.LEVELS - 1))

    def test_on_disk(self) -> None:
        with scratch() as base:
            fds = [os.open(base, os.O_RDONLY)]
            try:
                self._go_down(fds)
                with LayerStack([base]) as stack:
                    deep = "/d" * self.LEVELS
                    for _ in range(3):
                        assert DIRECTORY == stack.resolver.kind(deep)
                    assert f"{deep}/x" == stack.resolver.realpath(f"{deep}/x", strict=False)
                    os.mkdir("new", dir_fd=fds[-1])
                    assert ["new"] == list(stack.resolver.listing(deep))
                    os.rmdir("new", dir_fd=fds[-1])
                    assert [] == list(stack.resolver.listing(deep))
            finally:
                for fd in fds:
                    os.close(fd)
                subprocess.run(["rm", "-r", base / "d"], check=True)  # shutil.rmtree is recursive before 3.13

    def _go_down(self, fds: list[int]) -> None:
        """Make the levels; the last of the descriptors is the deepest's."""
        for _ in range(self.LEVELS):
            os.mkdir("d", dir_fd=fds[-1])
            fds.append(os.open("d", os.O_RDONLY, dir_fd=fds[-1]))
            if len(fds) > 2:
                os.close(fds.pop(1))


class TestRealpath:
    @pytest.mark.property
    @pytest.mark.rule("S1", "L9")
    @given(oracle.folders(3, specials=False), st.lists(oracle.paths, min_size=1, max_size=6))
    def test_agrees_with_the_operating_system(self, tree: Dir, paths: list[str]) -> None:
        """Targets resolve in the merged namespace; what isn't there is text, as for `os.path.realpath`."""
        with scratch() as base:
            ours, theirs = os.path.realpath(base) + "/ours", os.path.realpath(base) + "/theirs"
            for root, prefix in ((ours, ""), (theirs, theirs)):
                os.mkdir(root)
                _make(root, tree, prefix)
            with LayerStack([ours]) as stack:
                for path in (path for path in paths if not _leaves(theirs, path)):
                    for strict in (False, True):
                        actual = _shown(lambda: stack.resolver.realpath(path, strict=strict))  # noqa: B023
                        expected = _shown(lambda: _host_realpath(theirs, path, strict))  # noqa: B023
                        assert (path, strict, expected) == (path, strict, actual)


def _make(base: str, tree: Dir, prefix: str) -> None:
    """Put a plain tree down: nothing is hidden, nothing opaque; absolute targets get a prefix."""
    for name, node in tree.entries.items():
        at, inner = os.path.join(base, name), node.node if isinstance(node, Alone) else node
        if isinstance(inner, Dir):
            os.mkdir(at)
            _make(at, inner, prefix)
        elif isinstance(inner, Link):
            os.symlink(prefix + inner.target if inner.target[0] == "/" else inner.target, at)
        elif isinstance(inner, File):
            Path(at).write_bytes(inner.data)


def _leaves(root: str, path: str) -> bool:
    """Tell whether a path goes in circles, or up from the root, where in a union it stays."""
    here, links = root, 0
    todo = path.split("/")[::-1]
    while todo:
        name = todo.pop()
        at = os.path.join(here, name)
        if name == "..":
            if here == root:
                return True
            here = os.path.dirname(here)
        elif os.path.islink(at):
            links += 1
            if links > 40:
                return True
            target = os.readlink(at)
            here = root if target[0] == "/" else here
            todo += target.removeprefix(root).split("/")[::-1]
        elif name not in ("", "."):
            here = at
    return False


def _host_realpath(root: str, path: str, strict: bool) -> str:
    if strict:  # realpath itself takes `file/..` before Python 3.14
        os.stat(root + path)
    return os.path.realpath(root + path, strict=strict).removeprefix(root) or "/"


def _shown(call: Callable[[], str]) -> str:
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
