"""Several stacks over one upper: in one process, in several, with caches, closing while others write."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from places import Place, before, die, in_child, while_making
from unionpath import Cache, Layer, LayerStack, UnionPath
from unionpath.mutate.work import PRIVATE
from unionpath.stores import local
from unionpath.stores.local import LocalDirectory


@pytest.mark.rule("E3")
def test_lowers_are_compared_at_the_first_change_too(place: Place) -> None:
    """Two stacks over different lowers, both made before either wrote: only one of them writes."""
    place.fill({"a": "1"})
    place.fill({"a": "2"}, place.directory / "other")
    first, second = place.stack(), place.stack(place.directory / "other")
    (first / "a").unlink()
    with pytest.raises((OSError, ValueError)):
        (second / "b").write_text("x")
    assert not (place.upper / "b").exists()
    (first / "c").touch()


@pytest.mark.rule("E3")
def test_where_a_lower_is_grafted_in_is_remembered(place: Place) -> None:
    """The whiteouts of an upper mean other names once its lower's tree begins elsewhere."""
    place.fill({"f": "1"})
    with place.stack(Layer(place.lower, at="/one")) as stack:
        (stack / "one/f").unlink()
    with pytest.raises(ValueError, match="other lowers"):
        place.stack(Layer(place.lower, at="/two"))


@pytest.mark.rule("E7")
def test_an_older_stack_does_not_hide_that_a_volatile_writer_died(place: Place) -> None:
    """What a volatile writer left when it died is for `adopt=True` to clear, and for nobody else."""
    place.fill({"a": "1"})
    older = place.stack(durability="auto")

    def write_and_die() -> None:
        (place.stack() / "x").touch()
        die()

    assert 0 != in_child(write_and_die)
    try:
        (older / "z").touch()
    except OSError:
        pass  # it may refuse as well
    with pytest.raises(ValueError, match="adopt=True"):
        place.stack()


def test_closing_while_others_copy(each_place: Place) -> None:
    """Each file gets the bytes it is to have, whatever ends a session in the meantime."""
    stack = each_place.stack()
    sources = {each_place.directory / f"h{key}": bytes([65 + key]) * 1_000_000 for key in range(3)}
    for at, content in sources.items():
        at.write_bytes(content)
    over, wrong = threading.Event(), list[object]()

    def close() -> None:
        while not over.is_set():
            stack.close()

    def copy(source: Path) -> None:
        for number in range(4):
            try:
                target = stack / f"{source.name}-{number}"
                target._copy_from(source)
                if target.read_bytes() != sources[source]:
                    wrong.append(target)
            except BaseException as error:  # noqa: BLE001  # none is right here
                wrong.append(error)

    closer = threading.Thread(target=close)
    copiers = [threading.Thread(target=copy, args=(source,)) for source in sources]
    closer.start()
    for copier in copiers:
        copier.start()
    for copier in copiers:
        copier.join()
    over.set()
    closer.join()
    assert [] == wrong


def test_closing_while_others_write(each_place: Place) -> None:
    """No operation fails because another thread closes the stack, and what was done shows."""
    each_place.fill({f"{kind}{number}/f": "x" for kind in "ab" for number in range(25)})
    stack = each_place.stack()
    over, wrong = threading.Event(), list[object]()

    def close() -> None:
        while not over.is_set():
            stack.close()

    def work(kind: str) -> None:
        for number in range(25):
            try:
                (stack / f"{kind}{number}").rmtree()
                (stack / f"{kind}{number}").mkdir()
                (stack / f"{kind}{number}/f").write_text("new")
            except BaseException as error:  # noqa: BLE001  # none is right here
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(kind,)) for kind in "ab"]
    closer = threading.Thread(target=close)
    closer.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    closer.join()
    assert [] == wrong
    assert {"new"} == {(stack / f"{kind}{number}/f").read_text() for kind in "ab" for number in range(25)}


