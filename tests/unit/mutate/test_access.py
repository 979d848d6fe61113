"""Who may do what with what the upper holds: access lists, the umask, set-ID bits, several users."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grounds import scratch
from places import (
    ACCESS_ACL,
    DEFAULT_ACL,
    FORMATS,
    NOBODY,
    Place,
    die,
    in_child,
    need_root,
    set_default_acl,
)
from unionpath import UnionPath

INSIDE = pytest.mark.parametrize("shared", ["oci", "unionfs", "table"], indirect=True)
"""Where the work area is in the upper; beside an upper for the kernel it is one user's."""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    """Let new names have the usual permissions, whatever the tests run with."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(params=FORMATS)
def shared(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Give a place that every user can reach, with an upper that every user may write to."""
    need_root()
    with scratch() as directory:
        directory.chmod(0o777)
        made = Place(directory, request.param, nobodys=True)
        made.lower.chmod(0o755)
        made.upper.chmod(0o777)
        yield made
        made.close()


class TestDefaultAccessLists:
    @pytest.mark.rule("C2")
    def test_a_copy_does_not_inherit_the_uppers(self, each_place: Place) -> None:
        """Nobody may read a copy who may not read the lower's file."""
        each_place.fill({"secret": "s", "d/f": "x"})
        (each_place.lower / "secret").chmod(0o640)
        set_default_acl(each_place.upper, named=1234)
        stack = each_place.stack()
        (stack / "secret").utime(ns=(1, 1))
        (stack / "d/new").touch()
        assert 0o640 == mode_of(each_place.upper / "secret")
        attributes = {*os.listxattr(each_place.upper / "secret"), *os.listxattr(each_place.upper / "d")}
        assert not {ACCESS_ACL, DEFAULT_ACL} & attributes

    @pytest.mark.rule("C10")
    @pytest.mark.parametrize("name", ["file", "directory"])
    def test_what_is_made_over_a_whiteout_inherits_its_parents(
        self, each_place: Place, umask: None, name: str
    ) -> None:
        """It has the permissions that a name without a past gets there."""
        each_place.fill({"d/file": "1", "d/directory/x": "1"})
        stack = each_place.stack()
        (stack / "d").copy_up()
        set_default_acl(each_place.upper / "d", user=0o6, other=0)
        (stack / "d/file").unlink()
        (stack / "d/directory").rmtree()
        make: Callable[[UnionPath], object] = UnionPath.touch if name == "file" else UnionPath.mkdir
        make(stack / "d" / name)
        make(stack / "d/plain")
        again, plain = each_place.upper / "d" / name, each_place.upper / "d/plain"
        assert mode_of(plain) == mode_of(again)
        assert [at for at in os.listxattr(plain) if "acl" in at] == [
            at for at in os.listxattr(again) if "acl" in at
        ]
        assert 0 == mode_of(again) & 0o007

    @pytest.mark.rule("C10")
    def test_the_umask_counts_for_nothing_then(self, each_place: Place) -> None:
        """Where a default list says what new names get, the umask doesn't, over a whiteout either."""
        each_place.fill({"d/f": "1", "d/e/x": "1"})
        stack = each_place.stack()
        (stack / "d").copy_up()
        set_default_acl(each_place.upper / "d", other=0o7)
        (stack / "d/f").unlink()
        (stack / "d/e").rmtree()
        before = os.umask(0o077)
        try:
            for name in ("f", "plain"):
                (stack / "d" / name).touch()
            for name in ("e", "plain directory"):
                (stack / "d" / name).mkdir()
        finally:
            os.umask(before)
        upper = each_place.upper / "d"
        assert mode_of(upper / "plain") == mode_of(upper / "f")
        assert mode_of(upper / "plain directory") == mode_of(upper / "e")
        assert 0o006 == mode_of(upper / "f") & 0o007


@pytest.mark.rule("C10")
def test_a_set_group_id_upper_gives_copies_nothing(each_place: Place) -> None:
    """The copy of a lower's file or directory keeps its own group and bits."""
    need_root()
    each_place.fill({"f": "1", "d/x": "1"})
    os.chown(each_place.upper, 0, NOBODY)
    each_place.upper.chmod(0o2755)
    stack = each_place.stack()
    (stack / "f").utime(ns=(1, 1))
    (stack / "d/x").unlink()
    for name in ("f", "d"):
        lower, copy = (each_place.lower / name).stat(), (each_place.upper / name).stat()
        assert (lower.st_gid, lower.st_mode) == (copy.st_gid, copy.st_mode)


@pytest.mark.rule("C10", "E10")
@pytest.mark.parametrize("how", ["write_bytes", "write_text", "copy", "open", "append"])
@pytest.mark.parametrize("layer", ["upper", "lower"])
def test_new_content_has_no_set_id_bits(shared: Place, how: str, layer: str) -> None:
    """Without privileges whoever writes to a program takes its set-user-ID bit away, as the kernel does."""
    at = (shared.upper if layer == "upper" else shared.lower) / "s"
    at.write_text("1")
    os.chown(at, NOBODY, NOBODY)
    at.chmod(0o6755)

    def work() -> None:
        stack = shared.stack()
        (stack / "source").touch()
        acts: dict[str, Callable[[], object]] = {
            "write_bytes": lambda: (stack / "s").write_bytes(b"new"),
            "write_text": lambda: (stack / "s").write_text("new"),
            "copy": lambda: (stack / "source").copy(stack / "s"),
            "open": lambda: overwrite(stack / "s"),
            "append": lambda: append(stack / "s"),
        }
        acts[how]()
        stack.close()

    assert 0 == in_child(work, user=NOBODY)
    assert 0 == mode_of(shared.upper / "s") & 0o6000


def append(path: UnionPath) -> None:
    with path.open("ab", 0) as file:
        file.write(b"+")


def overwrite(path: UnionPath) -> None:
    with path.open("w") as file:
        file.write("new")


class TestSeveralUsers:
    """E10: an upper that all may write to, and work areas that are as open as the upper."""

    @pytest.fixture(autouse=True)
    def _filled(self, shared: Place) -> None:
        for name in "abc":
            shared.fill({f"low-{name}": "1", f"dir-{name}/x": "1"})

    def write(self, place: Place, *, user: int, name: str, umask: int = 0o022, crash: bool = False) -> int:
        def work() -> None:
            stack = place.stack()
            (stack / name).write_text("new")
            (stack / f"low-{name}").unlink()
            (stack / f"dir-{name}").rename(f"/moved-{name}")
            if crash:
                die()
            stack.close()

        return in_child(work, user=user, umask=umask)

    @pytest.mark.rule("E10")
    def test_the_first_change_in_a_directory_of_another(self, shared: Place) -> None:
        """Nothing that only an owner may do is needed."""
        assert 0 == self.write(shared, user=NOBODY, name="a")

    @pytest.mark.rule("E10")
    @INSIDE
    @pytest.mark.parametrize("umask", [0o022, 0])
    def test_one_after_the_other(self, shared: Place, umask: int) -> None:
        """What the first user's umask was doesn't lock the second one out."""
        assert 0 == self.write(shared, user=1001, name="a", umask=umask)
        assert 0 == self.write(shared, user=1002, name="b", umask=umask)
        assert 0 == self.write(shared, user=1001, name="c", umask=umask)

    @pytest.mark.rule("E5", "E10")
    @INSIDE
    def test_after_one_who_died(self, shared: Place) -> None:
        """What a dead writer of another user left stands in nobody's way."""
        assert 0 > self.write(shared, user=1001, name="a", crash=True)
        assert 0 == self.write(shared, user=1002, name="b")

    @pytest.mark.rule("E10")
    @INSIDE
    def test_beside_one_who_lives(self, shared: Place) -> None:
        """Nor does a living session."""
        with shared.stack() as stack:
            (stack / "mine").touch()
            assert 0 == self.write(shared, user=1002, name="b")
            (stack / "more").touch()


@pytest.mark.rule("E10", "D4")
@INSIDE
@pytest.mark.parametrize("mode", [0o555, 0o500, 0])
def test_a_directory_that_its_owner_may_not_write_over_a_whiteout(shared: Place, mode: int) -> None:
    """It is made and made opaque all the same."""
    shared.fill({"d/f": "x"})

    def work() -> None:
        with shared.stack() as stack:
            (stack / "d").rmtree()
            (stack / "d").mkdir(mode)
            (stack / "plain").mkdir(mode)

    assert 0 == in_child(work, user=NOBODY, umask=0)
    assert (mode, mode) == (mode_of(shared.upper / "plain"), mode_of(shared.upper / "d"))
    assert not (shared.stack() / "d/f").exists()


@pytest.mark.rule("E10", "R4")
def test_a_directory_that_its_owner_may_not_write_is_renamed(shared: Place) -> None:
    """To a name of a lower, where it has to be opaque; its mode stays."""
    shared.fill({"d/f": "x"})

    def work() -> None:
        with shared.stack() as stack:
            (stack / "d").rmtree()
            (stack / "mine").mkdir(0o755)
            (stack / "mine").chmod(0o555)
            try:
                (stack / "mine").rename("/d")
            except PermissionError:
                (stack / "mine").stat()  # an honest refusal, and nothing changed
                assert not (stack / "d").exists()
            else:
                assert [] == [*(stack / "d").iterdir()]

    assert 0 == in_child(work, user=NOBODY, umask=0)


@pytest.mark.rule("E10")
def test_attributes_that_only_root_may_set_are_left(shared: Place) -> None:
    """A program with capabilities can be changed by a user; the copy has none."""
    shared.fill({"tool": "x"})
    (shared.lower / "tool").chmod(0o755)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    try:
        os.setxattr(shared.lower / "tool", "security.capability", capability)
    except OSError as error:
        pytest.skip(f"no capability can be set here: {error.strerror}")

    def work() -> None:
        with shared.stack() as stack:
            append(stack / "tool")

    assert 0 == in_child(work, user=NOBODY)
    assert b"x+" == (shared.upper / "tool").read_bytes()
    assert "security.capability" not in os.listxattr(shared.upper / "tool")
