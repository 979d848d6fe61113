"""Family M: how formats write absence down, and what is never shown."""

from __future__ import annotations

import errno
import os
import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from grounds import BY_ID, no_trusted_xattrs, no_user_xattrs
from trees import Device, Dir, File, Whiteout
from unions import Builder
from views import refusal
from writers import DiskWriter

if TYPE_CHECKING:
    from unionpath import LayerStack, UnionPath

LOWER = Dir({"a": File(b"1"), "d": Dir({"x": File(b"1"), "y": File(b"1")})})


def names(path: UnionPath) -> list[str]:
    """List a directory."""
    return [child.name for child in path.iterdir()]


def lay(directory: Path, top: dict[str, bytes], **options: object) -> LayerStack:
    """Stack a local layer with raw files over `LOWER`."""
    from unionpath import Layer, LayerStack

    (directory / "top").mkdir()
    for path, data in top.items():
        at = directory / "top" / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(data)
    (directory / "lower").mkdir()
    BY_ID["local-oci"].site(directory / "lower").build(LOWER)
    return LayerStack([Layer(directory / "top", **options), directory / "lower"])  # type: ignore[arg-type]  # any option


def require_xattrs(*, user: bool) -> None:
    """Skip, with the reason, where a kernel mark of this namespace can't be set."""
    if (reason := no_user_xattrs() if user else no_trusted_xattrs()) is not None:
        pytest.skip(reason)


def set_trusted(path: Path, attribute: str, value: bytes) -> None:
    """Set a kernel mark, or skip."""
    require_xattrs(user=False)
    os.setxattr(path, f"trusted.overlay.{attribute}", value)


@pytest.mark.rule("M1")
def test_every_format_hides_and_makes_opaque(union: Builder) -> None:
    """Each format has a whiteout and an opaque directory."""
    root = union(Dir({"a": Whiteout(), "d": Dir({"x": File(b"0")}, opaque=True)}), LOWER)
    assert ["d"] == names(root)
    assert ["x"] == names(root / "d")
    assert b"0" == (root / "d/x").read_bytes()
    assert "ENOENT" == refusal((root / "a").stat)
    assert "ENOENT" == refusal((root / "d/y").stat)


@pytest.mark.rule("M1")
@pytest.mark.parametrize("userxattr", [False, True], ids=["trusted", "user"])
@pytest.mark.changes_lowers("to see the union follow")
def test_a_layer_reads_one_xattr_namespace(tmp_path: Path, userxattr: bool) -> None:
    """Namespace `trusted.` or `user.`, exactly one per layer."""
    require_xattrs(user=False)
    require_xattrs(user=True)
    with lay(tmp_path, {"d/n": b"", "a": b""}, whiteouts="overlayfs", userxattr=userxattr) as stack:
        other = "trusted" if userxattr else "user"
        os.setxattr(tmp_path / "top/d", f"{other}.overlay.opaque", b"y")
        os.setxattr(tmp_path / "top", f"{other}.overlay.opaque", b"x")
        os.setxattr(tmp_path / "top/a", f"{other}.overlay.whiteout", b"y")
        assert ["n", "x", "y"] == names(stack / "d")
        assert ["a", "d"] == names(stack.root)
        own = "user" if userxattr else "trusted"
        os.setxattr(tmp_path / "top/d", f"{own}.overlay.opaque", b"y")
        os.setxattr(tmp_path / "top", f"{own}.overlay.opaque", b"x")
        os.setxattr(tmp_path / "top/a", f"{own}.overlay.whiteout", b"y")
        assert ["n"] == names(stack / "d")
        assert ["d"] == names(stack.root)


@pytest.mark.rule("M1")
@pytest.mark.parametrize("userxattr", [False, True], ids=["trusted", "user"])
@pytest.mark.changes_lowers("to see the union follow")
def test_only_an_empty_file_is_an_xattr_whiteout(tmp_path: Path, userxattr: bool) -> None:
    """A zero-size file with xattr `overlay.whiteout`: a file with content, or a directory, is none."""
    require_xattrs(user=userxattr)
    space = "user" if userxattr else "trusted"
    with lay(tmp_path, {"a": b"0", "d/z": b"0"}, whiteouts="overlayfs", userxattr=userxattr) as stack:
        os.setxattr(tmp_path / "top", f"{space}.overlay.opaque", b"x")
        os.setxattr(tmp_path / "top/a", f"{space}.overlay.whiteout", b"y")
        os.setxattr(tmp_path / "top/d", f"{space}.overlay.whiteout", b"y")
        assert ["a", "d"] == names(stack.root)
        assert b"0" == (stack / "a").read_bytes()
        assert ["x", "y", "z"] == names(stack / "d")