class TestUnwatched:
    """Layers that no watch tells of, in stacks that remember for a minute what they saw."""

    @pytest.fixture(params=["local", "fsspec"])
    def stacks(
        self, request: pytest.FixtureRequest, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[UnionPath, UnionPath]:
        monkeypatch.setattr(local, "shared_inotify", lambda: None)
        place.fill({"q": "low", "d/f": "low"})
        upper = place.layer()
        if request.param == "fsspec":
            upper = Layer(place.memory_url())
        cache = Cache(ttl=60)
        return place.stack(upper=upper, cache=cache).root, place.stack(upper=upper, cache=cache).root

    @pytest.mark.rule("D3", "N4")
    def test_rmdir_looks_itself(self, stacks: tuple[UnionPath, UnionPath]) -> None:
        """A directory in which another writer made a file isn't empty, whatever a cache says."""
        mine, other = stacks
        (mine / "e").mkdir()
        (mine / "e/k").touch()
        (mine / "e/k").unlink()
        for _ in range(3):
            assert [] == [*(mine / "e").iterdir()]
        (other / "e/new").write_text("of another writer")
        with pytest.raises(OSError, match="not empty"):
            (mine / "e").rmdir()
        assert "of another writer" == (other / "e/new").read_text()

    @pytest.mark.rule("N4")
    def test_changes_are_made_to_what_is_there(self, stacks: tuple[UnionPath, UnionPath]) -> None:
        """A file that another stack made since is written, not made a second time."""
        mine, other = stacks
        (mine / "e").mkdir()
        for _ in range(3):
            assert [] == [*(mine / "e").iterdir()]
            assert not (mine / "e/new").exists()
        (other / "e/new").write_text("other's")
        (mine / "e/new").write_text("mine")
        assert "mine" == (other / "e/new").read_text()

    def test_a_directory_that_moved_is_gone(self, stacks: tuple[UnionPath, UnionPath]) -> None:
        """What is written lands under the name it was written to, or nowhere."""
        mine, other = stacks
        (mine / "e").mkdir()
        (mine / "e/u").write_text("u")
        for _ in range(3):
            assert ["/e/u"] == [str(path) for path in (mine / "e").iterdir()]
        (other / "e").rename("/moved")
        with pytest.raises(FileNotFoundError):
            (mine / "e/new").write_text("mine")
        assert ["/moved/u"] == [str(path) for path in (other / "moved").iterdir()]


class TestOneDoor:
    """Whatever work area a stack has and by whatever path it knows the upper: one writer at a time."""

    @staticmethod
    def other(how: str, place: Place) -> LayerStack:
        (place.directory / "work").mkdir()
        (place.directory / "link").symlink_to(place.upper)
        if how == "another work area":
            return place.stack(upper=place.layer(workdir=place.directory / "work"))
        if how == "a link":
            return place.stack(upper=place.layer(place.directory / "link"))
        return place.stack()

    @pytest.mark.parametrize("how", ["another work area", "a link", "the same"])
    def test_threads(self, place: Place, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
        """A second stack of the process waits for the first."""
        stack = place.stack()
        other = self.other(how, place)
        (other / "y").touch()
        writer = threading.Thread(target=(other / "z").touch)
        waited = []

        def meanwhile() -> None:
            writer.start()
            writer.join(0.1)
            waited.append(writer.is_alive())

        while_making(monkeypatch, "held", meanwhile)
        (stack / "held").mkdir()
        writer.join()
        assert [True] == waited
        assert (stack / "z").exists()

    @pytest.mark.parametrize("how", ["another work area", "a link"])
    def test_processes(self, place: Place, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
        """A second process waits for the first."""
        stack = place.stack()
        upper = self.other(how, place).upper
        (stack / "x").touch()
        reading, writing = os.pipe()
        children: list[threading.Thread] = []
        waited = []

        def work() -> None:
            fresh = LayerStack([place.lower], upper=upper)
            os.write(writing, b"1")
            (fresh / "z").touch()

        def meanwhile() -> None:
            child = threading.Thread(target=in_child, args=(work,))
            child.start()
            children.append(child)
            os.read(reading, 1)
            child.join(0.1)
            waited.append(not (place.upper / "z").exists())

        while_making(monkeypatch, "held", meanwhile)
        (stack / "held").mkdir()
        children[0].join()
        os.close(reading)
        os.close(writing)
        assert [True] == waited
        assert (stack / "z").exists()


def test_a_finalizer_of_one_stack_inside_an_operation_of_another(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one stack's operation has another do, on the same thread, doesn't wait for itself."""
    place.fill({"a": "1"})
    first, second = place.stack(), place.stack()
    (first / "x").touch()
    (second / "y").touch()

    def work() -> None:
        with (second / "a").open("ab") as dirty:
            dirty.write(b"2")
            before(monkeypatch, "create", lambda *_: dirty.close())
            (first / "new").write_text("n")
        assert b"12" == (first / "a").read_bytes()
        assert "n" == (second / "new").read_text()

    assert 0 == in_child(work, seconds=5)


def test_a_fork_while_another_thread_writes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child whose parent was writing at that instant waits its turn, and then writes."""
    stack = place.stack()
    (stack / "x").touch()
    inside, go = threading.Event(), threading.Event()

    def meanwhile() -> None:
        inside.set()
        go.wait(5)

    while_making(monkeypatch, "held", meanwhile)
    holder = threading.Thread(target=(stack / "held").mkdir)
    holder.start()
    assert inside.wait(5)
    threading.Timer(0.1, go.set).start()
    assert 0 == in_child((stack / "child").touch, seconds=5)
    assert go.is_set()
    holder.join()
    (stack / "y").touch()
    assert {"x", "y", "child", "held"} == {path.name for path in stack.root.iterdir()}


class TestWorkDirectories:
    @pytest.mark.rule("E3", "C3")
    @pytest.mark.parametrize("where", ["lower", "lower/d", "upper", "upper/d"])
    def test_in_a_layer_they_are_refused(self, place: Place, where: str) -> None:
        """A work area inside a layer would show in the union, or change a lower."""
        place.fill({"d/": ""})
        place.fill({"d/": ""}, place.upper)
        with pytest.raises(ValueError, match="work"):
            place.stack(upper=place.layer(workdir=place.directory / where))

    @pytest.mark.rule("E3")
    def test_two_uppers_may_share_one(self, place: Place) -> None:
        """Each upper remembers its own lowers there."""
        work = place.directory / "work"
        work.mkdir()
        place.fill({"a": "1"})
        for name in ("other lower", "other upper"):
            (place.directory / name).mkdir()

        def mine() -> LayerStack:
            return place.stack(upper=place.layer(workdir=work))

        def other() -> LayerStack:
            return place.stack(
                place.directory / "other lower",
                upper=place.layer(place.directory / "other upper", workdir=work),
            )

        for make in (mine, other, mine, other):
            with make() as stack:
                (stack / "new").write_text("x")

    @pytest.mark.parametrize("what", ["stage", "lowers"])
    def test_what_is_gone_from_the_area_is_made_anew(self, each_place: Place, what: str) -> None:
        """A living writer goes on when someone tidies up beneath it."""
        each_place.fill({"d/f": "low", "g": "low"})
        stack = each_place.stack()
        (stack / "warm").touch()
        for found in (
            *each_place.upper.glob(f"{PRIVATE}/{what}"),
            *each_place.directory.glob(f".upper.unionpath/unionpath/{what}"),
        ):
            found.rename(each_place.directory / "away")
        (stack / "g").unlink()
        (stack / "d").rename("/e")
        assert ["/e", "/warm"] == sorted(map(str, stack.root.iterdir()))

    @pytest.mark.rule("E5")
    @pytest.mark.parametrize("what", ["file", "link", "fifo"])
    def test_what_is_no_session_hinders_none(self, place: Place, what: str) -> None:
        """What an editor or a backup left among the sessions keeps nobody from writing, nor is followed."""
        with place.stack() as stack:
            (stack / "a").touch()
        left = place.upper / PRIVATE / "stage" / "left"
        place.fill({"outside/x": "x"}, place.directory)
        if what == "file":
            left.touch()
        elif what == "link":
            left.symlink_to(place.directory / "outside")
        else:
            os.mkfifo(left)
        with place.stack() as stack:
            (stack / "b").touch()
        assert {"a", "b"} == {path.name for path in place.stack().root.iterdir()}
        assert (place.directory / "outside/x").exists()


class TestListings:
    """A listing taken while another writer is at work shows no name of a lower that is hidden all along."""

    @pytest.mark.rule("N3")
    @pytest.mark.parametrize("turn", ["made", "removed"])
    def test_the_lowers_file_never_shows(
        self, each_place: Place, monkeypatch: pytest.MonkeyPatch, turn: str
    ) -> None:
        """The upper's file is deleted or made anew right after its directory was read."""
        each_place.fill({"d/a": "low", "d/b": "low"})
        writing, reading = each_place.stack(), each_place.stack()
        (writing / "d/a").write_text("up")
        if turn == "made":
            (writing / "d/a").unlink()
        change: Callable[[], object] = (
            (writing / "d/a").unlink if turn == "removed" else lambda: (writing / "d/a").write_text("up")
        )
        _after_first_scan_of(monkeypatch, each_place.upper / "d", change)
        shown = {path.name: path.info for path in (reading / "d").iterdir()}
        assert "b" in shown
        found = reading.resolver.listing("/d")
        assert ("a" in found) == (turn == "made")
        for name in shown:
            assert name == "b" or (reading / "d" / name).layer == reading.upper or turn == "removed"


def _after_first_scan_of(patch: pytest.MonkeyPatch, directory: Path, change: Callable[[], object]) -> None:
    real = LocalDirectory.scan
    done = [False]

    def scan(self: LocalDirectory, tags: object) -> dict[str, int]:
        found = real(self, tags)  # type: ignore[arg-type]  # handed on
        if not done[0] and self.place() == str(directory):
            done[0] = True
            change()
        return found

    patch.setattr(LocalDirectory, "scan", scan)


def test_handles_of_stacks_that_come_and_go(place: Place) -> None:
    """Twenty stacks over one upper append to one file in threads; nothing is lost and nothing is left."""
    stacks = [place.stack() for _ in range(8)]

    def append(number: int) -> None:
        for line in range(6):
            with (stacks[number] / "log").open("ab", 0) as log:
                log.write(f"{number}-{line}\n".encode())

    threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stack in stacks:
        stack.close()
    assert 48 == len((place.upper / "log").read_text().split())
    assert [] == os.listdir(place.upper / PRIVATE / "stage")
