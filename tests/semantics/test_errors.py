"""Family E: how errors look, what a read-only union refuses, and what is refused at construction."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grounds import BY_ID
from trees import Dir, File, Link
from unions import Builder
from views import refusal

if TYPE_CHECKING:
    from unionpath import UnionPath

TREE = Dir(
    {"f": File(b"data"), "d": Dir({"x": File()}), "empty": Dir(), "l": Link("f"), "broken": Link("no")}
)

CHANGES: dict[str, Callable[[UnionPath], object]] = {
    "unlink": lambda p: p.unlink(),
    "rmdir": lambda p: p.rmdir(),
    "rename": lambda p: p.rename(p.with_name("other")),
    "replace": lambda p: p.replace(p.with_name("other")),
    "mkdir": lambda p: p.mkdir(),
    "symlink_to": lambda p: p.symlink_to("target"),
    "touch": lambda p: p.touch(),
    "chmod": lambda p: p.chmod(0o600),
    "write_text": lambda p: p.write_text("new"),
    "write_bytes": lambda p: p.write_bytes(b"new"),
    "open w": lambda p: p.open("w"),
    "open a": lambda p: p.open("a"),
    "open x": lambda p: p.open("x"),
    "open r+": lambda p: p.open("r+"),
}
_OPENING = ("open w", "open a", "open r+", "write_text", "write_bytes", "touch")
EARLIER = {
    **{(change, name): "EEXIST" for change in ("mkdir", "symlink_to", "open x") for name in ("f", "d", "l")},
    **{(change, "broken"): "EEXIST" for change in ("mkdir", "symlink_to", "open x")},
    ("chmod", "missing"): "ENOENT",
    ("chmod", "broken"): "ENOENT",
    ("open r+", "missing"): "ENOENT",
    ("open r+", "broken"): "ENOENT",
    **{(change, "d"): "EISDIR" for change in _OPENING},
    **{(change, "missing/x"): "ENOENT" for change in CHANGES},
    **{(change, "f/x"): "ENOTDIR" for change in CHANGES},
}
"""What the kernel says before it notices that nothing can be written."""


@pytest.mark.rule("E1")
@pytest.mark.parametrize("name", ["f", "d", "l", "broken", "missing", "missing/x", "f/x"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_union_without_an_upper_changes_nothing(local: Builder, change: str, name: str) -> None:
    """No upper: every mutation EROFS, except what is noticed before."""
    root = local(Dir(), TREE)
    at = root / name
    with pytest.raises(OSError) as caught:
        CHANGES[change](at)
    assert EARLIER.get((change, name), "EROFS") == errno.errorcode[caught.value.errno or 0]
    assert str(at) == caught.value.filename
    assert b"data" == (root / "f").read_bytes()


@pytest.mark.rule("E1")
def test_mkdir_of_what_is_there_may_be_fine(local: Builder) -> None:
    """`exist_ok` of a directory changes nothing, so nothing is refused."""
    root = local(TREE)
    (root / "d").mkdir(exist_ok=True)
    (root / "d").mkdir(parents=True, exist_ok=True)
    assert "EEXIST" == refusal(lambda: (root / "f").mkdir(exist_ok=True))
    assert "EEXIST" == refusal(lambda: (root / "f").touch(exist_ok=False))
    assert "EROFS" == refusal(lambda: (root / "a/b").mkdir(parents=True))


@pytest.mark.rule("E2")
def test_errors_carry_errno_and_path(union: Builder) -> None:
    """Errors are `OSError` with errno and the union's path."""
    root = union(Dir({"d": Dir({"x": File()})}), Dir({"f": File()}))
    cases: list[tuple[Callable[[UnionPath], object], str, type[OSError], int]] = [
        (lambda p: p.stat(), "missing", FileNotFoundError, errno.ENOENT),
        (lambda p: p.stat(), "d/missing", FileNotFoundError, errno.ENOENT),
        (lambda p: p.read_text(), "f/x/y", NotADirectoryError, errno.ENOTDIR),
        (lambda p: p.read_text(), "d", IsADirectoryError, errno.EISDIR),
        (lambda p: p.open(), "d", IsADirectoryError, errno.EISDIR),
        (lambda p: list(p.iterdir()), "f", NotADirectoryError, errno.ENOTDIR),
        (lambda p: list(p.iterdir()), "missing", FileNotFoundError, errno.ENOENT),
        (lambda p: p.readlink(), "f", OSError, errno.EINVAL),
        (lambda p: p.resolve(strict=True), "no/such", FileNotFoundError, errno.ENOENT),
    ]
    for call, name, kind, number in cases:
        at = root / name
        with pytest.raises(kind) as caught:
            call(at)
        assert (number, str(at)) == (caught.value.errno, caught.value.filename)
        assert f"[Errno {number}] {os.strerror(number)}: {str(at)!r}" == str(caught.value)


