"""The process's inotify instance: what is delivered, when, to whom, and what is forgotten."""

from __future__ import annotations

import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unionpath.stores import inotify
from unionpath.stores.inotify import Inotify, InotifyWatch
from unionpath.stores.local import LocalStore

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is Linux's"),
    pytest.mark.rule("N4"),
]


class Ear:
    def __init__(self) -> None:
        self.heard: list[str | None] = []

    def changed(self, name: str | None) -> None:
        self.heard.append(name)

    altered = changed


class Fixture:
    """An instance of its own and directories to watch."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.instance = Inotify()
        self._fds: list[int] = []

    def watch(self, name: str, *, contents: bool = False) -> tuple[Ear, InotifyWatch]:
        (self.base / name).mkdir(exist_ok=True)
        ear = Ear()
        fd = os.open(self.base / name, os.O_RDONLY)
        self._fds.append(fd)
        watch = self.instance.watch(fd, ear, contents)
        assert watch is not None
        return ear, watch

    @property
    def watched(self) -> int:
        """How many directories the kernel watches."""
        info = Path(f"/proc/self/fdinfo/{self.instance._fd}").read_text()
        return info.count("inotify wd")

    def close(self) -> None:
        self.instance.close()
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Fixture]:
    made = Fixture(tmp_path)
    yield made
    made.close()


def event(wd: int, mask: int, name: bytes = b"") -> bytes:
    padded = name.ljust(-(-len(name) // 16) * 16, b"\0")
    return struct.pack("iIII", wd, mask, 0, len(padded)) + padded


class TestDelivery:
    @pytest.mark.parametrize(
        ("change", "names"),
        [
            (lambda d: (d / "f").touch(), {"f"}),
            (lambda d: (d / "old").unlink(), {"old"}),
            (lambda d: (d / "old").rename(d / "new"), {"old", "new"}),
            (lambda d: (d / "old").rename(d.parent / "out"), {"old"}),
            (lambda d: (d / "old").chmod(0o600), {"old"}),
            (lambda d: (d / "sub").mkdir(), {"sub"}),
            (lambda d: os.utime(d / "old"), {"old"}),
            (lambda d: d.chmod(0o700), {None}),
            (lambda d: d.rename(d.parent / "moved"), {None}),
            (lambda d: (d / "old").write_text("more"), set()),
            (lambda d: (d / "old").read_text(), set()),
            (lambda d: (d / b"\xff".decode(errors="surrogateescape")).touch(), {"\udcff"}),
            (lambda d: (d / ("x" * 255)).touch(), {"x" * 255}),
        ],
    )
    def test_what_is_told(
        self, here: Fixture, change: Callable[[Path], object], names: set[str | None]
    ) -> None:
        (here.base / "d").mkdir()
        (here.base / "d" / "old").touch()
        ear, _ = here.watch("d")
        change(here.base / "d")
        here.instance.poll()
        assert names == set(ear.heard)

    def test_contents_where_they_are_asked_for(self, here: Fixture) -> None:
        """One inode has one watch: whoever asks for more doesn't take from the others."""
        (here.base / "d").mkdir()
        (here.base / "d" / "f").touch()
        ear, _ = here.watch("d", contents=True)
        here.watch("d")
        (here.base / "d" / "f").write_text("more")
        here.instance.poll()
        assert {"f"} == set(ear.heard)
        assert 1 == here.watched

    def test_a_removed_directory(self, here: Fixture) -> None:
        (here.base / "d").mkdir()
        ear = Ear()
        fd = os.open(here.base / "d", os.O_RDONLY)
        here.instance.watch(fd, ear, False)
        os.close(fd)
        (here.base / "d").rmdir()
        here.instance.poll()
        assert {None} == set(ear.heard)
        assert 0 == here.watched
        assert {} == here.instance._watches

    def test_only_what_happened_in_it(self, here: Fixture) -> None:
        one, _ = here.watch("one")
        other, _ = here.watch("other")
        (here.base / "one" / "f").touch()
        here.instance.poll()
        assert ({"f"}, []) == (set(one.heard), other.heard)

    def test_many_events_at_once(self, here: Fixture) -> None:
        ear, _ = here.watch("d")
        for number in range(3_000):
            (here.base / "d" / f"{number:0200}").touch()
        here.instance.poll()
        assert 3_000 == len(set(ear.heard))

    def test_two_threads_that_poll_both_wait_for_delivery(self, here: Fixture) -> None:
        """Neither returns before what was complete before its call is delivered, whoever delivers it."""
        heard: set[str | None] = set()

        class Slow:
            def changed(self, name: str | None) -> None:
                time.sleep(0.0005)
                heard.add(name)

            altered = changed

        (here.base / "d").mkdir()
        fd = os.open(here.base / "d", os.O_RDONLY)
        here.instance.watch(fd, Slow(), False)
        missed: list[str] = []

        def change(thread: int) -> None:
            for number in range(60):
                name = f"{thread}-{number}"
                os.mkdir(name, dir_fd=fd)
                here.instance.poll()
                if name not in heard:
                    missed.append(name)

        threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.close(fd)
        assert [] == missed
        assert 240 == len(heard)

    def test_a_listener_may_close_and_watch_while_it_is_told(self, here: Fixture) -> None:
        ear, watch = here.watch("d")
        made: list[InotifyWatch] = []

        class Busy:
            def changed(self, name: str | None) -> None:
                watch.close()
                made.append(here.watch("other")[1])

            altered = changed

        fd = os.open(here.base / "d", os.O_RDONLY)
        here.instance.watch(fd, Busy(), False)
        os.close(fd)
        (here.base / "d" / "f").mkdir()
        here.instance.poll()
        assert 1 == len(made)
        (here.base / "d" / "g").mkdir()
        here.instance.poll()
        assert ["f"] == ear.heard


