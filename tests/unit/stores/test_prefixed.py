"""Directories that are made up above a tree, and trees that begin at a directory."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from unionpath.model.entry import Kind
from unionpath.model.store import Capability, Directory, Store
from unionpath.model.writable import WritableDirectory, WritableStore
from unionpath.stores.local import LocalStore
from unionpath.stores.memory import MemoryStore
from unionpath.stores.prefixed import PrefixedStore, SubtreeStore
from unionpath.stores.readonly import ReadOnlyStore
from unionpath.stores.recording import RecordingStore

KINDS = tuple(Kind)


def errno_of(action: Callable[..., object], *arguments: object) -> int | None:
    with pytest.raises(OSError) as caught:
        action(*arguments)
    return caught.value.errno


def small_tree() -> MemoryStore:
    store = MemoryStore()
    store.root().chmod(None, 0o700)
    store.root().create("f", b"f")
    sub = store.root().mkdir("sub")
    sub.mkdir("deep").create("g", b"g")
    sub.create("file")
    store.root().symlink("link", "sub")
    sub.symlink("link", "deep")
    return store


def test_made_up_directories_lead_to_the_tree() -> None:
    store = PrefixedStore(small_tree(), ("x", "y"))
    root = store.root()
    assert ((), {"x": Kind.DIRECTORY}) == (root.parts, root.scan(KINDS))
    x = root.child("x")
    assert (("x",), {"y": Kind.DIRECTORY}) == (x.parts, x.scan(KINDS))
    y = x.child("y")
    assert (("x", "y"), b"f") == (y.parts, y.read("f"))
    assert ("x", "y", "sub") == y.child("sub").parts


def test_made_up_directories_have_stable_stats() -> None:
    store = small_tree()
    root = PrefixedStore(store, ("x", "y")).root()
    again = PrefixedStore(store, ("x", "y")).root()
    found = root.child("x").status()
    assert found == again.child("x").status() == root.stat("x")
    assert (0o40755, 0, 3) == (found.st_mode, found.st_mtime_ns, found.st_nlink)
    numbers = {(s.st_dev, s.st_ino) for s in (root.status(), found, root.child("x").stat("y"))}
    assert 3 == len(numbers)
    assert 0o700 == stat.S_IMODE(root.child("x").stat("y").st_mode)


def test_made_up_directories_refuse_like_directories() -> None:
    root = PrefixedStore(small_tree(), ("x",)).root()
    refusals = {
        "x": [errno.EISDIR, errno.EISDIR, errno.EINVAL],
        "z": [errno.ENOENT] * 3,
        "z" * 256: [errno.ENAMETOOLONG] * 3,
    }
    for name, expected in refusals.items():
        assert expected == [errno_of(ask, name) for ask in (root.open, root.read, root.readlink)]
    assert errno.ENOENT == errno_of(root.child, "z")
    assert errno.ENOENT == errno_of(root.stat, "z")
    assert (None, []) == (root.getxattr(None, "user.x"), root.listxattr(None))


def test_attributes_of_the_trees_root_are_seen_from_above() -> None:
    store = small_tree()
    store.root().setxattr(None, "user.x", b"1")
    root = PrefixedStore(store, ("x",)).root()
    assert (b"1", ["user.x"]) == (root.getxattr("x", "user.x"), root.listxattr("x"))


class Hearer:
    def __init__(self) -> None:
        self.heard: list[str | None] = []

    def changed(self, name: str | None) -> None:
        self.heard.append(name)

    altered = changed


def test_the_directory_above_hears_of_the_trees_root() -> None:
    store = small_tree()
    root = PrefixedStore(store, ("x", "y")).root()
    top, above, inside = Hearer(), Hearer(), Hearer()
    for directory, hearer in ((root, top), (root.child("x"), above), (root.child("x").child("y"), inside)):
        watch = directory.watch(hearer)
        assert watch is not None
    store.root().create("new")
    store.root().chmod(None, 0o755)
    assert ([], ["y"], ["new", None]) == (top.heard, above.heard, inside.heard)


def test_a_prefix_that_no_store_can_hold() -> None:
    assert errno.ENAMETOOLONG == errno_of(PrefixedStore, MemoryStore(), ("n" * 256,))


def test_a_subtree_begins_at_a_directory() -> None:
    store = small_tree()
    subtree = SubtreeStore(store, ("sub",))
    assert {"deep", "file", "link"} == subtree.root().scan(KINDS).keys()
    assert ((), ("deep",)) == (subtree.root().parts, subtree.root().child("deep").parts)
    assert subtree.place == store.root().child("sub").place()


def test_a_subtree_that_was_replaced_is_estale(tmp_path: Path) -> None:
    """What stands there now was never asked for, as with a layer's own root."""
    (tmp_path / "above" / "sub").mkdir(parents=True)
    memory = MemoryStore()
    memory.root().mkdir("above").mkdir("sub").create("mine")
    local_subtree = SubtreeStore(LocalStore(tmp_path), ("above", "sub"))
    subtree = SubtreeStore(memory, ("above", "sub"))
    memory.root().rename("above", memory.root(), "aside")
    (tmp_path / "above").rename(tmp_path / "aside")
    for store in (local_subtree, subtree):
        assert errno.ENOENT == errno_of(store.root)
    memory.root().mkdir("above").mkdir("sub").create("other")
    (tmp_path / "above" / "sub").mkdir(parents=True)
    for store in (local_subtree, subtree):
        with pytest.raises(OSError, match="was replaced; make a new stack") as caught:
            store.root()
        assert (errno.ESTALE, store.place) == (caught.value.errno, caught.value.filename)
    memory.root().rename("above", memory.root(), "theirs")
    memory.root().rename("aside", memory.root(), "above")
    assert {"mine"} == subtree.root().scan(KINDS).keys()