@pytest.mark.rule("M1")
def test_formats_do_not_mix(tmp_path: Path) -> None:
    """A layer has one format: other formats' markers are ordinary names there."""
    require_xattrs(user=True)
    top = {".wh.a": b"", "d/.wh..wh..opq": b"", "d/.wh.x": b""}
    with lay(tmp_path, top, whiteouts="overlayfs", userxattr=True) as stack:
        assert [".wh.a", "a", "d"] == names(stack.root)
        assert [".wh..wh..opq", ".wh.x", "x", "y"] == names(stack / "d")


@pytest.mark.rule("M2")
def test_the_seeds_opaque_name_counts_in_oci(tmp_path: Path) -> None:
    """Reading `oci`, the name `.wh.__dir_opaque` also counts as opaque in directory and memory layers."""
    with lay(tmp_path, {"d/.wh.__dir_opaque": b"", "d/n": b""}) as stack:
        assert ["n"] == names(stack / "d")
        assert "ENOENT" == refusal((stack / "d/x").stat)


@pytest.mark.rule("M2")
@pytest.mark.parametrize("whiteouts", ["oci", "unionfs"])
@pytest.mark.parametrize("marker", [".wh..wh.opq", ".wh..opq"])
def test_misspelled_markers_get_a_warning(
    tmp_path: Path, marker: str, whiteouts: Literal["oci", "unionfs"]
) -> None:
    """Known misspellings get a warning."""
    with lay(tmp_path, {f"d/{marker}": b"", "d/n": b""}, whiteouts=whiteouts) as stack:
        with pytest.warns(UserWarning, match=r"does not make its directory opaque"):
            assert ["n", "x", "y"] == names(stack / "d")
        with warnings.catch_warnings(action="error"):
            assert ["n", "x", "y"] == names(stack / "d")


@pytest.mark.rule("M2", "M3")
@pytest.mark.parametrize("name", [".wh..wh..opqX", ".wh..wh.plnk", ".wh..wh.aufs", ".wh..wh.unionpath"])
def test_markers_match_exactly_and_private_names_are_hidden(tmp_path: Path, name: str) -> None:
    """Marker names match exactly; other names beginning `.wh..wh.` are private and hidden."""
    with lay(tmp_path, {f"d/{name}": b"", "d/n": b""}) as stack:
        assert ["n", "x", "y"] == names(stack / "d")
        assert "ENOENT" == refusal((stack / "d" / name).stat)


@pytest.mark.rule("M2")
def test_the_other_formats_opaque_name_is_a_whiteout(tmp_path: Path) -> None:
    """Exact names: to `unionfs`, OCI's marker is a private name that makes nothing opaque."""
    with lay(tmp_path, {"d/.wh..wh..opq": b""}, whiteouts="unionfs") as stack, pytest.warns(UserWarning):
        assert ["x", "y"] == names(stack / "d")


@pytest.mark.rule("M3")
def test_markers_are_never_listed_or_visible(union: Builder) -> None:
    """Markers are never listed, never visible; a whiteout with nothing beneath it is hidden too."""
    marked = Dir({"gone": Whiteout(), "d": Dir({"gone": Whiteout(), "f": File()}, opaque=True), "e": Dir()})
    root = union(marked, Dir({"e": Dir({"gone": Whiteout()})}))
    assert [("/", ["d", "e"], []), ("/d", [], ["f"]), ("/e", [], [])] == [
        (str(top), folders, files) for top, folders, files in root.walk()
    ]
    assert ["/d", "/d/f", "/e"] == sorted(str(found) for found in root.glob("**/*"))
    for name in ("gone", ".wh.gone", "d/gone", "d/.wh..wh..opq", "d/.wh.__dir_opaque", "e/gone"):
        assert not (root / name).exists()
        assert "ENOENT" == refusal((root / name).lstat)
    assert "ENOENT" == refusal((root / ".wh..wh.unionpath/whiteouts").read_bytes)
    assert "ENOENT" == refusal(lambda: names(root / ".wh..wh.unionpath"))


@pytest.mark.rule("M4")
def test_names_that_look_like_markers(union: Builder) -> None:
    """In a name-based format looking one up is ENOENT; `table` and `overlayfs` allow such names."""
    tree = Dir({"d": Dir({".wh.f": File(b"0"), ".wh..wh..opq": File(b"0"), ".wh.": File(b"0")})})
    if union.ground.name_based:
        root = union(Dir({"d": Dir({".wh.f": File()})}))
        assert "ENOENT" == refusal((root / "d/.wh.f").stat)
        assert "ENOENT" == refusal((root / "d/.wh.f").read_bytes)
        assert "ENOENT" == refusal((root / ".wh.missing").lstat)
        assert [] == names(root / "d")
    else:
        root = union(tree, Dir({"d": Dir({"f": File(b"1")})}))
        assert [".wh.", ".wh..wh..opq", ".wh.f", "f"] == names(root / "d")
        assert b"0" == (root / "d/.wh.f").read_bytes()