@pytest.mark.rule("E2")
def test_rename_carries_both_paths(local: Builder) -> None:
    """Both paths for rename."""
    root = local(TREE)
    with pytest.raises(OSError, match="Read-only") as caught:
        (root / "f").rename(root / "g")
    assert ("/f", "/g") == (caught.value.filename, caught.value.filename2)


@pytest.mark.rule("E2")
def test_errors_pickle(local: Builder) -> None:
    """An `OSError` crosses to another process as it is."""
    root = local(TREE)
    with pytest.raises(FileNotFoundError) as caught:
        (root / "missing").stat()
    error = pickle.loads(pickle.dumps(caught.value))
    assert (errno.ENOENT, "/missing") == (error.errno, error.filename)


class TestConstruction:
    """E3 and E8: what is refused when a layer or a stack is made, with a message that says what to do."""

    @pytest.fixture(autouse=True)
    def _directories(self, tmp_path: Path) -> None:
        (tmp_path / "a/inner").mkdir(parents=True)
        (tmp_path / "b").mkdir()
        (tmp_path / "link").symlink_to("a")
        (tmp_path / "file").write_bytes(b"")

    @pytest.mark.rule("E3")
    @pytest.mark.parametrize(
        ("source", "kind"),
        [("missing", FileNotFoundError), ("missing/deep", FileNotFoundError), ("file/x", NotADirectoryError)],
    )
    def test_a_layer_that_is_not_there(self, tmp_path: Path, source: str, kind: type[OSError]) -> None:
        """A layer that doesn't exist is refused."""
        from unionpath import Layer, LayerStack

        for make in (Layer, lambda source: LayerStack([tmp_path / "a", source])):
            with pytest.raises(kind) as caught:
                make(tmp_path / source)
            assert source in str(caught.value)

    @pytest.mark.rule("E3")
    @pytest.mark.parametrize("name", ["plain", "notes.txt"])
    def test_a_layer_that_is_a_file(self, tmp_path: Path, name: str) -> None:
        """A layer that isn't a directory is refused."""
        from unionpath import Layer

        (tmp_path / name).write_bytes(b"not an archive")
        with pytest.raises(NotADirectoryError) as caught:
            Layer(tmp_path / name)
        assert name in str(caught.value)

    @pytest.mark.rule("E3")
    @pytest.mark.parametrize("again", ["a", "./a", "b/../a", "link", "a/"])
    def test_the_same_directory_twice(self, tmp_path: Path, again: str) -> None:
        """The same directory twice is refused, however it is spelled."""
        from unionpath import LayerStack

        with pytest.raises(ValueError, match=r"twice|same"):
            LayerStack([tmp_path / "a", tmp_path / "b", f"{tmp_path}/{again}"])
        with pytest.raises(ValueError, match=r"twice|same"):
            LayerStack([tmp_path / "a"], upper=f"{tmp_path}/{again}")

    @pytest.mark.rule("E3")
    @pytest.mark.parametrize(("upper", "lower"), [("a/inner", "a"), ("a", "a/inner"), ("link/inner", "a")])
    def test_an_upper_inside_a_lower_or_the_reverse(self, tmp_path: Path, upper: str, lower: str) -> None:
        """Upper inside a lower or the reverse is refused."""
        from unionpath import LayerStack

        with pytest.raises(ValueError, match="inside") as caught:
            LayerStack([tmp_path / lower], upper=tmp_path / upper)
        assert str(tmp_path) in str(caught.value)

    @pytest.mark.rule("E3")
    def test_a_name_that_merely_begins_alike_is_fine(self, tmp_path: Path) -> None:
        """`ab` isn't inside `a`."""
        from unionpath import LayerStack

        (tmp_path / "ab").mkdir()
        with LayerStack([tmp_path / "ab"], upper=tmp_path / "a") as stack:
            assert ["inner"] == [child.name for child in stack.root.iterdir()]

    @pytest.mark.rule("E3")
    def test_a_format_that_the_store_can_not_hold(self, tmp_path: Path) -> None:
        """A format the store can't hold is refused."""
        from unionpath import Layer

        site = BY_ID["upath-oci"].site(tmp_path)
        with pytest.raises((ValueError, NotImplementedError), match="overlayfs"):
            Layer(site.writer.source, whiteouts="overlayfs")

    @pytest.mark.rule("E8", "E3")
    @pytest.mark.parametrize("source", ["", b"/tmp", None, 3, 1.5, ["/tmp"], object()], ids=repr)
    def test_sources_of_the_wrong_kind(self, source: object) -> None:
        """`Layer("")`, a layer given as bytes, None or an int: TypeError or ValueError at once."""
        from unionpath import Layer, LayerStack

        with pytest.raises((TypeError, ValueError)):
            Layer(source)  # type: ignore[arg-type]  # that is the test
        with pytest.raises((TypeError, ValueError)):
            LayerStack([source])  # type: ignore[list-item]  # that is the test

    @pytest.mark.rule("E8")
    @pytest.mark.parametrize("lowers", ["/tmp", b"/tmp", None, 3, []], ids=repr)
    def test_lowers_of_the_wrong_kind(self, lowers: object) -> None:
        """A single path in the place of a list, or no layer at all, is refused at once."""
        from unionpath import LayerStack

        with pytest.raises((TypeError, ValueError)):
            LayerStack(lowers)  # type: ignore[arg-type]  # that is the test

    @pytest.mark.rule("E8")
    @pytest.mark.parametrize(
        "options",
        [
            {"rename_dir": "teleport"},
            {"on_layer_error": "ignore"},
            {"durability": "none"},
            {"case": "smart"},
            {"cache": 3},
        ],
        ids=lambda options: next(iter(options)),
    )
    def test_options_of_the_wrong_kind(self, tmp_path: Path, options: dict[str, object]) -> None:
        """A word that no option has is refused at once."""
        from unionpath import LayerStack

        with pytest.raises((TypeError, ValueError)):
            LayerStack([tmp_path / "a"], **options)  # type: ignore[arg-type]  # that is the test

    @pytest.mark.rule("E8")
    def test_a_format_that_is_none(self, tmp_path: Path) -> None:
        """So is a format that there isn't, or an option of another format."""
        from unionpath import Layer

        with pytest.raises(ValueError, match="aufs"):
            Layer(tmp_path / "a", whiteouts="aufs")  # type: ignore[arg-type]  # that is the test
        with pytest.raises(ValueError, match="userxattr"):
            Layer(tmp_path / "a", userxattr=True)

    @pytest.mark.rule("E8")
    def test_relative_layers_are_made_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Relative layer paths are made absolute at construction: a later chdir changes nothing."""
        from unionpath import LayerStack

        (tmp_path / "a/f").write_bytes(b"right")
        (tmp_path / "b/a").mkdir()
        (tmp_path / "b/a/f").write_bytes(b"wrong")
        monkeypatch.chdir(tmp_path)
        with LayerStack(["a"]) as stack:
            monkeypatch.chdir(tmp_path / "b")
            assert b"right" == (stack / "f").read_bytes()
            assert ["f", "inner"] == [child.name for child in stack.root.iterdir()]