def test_a_subtree_has_a_handle_for_each_who_asks() -> None:
    """One that two share would be listed by two at once through one read position."""
    recording = RecordingStore(small_tree(), ordered=True)
    store = SubtreeStore(recording, ("sub", "deep"))
    recording.clear()
    store.root()
    store.root()
    assert [("child", "/sub"), ("child", "/sub/deep")] * 2 == [
        call for call in recording.calls if call[0] == "child"
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_children_of_a_fork_list_all_of_a_subtree(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for number in range(2000):
        (tmp_path / "sub" / f"name that fills the kernel's buffer {number}").touch()
    store = SubtreeStore(LocalStore(tmp_path), ("sub",))
    start, go = os.pipe()
    children: list[int] = []
    for _ in range(4):
        children.append(os.fork())
        if not children[-1]:  # pragma: no cover  # another process
            status = 1
            try:
                os.close(go)
                os.read(start, 1)  # until the parent has closed its end: all begin together
                status = int(len(store.root().scan(KINDS)) != 2000)
            finally:
                os._exit(status)
    os.close(go)
    os.close(start)
    assert [0] * 4 == [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@pytest.mark.rule("L11")
@pytest.mark.parametrize("local", [False, True], ids=["memory", "local"])
def test_no_link_leads_to_a_subtree(local: bool, tmp_path: Path) -> None:
    """A layer never follows symlinks itself."""
    if local:
        (tmp_path / "sub" / "deep").mkdir(parents=True)
        (tmp_path / "sub" / "file").touch()
        os.symlink("sub", tmp_path / "link")
        os.symlink("deep", tmp_path / "sub" / "link")
    store = LocalStore(tmp_path) if local else small_tree()
    for root, number in (
        (("link",), errno.ENOTDIR),
        (("link", "deep"), errno.ENOTDIR),
        (("sub", "link"), errno.ENOTDIR),
        (("sub", "file"), errno.ENOTDIR),
        (("sub", "file", "x"), errno.ENOTDIR),
        (("sub", "missing"), errno.ENOENT),
    ):
        assert number == errno_of(SubtreeStore, store, root)


def test_identities_tell_trees_apart() -> None:
    store = small_tree()
    stores: list[Store] = [
        store,
        SubtreeStore(store, ("sub",)),
        SubtreeStore(store, ("sub", "deep")),
        PrefixedStore(store, ("sub",)),
        PrefixedStore(SubtreeStore(store, ("sub",)), ("sub",)),
    ]
    assert len(stores) == len({each.identity for each in stores})
    assert SubtreeStore(store, ("sub",)).identity == SubtreeStore(store, ("sub",)).identity
    assert store.identity == SubtreeStore(store, ()).identity == PrefixedStore(store, ()).identity


def test_wrappers_combine() -> None:
    recording = RecordingStore(small_tree(), ordered=True)
    store = PrefixedStore(SubtreeStore(recording, ("sub",)), ("a",))
    recording.clear()
    directory: Directory = store.root().child("a").child("deep")
    assert (("a", "deep"), b"g") == (directory.parts, directory.read("g"))
    found = [("root", "/"), ("child", "/sub"), ("status", "/sub")]
    assert [*found, ("child", "/sub/deep"), ("read", "/sub/deep/g")] == recording.calls


# Writing.


def writable(store: Store) -> WritableStore:
    assert Capability.WRITABLE in store.capabilities
    return cast("WritableStore", store)


REFUSED: dict[str, Callable[[WritableDirectory], object]] = {
    "create": lambda above: above.create("new"),
    "open_new": lambda above: above.open_new("new", "wb"),
    "put": lambda above: above.put("new", io.BytesIO()),
    "mkdir": lambda above: above.mkdir("new"),
    "symlink": lambda above: above.symlink("new", "x"),
    "mknod": lambda above: above.mknod("new", Kind.FIFO, 0o600),
    "link": lambda above: above.link("new", above, "y"),
    "unlink": lambda above: above.unlink("y"),
    "rmdir": lambda above: above.rmdir("y"),
    "rename": lambda above: above.rename("y", above, "z"),
    "chmod": lambda above: above.chmod(None, 0o700),
    "chown": lambda above: above.chown(None, 1, 1),
    "utime": lambda above: above.utime(None),
    "setxattr": lambda above: above.setxattr(None, "user.x", b""),
    "removexattr": lambda above: above.removexattr(None, "user.x"),
    "lock": lambda above: above.lock("y"),
}


@pytest.mark.parametrize("method", REFUSED)
def test_made_up_directories_are_not_changed(method: str) -> None:
    above = writable(PrefixedStore(small_tree(), ("x", "y"))).root().child("x")
    before = above.status()
    with pytest.raises(OSError, match="the layer begins at /x/y") as caught:
        REFUSED[method](above)
    assert errno.EROFS == caught.value.errno
    assert (before, {"y": Kind.DIRECTORY}) == (above.status(), above.scan(KINDS))


def test_the_trees_root_is_changed_by_its_name_too() -> None:
    store = small_tree()
    above = writable(PrefixedStore(store, ("x",))).root()
    above.chmod("x", 0o711)
    above.chown("x", 5, 6)
    above.utime("x", (7, 8))
    above.setxattr("x", "user.x", b"1")
    above.setxattr("x", "user.y", b"2")
    above.removexattr("x", "user.x")
    above.sync("x")
    above.sync(None)
    found = store.root().status()
    assert (0o40711, 5, 6, 7, 8) == (
        found.st_mode,
        found.st_uid,
        found.st_gid,
        found.st_atime_ns,
        found.st_mtime_ns,
    )
    assert ["user.y"] == store.root().listxattr(None)
    assert errno.EISDIR == errno_of(above.open_writable, "x", "rb+")
    for ask in (above.sync, above.chown, lambda name: above.open_writable(name, "rb+")):
        assert errno.ENOENT == errno_of(ask, "z")


def test_a_read_only_tree_has_nothing_writable_above_it() -> None:
    root = PrefixedStore(ReadOnlyStore(small_tree()), ("x", "y")).root()
    assert not hasattr(root, "create")
    assert not hasattr(root.child("x").child("y"), "create")


def test_home_is_below_all_prefixes() -> None:
    store = small_tree()
    home = writable(PrefixedStore(PrefixedStore(SubtreeStore(store, ("sub",)), ("b",)), ("a",))).home()
    assert (("a", "b"), {"deep", "file", "link"}) == (home.parts, set(home.scan(KINDS)))
    home.rename("file", home.child("deep"), "moved")
    assert {"g", "moved"} == store.root().child("sub").child("deep").scan(KINDS).keys()


def test_a_rename_into_a_made_up_directory_is_exdev() -> None:
    store = writable(PrefixedStore(small_tree(), ("x",)))
    assert errno.EXDEV == errno_of(store.home().rename, "f", store.root(), "f")


def test_the_neighbour_of_a_subtree_is_beside_it() -> None:
    """Two subtrees of one name don't share it, and it is of their volume."""
    store = small_tree()
    store.root().mkdir("other").mkdir("deep")
    one = writable(SubtreeStore(store, ("sub", "deep")))
    other = writable(SubtreeStore(store, ("other", "deep")))
    assert one.neighbour(".deep", make=False) is None
    neighbour = one.neighbour(".deep")
    assert neighbour is not None
    one.root().rename("g", neighbour.root(), "g")
    assert {"g": Kind.FILE} == store.root().child("sub").child(".deep").scan(KINDS)
    assert other.neighbour(".deep", make=False) is None
    assert writable(SubtreeStore(store, ())).neighbour(".deep", make=False) is None


@pytest.mark.rule("E9")
def test_a_subtree_that_went_is_noticed() -> None:
    """An upper that is replaced or removed under an open stack is noticed and raises."""
    memory = small_tree()
    store = writable(PrefixedStore(SubtreeStore(memory, ("sub",)), ("x",)))
    store.confirm()
    memory.root().rename("sub", memory.root(), "aside")
    assert errno.ESTALE == errno_of(store.confirm)
    memory.root().mkdir("sub")
    assert errno.ESTALE == errno_of(store.confirm)
    assert errno.ESTALE == errno_of(store.home)
    memory.root().rename("aside", memory.root(), "sub")
    store.confirm()