@pytest.mark.rule("M5")
def test_whiteouts_in_an_opaque_directory_mean_nothing(union: Builder) -> None:
    """Inside an opaque directory whiteouts hide nothing when read, and are not listed."""
    root = union(
        Dir({"d": Dir({"x": File(b"0")})}),
        Dir({"d": Dir({"y": Whiteout(), "z": Whiteout(), "k": File(b"1")}, opaque=True)}),
        LOWER,
    )
    assert ["k", "x"] == names(root / "d")
    assert "ENOENT" == refusal((root / "d/y").stat)
    assert "ENOENT" == refusal((root / "d/z").lstat)


@pytest.mark.rule("M5")
def test_an_opaque_directory_is_one_wherever_it_stands(union: Builder) -> None:
    """Opaque in a middle layer hides that which is below, and nothing above."""
    middle = Dir({"d": Dir({"e": Dir({"m": File()}, opaque=True)})})
    below = Dir({"d": Dir({"e": Dir({"b": File()}), "n": File()})})
    root = union(Dir({"d": Dir({"e": Dir({"t": File()})})}), middle, below)
    assert ["m", "t"] == names(root / "d/e")
    assert ["e", "n"] == names(root / "d")


@pytest.mark.rule("M6")
@pytest.mark.parametrize("whiteouts", ["oci", "unionfs"])
@pytest.mark.parametrize("marker", [".wh.", ".wh..", ".wh..."])
def test_malformed_markers(tmp_path: Path, marker: str, whiteouts: Literal["oci", "unionfs"]) -> None:
    """A whiteout with an empty name, or for `.` or `..`, is a malformed layer: an error that names it."""
    with lay(tmp_path, {f"d/{marker}": b""}, whiteouts=whiteouts) as stack:
        with pytest.raises(OSError, match="malformed") as caught:
            names(stack / "d")
        assert (errno.EIO, "/d") == (caught.value.errno, caught.value.filename)
        assert isinstance(caught.value.__cause__, OSError)
        assert str(caught.value.__cause__.filename).endswith(f"d/{marker}")
        assert ["a", "d"] == names(stack.root)


@pytest.mark.rule("M6")
@pytest.mark.parametrize(
    "line",
    [
        b'["w","/"]',
        b'["w","/d/.."]',
        b'["w","/d/."]',
        b'["w","/d/"]',
        b'["w","d"]',
        b'["y","/d"]',
        b"{}",
        b"d",
    ],
)
def test_malformed_table(tmp_path: Path, line: bytes) -> None:
    """A whiteout of the root, or anything else a table can't say, is a malformed layer."""
    table = {".wh..wh.unionpath/whiteouts": b"unionpath whiteouts 1\n" + line + b"\n"}
    with lay(tmp_path, table, whiteouts="table") as stack:
        assert "EIO" == refusal(lambda: names(stack.root))
        with pytest.raises(OSError, match="line 2") as caught:
            (stack / "a").stat()
        assert (errno.EIO, "/a") == (caught.value.errno, caught.value.filename)