class TestOverflow:
    def feed(self, here: Fixture, monkeypatch: pytest.MonkeyPatch, *data: bytes) -> None:
        queue = [*data, b""]
        monkeypatch.setattr(here.instance, "_read", lambda: queue.pop(0))
        here.instance._deliver()

    def test_it_concerns_everybody(self, here: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the kernel drops events, nothing that is remembered may be believed."""
        ears = [here.watch(name)[0] for name in ("a", "b", "b")]
        self.feed(here, monkeypatch, event(-1, inotify.IN_Q_OVERFLOW))
        assert [[None]] * 3 == [ear.heard for ear in ears]

    def test_what_comes_before_and_after_counts(self, here: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
        ear, watch = here.watch("a")
        created = event(watch.wd, inotify.IN_CREATE, b"f")
        self.feed(here, monkeypatch, created + event(-1, inotify.IN_Q_OVERFLOW) + created)
        assert ["f", None, "f"] == ear.heard

    def test_a_full_buffer_is_not_the_end(self, here: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
        ear, watch = here.watch("a")
        created = event(watch.wd, inotify.IN_CREATE, b"f")
        many = inotify._READ_SIZE // len(created)
        self.feed(here, monkeypatch, created * many, created)
        assert ["f"] * (many + 1) == ear.heard

    def test_a_real_one(self, here: Fixture) -> None:
        limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        if limit > 40_000:
            pytest.skip("the queue is too long to fill it")
        ear, _ = here.watch("d")
        fd = os.open(here.base / "d", os.O_RDONLY)
        for _ in range(limit // 2 + 2):
            os.mkdir("x", dir_fd=fd)
            os.rmdir("x", dir_fd=fd)
        os.close(fd)
        here.instance.poll()
        assert None in ear.heard
        (here.base / "d" / "after").touch()
        here.instance.poll()
        assert "after" in ear.heard

    def test_a_stack_forgets_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from unionpath import LayerStack

        (tmp_path / "d").mkdir()
        with LayerStack([tmp_path]) as stack:
            for _ in range(2):
                stack.resolver.listing("/d")
            instance = inotify.shared_inotify()
            assert instance is not None
            instance._tell_all()
            assert 0 == stack.cache_info().directories
            assert [] == list(stack.resolver.listing("/d"))

    def test_unmounting_and_being_ignored_end_a_watch(
        self, here: Fixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for mask in (inotify.IN_UNMOUNT, inotify.IN_IGNORED):
            ear, watch = here.watch("a")
            self.feed(here, monkeypatch, event(watch.wd, mask))
            assert [None] == ear.heard
            assert {} == here.instance._watches
            monkeypatch.undo()

    def test_events_of_a_forgotten_watch_are_nobodys(
        self, here: Fixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ear, _ = here.watch("a")
        self.feed(here, monkeypatch, event(12_345, inotify.IN_CREATE, b"f"))
        assert [] == ear.heard


class TestClosing:
    def test_a_closed_watch_hears_nothing(self, here: Fixture) -> None:
        ear, watch = here.watch("d")
        (here.base / "d" / "f").touch()
        watch.close()
        watch.close()
        here.instance.poll()
        assert [] == ear.heard

    def test_the_kernels_goes_with_the_last_one(self, here: Fixture) -> None:
        first, second = here.watch("d")[1], here.watch("d")[1]
        assert 1 == here.watched
        first.close()
        (here.base / "d" / "f").touch()
        here.instance.poll()
        assert 1 == here.watched
        second.close()
        (here.base / "d" / "g").touch()
        here.instance.poll()
        assert 0 == here.watched
        assert {} == here.instance._watches

    def test_the_next_watch_takes_them_out(self, here: Fixture) -> None:
        for number in range(50):
            here.watch(f"d{number}")[1].close()
        assert here.watched <= 1

    def test_a_directory_can_be_watched_again(self, here: Fixture) -> None:
        here.watch("d")[1].close()
        ear, _ = here.watch("d")
        (here.base / "d" / "f").touch()
        here.instance.poll()
        assert {"f"} == set(ear.heard)


class TestRefusals:
    def test_no_more_than_its_share(self, here: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(here.instance, "_limit", 2)
        here.watch("a")
        last = here.watch("b")[1]
        fd = os.open(here.base, os.O_RDONLY)
        assert here.instance.watch(fd, Ear(), False) is None
        last.close()
        assert here.instance.watch(fd, Ear(), False) is not None
        os.close(fd)

    def test_the_share_is_half(self) -> None:
        limit = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
        assert limit // 2 == inotify._watch_limit()

    def test_only_directories(self, here: Fixture) -> None:
        (here.base / "f").touch()
        fd = os.open(here.base / "f", os.O_RDONLY)
        assert here.instance.watch(fd, Ear(), False) is None
        os.close(fd)

    def test_only_where_every_change_is_this_machines(self, here: Fixture) -> None:
        """/proc changes without an event."""
        fd = os.open("/proc", os.O_RDONLY)
        assert here.instance.watch(fd, Ear(), False) is None
        os.close(fd)
        assert LocalStore("/proc").root().watch(Ear()) is None


class TestShared:
    def test_there_is_one(self) -> None:
        assert inotify.shared_inotify() is inotify.shared_inotify()

    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
    def test_a_child_has_its_own(self, tmp_path: Path) -> None:
        """Reading the parent's queue would take its events away."""
        instance = inotify.shared_inotify()
        assert instance is not None
        root = LocalStore(tmp_path).root()
        ear = Ear()
        watch = root.watch(ear)
        assert watch is not None
        (tmp_path / "f").touch()
        child = os.fork()
        if child == 0:  # pragma: no cover  # another process
            inotify.poll_shared()
            mine = Ear()
            root.watch(mine)
            other = inotify.shared_inotify()
            (tmp_path / "g").touch()
            inotify.poll_shared()
            fine = other is not instance and [] == ear.heard and {"g"} == set(mine.heard)
            os._exit(0 if fine else 1)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        inotify.poll_shared()
        assert {"f", "g"} == set(ear.heard)
        watch.close()
