"""What interrupts an answer in the middle: signals, exceptions in listeners, forks, faults that pass."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from faults import FaultyStore
from unionpath import Layer, LayerStack
from unionpath.resolve.index import Index
from unionpath.resolve.probing import Prober
from unionpath.stores.local import LocalStore


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in "ab"]
    for layer in made:
        (layer / "d").mkdir(parents=True)
        (layer / "d" / layer.name).touch()
    return made


def names(stack: LayerStack, path: str) -> list[str]:
    return list(stack.resolver.listing(path))


@pytest.mark.rule("N4")
@pytest.mark.changes_lowers("to see the union follow")
def test_an_exception_while_events_are_delivered_loses_none(
    layers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is interrupted (Ctrl-C) makes nobody's later answer stale."""
    stack = LayerStack(layers)
    for _ in range(3):
        assert ["a", "b"] == names(stack, "/d")
    changed = Index.changed

    def interrupted(self: Index, node: object, name: str | None) -> None:
        monkeypatch.setattr(Index, "changed", changed)
        raise KeyboardInterrupt

    monkeypatch.setattr(Index, "changed", interrupted)
    (layers[0] / "d/new").touch()
    (layers[1] / "d/b").unlink()
    with pytest.raises(KeyboardInterrupt):
        stack.resolver.kind("/d/a")
    assert 0 == stack.resolver.kind("/d/new")
    assert -1 == stack.resolver.kind("/d/b")
    assert ["a", "new"] == names(stack, "/d")


@pytest.fixture
def alarms() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarms")
@pytest.mark.changes_lowers("to see the union follow")
def test_a_signal_handler_may_use_the_stack_it_interrupts(layers: list[Path]) -> None:
    """No deadlock, no corruption: the handler's questions and the interrupted ones are all answered."""
    stack = LayerStack(layers)
    calls = 0

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal calls
        calls += 1
        stack.resolver.refresh() if calls % 3 else stack.resolver.listing("/d")

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for turn in range(300):
        assert {"a", "b"} <= set(names(stack, "/d"))
        (layers[0] / "d" / f"n{turn % 7}").touch()
        assert 0 == stack.resolver.kind(f"/d/n{turn % 7}")
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert calls > 10
    stack.refresh()
    assert sum(len(each.names) for each in stack.resolver._index.nodes.values()) == stack.cache_info().entries


@pytest.mark.parametrize("root", ["/", "/d"])
def test_children_of_a_fork_list_whole_directories(tmp_path: Path, root: str) -> None:
    """A descriptor's read position is shared with children; their listings must not be."""
    (tmp_path / "d").mkdir()
    for number in range(3000):
        (tmp_path / "d" / f"name{number}").touch()
    stack = LayerStack([Layer(tmp_path, root=root)])
    path = "/d" if root == "/" else "/"
    children: list[int] = []
    for _ in range(6):
        child = os.fork()
        if not child:
            os._exit(0 if len(names(stack, path)) == 3000 else 1)
        children.append(child)
    assert [0] * 6 == [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@pytest.mark.rule("L8")
def test_a_skipped_fault_is_not_remembered(layers: list[Path]) -> None:
    """With on_layer_error="skip", a layer is back at the first look after its fault is over."""
    faulty = FaultyStore(LocalStore(layers[1]), {("d",)}, errno.EIO)
    stack = LayerStack([layers[0], Layer(faulty)], on_layer_error="skip")
    for _ in range(3):
        assert ["a"] == names(stack, "/d")
    faulty._places.clear()
    assert ["a", "b"] == names(stack, "/d")


@pytest.mark.rule("E9")
@pytest.mark.changes_lowers("to see the union follow")
def test_a_replaced_layer_is_noticed_at_refresh(layers: list[Path]) -> None:
    """What took the place of a layer's directory is not the layer."""
    stack = LayerStack(layers)
    assert ["d"] == names(stack, "/")
    layers[0].rename(layers[0].with_name("old"))
    layers[0].mkdir()
    stack.refresh()
    with pytest.raises(OSError, match="replaced") as caught:
        names(stack, "/")
    assert errno.ESTALE == caught.value.errno


@pytest.mark.rule("E9", "L8")
@pytest.mark.changes_lowers("to see the union follow")
def test_a_layer_that_is_gone_is_a_fault_and_named(layers: list[Path]) -> None:
    """The root of a layer is never just absent: the union would be without its names, silently."""
    stack = LayerStack(layers)
    shutil.rmtree(layers[1])
    with pytest.raises(OSError, match="Stale") as caught:
        names(stack, "/")
    assert errno.ESTALE == caught.value.errno
    assert str(layers[1]) in "".join(caught.value.__notes__)


def test_a_closed_stack_gives_its_watches_back_at_once(layers: list[Path]) -> None:
    """Watches are a quota of the user, not of the process."""
    stack = LayerStack(layers)
    before = watches()
    for _ in range(3):
        names(stack, "/d")
    assert before < watches()
    stack.close()
    assert before >= watches()


def watches() -> int:
    """Count the watches of this process as the kernel does."""
    count = 0
    for fd in os.listdir("/proc/self/fdinfo"):
        try:
            count += Path("/proc/self/fdinfo", fd).read_text().count("inotify wd:")
        except OSError:
            continue
    return count


@pytest.mark.rule("N4", "M8")
@pytest.mark.changes_lowers("to see the union follow")
def test_an_opaque_root_that_ends_while_it_is_looked_at(
    layers: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ended the search for a directory's layers must be watched before the answer is kept."""
    marker = layers[0] / ".wh..wh..opq"
    marker.touch()
    (layers[1] / "below").touch()
    roots = Prober.roots

    def seen_too_early(self: Prober, *, to_list: bool) -> object:
        found = roots(self, to_list=to_list)
        if not to_list:
            marker.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Prober, "roots", seen_too_early)
    stack = LayerStack(layers)
    for _ in range(3):
        stack.resolver.kind("/d/a")
    assert ["below", "d"] == names(stack, "/")