class TestRedirects:
    """M7: what a kernel upper says of moved directories and of files without data."""

    @pytest.mark.rule("M7")
    @pytest.mark.parametrize("redirect", ["/old", "old"], ids=["absolute", "beside"])
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_moved_directory_merges_with_its_old_place(self, tmp_path: Path, redirect: str) -> None:
        """`trusted.overlay.redirect` is followed."""
        top = Dir({"new": Dir({"t": File(b"0")}), "old": Whiteout()})
        below = Dir(
            {"old": Dir({"b": File(b"1"), "sub": Dir({"deep": File(b"1")})}), "new": Dir({"n": File()})}
        )
        with _overlay(tmp_path, top, below) as stack:
            set_trusted(tmp_path / "0/new", "redirect", redirect.encode())
            assert ["new"] == names(stack.root)
            assert ["b", "sub", "t"] == names(stack / "new")
            assert b"1" == (stack / "new/sub/deep").read_bytes()
            assert "ENOENT" == refusal((stack / "old").stat)
            assert "ENOENT" == refusal((stack / "new/n").stat)

    @pytest.mark.rule("M7")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_file_without_data_has_its_own_metadata(self, tmp_path: Path) -> None:
        """`trusted.overlay.metacopy` is followed: metadata above, data below."""
        with _overlay(tmp_path, Dir({"f": File(b"", 0o600)}), Dir({"f": File(b"data", 0o644)})) as stack:
            os.truncate(tmp_path / "0/f", 4)
            set_trusted(tmp_path / "0/f", "metacopy", b"")
            assert b"data" == (stack / "f").read_bytes()
            assert (0o600, 4) == (stat.S_IMODE((stack / "f").stat().st_mode), (stack / "f").stat().st_size)
            with (stack / "f").open("rb") as file:
                assert b"data" == file.read()

    @pytest.mark.rule("M7")
    @pytest.mark.parametrize("attribute", ["redirect", "metacopy"])
    @pytest.mark.changes_lowers("to see the union follow")
    def test_in_the_user_namespace_are_refused(self, tmp_path: Path, attribute: str) -> None:
        """In the `user.` namespace anyone may have set them: EPERM, never a wrong answer."""
        if (reason := no_user_xattrs()) is not None:
            pytest.skip(reason)
        top = Dir({"d": Dir({"t": File()}), "f": File()})
        below = Dir({"d": Dir({"b": File()}), "f": File(b"data"), "secret": Dir({"s": File()})})
        with _overlay(tmp_path, top, below, userxattr=True) as stack:
            name = "d" if attribute == "redirect" else "f"
            os.setxattr(tmp_path / "0" / name, f"user.overlay.{attribute}", b"/secret")
            at = stack / name
            with pytest.raises(PermissionError) as caught:
                names(at) if name == "d" else at.read_bytes()
            assert (errno.EPERM, f"/{name}") == (caught.value.errno, caught.value.filename)

    @pytest.mark.rule("M7", "L11")
    @pytest.mark.parametrize("redirect", [b"../old", b"/../old", b"a/b", b"", b"/", b"."])
    @pytest.mark.changes_lowers("to see the union follow")
    def test_that_are_no_paths_are_malformed(self, tmp_path: Path, redirect: bytes) -> None:
        """A redirect never leads anywhere but beneath the root of a layer."""
        with _overlay(tmp_path, Dir({"d": Dir({"t": File()})}), Dir({"old": Dir()})) as stack:
            set_trusted(tmp_path / "0/d", "redirect", redirect)
            assert "EIO" == refusal(lambda: names(stack / "d"))


def _overlay(directory: Path, top: Dir, below: Dir, *, userxattr: bool = False) -> LayerStack:
    """Stack two local layers in the kernel's format."""
    from unionpath import LayerStack

    ground = BY_ID["local-userxattr" if userxattr else "local-overlayfs"]
    ground.require(top, below)
    return LayerStack([site.layer() for site in ground.sites(directory, [top, below])])


@pytest.mark.rule("M8")
def test_an_opaque_root(union: Builder) -> None:
    """An opaque root hides every layer below it; in `overlayfs` format it is ignored, as in the kernel."""
    root = union(Dir({"t": File()}), Dir({"m": File()}, opaque=True), Dir({"b": File()}))
    hides = union.ground.opaque_roots
    assert (["m", "t"] if hides else ["b", "m", "t"]) == names(root)
    assert hides is not (root / "b").exists()


@pytest.mark.rule("M10", "N3")
@pytest.mark.parametrize("kind", ["local-oci", "local-unionfs", "local-table", "memory-oci", "memory-table"])
def test_a_foreign_whiteout_is_listed_if_it_stats(tmp_path: Path, kind: str) -> None:
    """A character device 0:0 in a layer that isn't `overlayfs` is listed only if it stats."""
    builder = Builder(BY_ID[kind], tmp_path, 0)
    root = builder(Dir({"dev": Device(0, 0), "f": File()}), Dir({"dev": File()}))
    assert [name for name in ("dev", "f") if (root / name).exists()] == names(root)
    builder.close()


@pytest.mark.rule("M10")
@pytest.mark.parametrize("length", [251, 252, 255])
def test_long_names_are_shown(tmp_path: Path, length: int) -> None:
    """A name of more than 251 bytes has no room for a marker's name: it is shown, being hidden by nobody."""
    name = "n" * length
    with lay(tmp_path, {name: b"0", f"d/{name}": b"0"}) as stack:
        assert ["a", "d", name] == names(stack.root)
        assert b"0" == (stack / "d" / name).read_bytes()
        assert "ENOENT" == refusal((stack / "d" / ("m" * length)).stat)


@pytest.mark.rule("M2", "M3")
@pytest.mark.changes_lowers("to see the union follow")
def test_a_marker_may_be_anything(tmp_path: Path) -> None:
    """Only names count: a directory or a link bearing a marker's name is a marker."""
    with lay(tmp_path, {".wh.a/inner": b"", "d/n": b""}) as stack:
        DiskWriter(tmp_path / "top/d").mkdir((".wh..wh..opq",), 0o755)
        assert ["d"] == names(stack.root)
        assert ["n"] == names(stack / "d")
