"""A union and a kernel overlay mount of the same layers show the same, outcome by outcome."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oracle
from grounds import BY_ID, Ground, scratch
from kernel import OPTIONS, Kernel, no_mounts
from trees import Dir, Fifo, File, Link, Whiteout
from views import UnionView, outcome

if TYPE_CHECKING:
    from unionpath import Layer, LayerStack, UnionPath

pytestmark = pytest.mark.kernel

ASKED = ("kind", "lkind", "exists", "mode", "read", "names", "readlink")
KERNELS_OWN = ("local-overlayfs", "local-overlayfs-files")
TRANSLATED = ("local-oci", "local-unionfs", "local-table", "memory-oci", "memory-table", "memory-overlayfs")
# The worker is made once for all examples; it holds no state between two mounts.
shared_worker = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@contextmanager
def mounted(
    kernel: Kernel, base: Path, lowers: Sequence[str], *, upper: str | None = None, options: str = OPTIONS
) -> Iterator[Kernel]:
    """Mount directories of `base` for a while."""
    kernel.mount(base, lowers, upper=upper, options=options)
    try:
        yield kernel
    finally:
        kernel.unmount()


def for_kernel(trees: Sequence[Dir], *, opaque_roots: bool) -> list[Dir]:
    """Say in the kernel's format what other formats say of roots: an opaque one ends the stack (M8)."""
    kept: list[Dir] = []
    for tree in trees:
        kept.append(tree)
        if tree.opaque and opaque_roots:
            break
    return kept


def union_of(layers: Sequence[Layer]) -> LayerStack:
    """Stack layers, top first."""
    from unionpath import LayerStack

    return LayerStack(layers)


def assert_agree(kernel: Kernel, view: UnionView, paths: Sequence[str]) -> None:
    """Ask both everything about all that is there and about some paths more."""
    assert kernel.walk("/") == view.walk("/")
    there = [
        f"{top.rstrip('/')}/{name}" for top, folders, files in view.walk("/") for name in (*folders, *files)
    ]
    questions = [(question, (path,)) for path in (*paths, *there) for question in ASKED]
    for (question, (path,)), answer in zip(questions, kernel.ask(questions), strict=True):
        assert (question, path, answer) == (question, path, outcome(getattr(view, question), path))


class TestRandomStacks:
    """The same description as a mount and as a union."""

    @pytest.mark.parametrize("kind", KERNELS_OWN)
    @shared_worker
    @given(trees=oracle.stacks(), paths=st.lists(oracle.paths, min_size=1, max_size=8))
    def test_in_the_kernels_own_format(
        self, kernel: Kernel, kind: str, trees: list[Dir], paths: list[str]
    ) -> None:
        """The very same directories are mounted and read; whole trees with owners and times too."""
        BY_ID[kind].require()
        with scratch() as base:
            sites = BY_ID[kind].sites(base, trees)
            lowers = [str(number) for number in range(len(trees))]
            with mounted(kernel, base, lowers), union_of([site.layer() for site in sites]) as stack:
                view = UnionView(stack.root)
                assert_agree(kernel, view, paths)
                assert kernel.whole() == view.whole()

    @pytest.mark.parametrize("kind", TRANSLATED)
    @shared_worker
    @given(trees=oracle.stacks(), paths=st.lists(oracle.paths, min_size=1, max_size=8))
    def test_in_the_other_formats(
        self, kernel: Kernel, kind: str, trees: list[Dir], paths: list[str]
    ) -> None:
        """The description in one format is read, in the kernel's it is mounted."""
        ground = BY_ID[kind]
        with scratch() as base:
            said = for_kernel(trees, opaque_roots=ground.opaque_roots)
            BY_ID["local-overlayfs"].sites(base, said)
            (base / "ours").mkdir()
            sites = ground.sites(base / "ours", trees)
            lowers = [str(number) for number in range(len(said))]
            with mounted(kernel, base, lowers), union_of([site.layer() for site in sites]) as stack:
                assert_agree(kernel, UnionView(stack.root), paths)

    @shared_worker
    @given(trees=oracle.stacks(), paths=st.lists(oracle.paths, min_size=1, max_size=8))
    def test_with_user_xattrs(self, kernel: Kernel, trees: list[Dir], paths: list[str]) -> None:
        """The rootless variant: `userxattr`."""
        options = "userxattr,index=off"
        if (reason := no_mounts(options)) is not None:
            pytest.skip(reason)
        BY_ID["local-userxattr"].require()
        with scratch() as base:
            sites = BY_ID["local-userxattr"].sites(base, trees)
            lowers = [str(number) for number in range(len(trees))]
            layers = [site.layer() for site in sites]
            with mounted(kernel, base, lowers, options=options), union_of(layers) as stack:
                view = UnionView(stack.root)
                assert_agree(kernel, view, paths)
                assert kernel.whole() == view.whole()

    @shared_worker
    @given(trees=oracle.stacks(), paths=st.lists(oracle.paths, min_size=1, max_size=8))
    def test_the_model_itself(self, kernel: Kernel, trees: list[Dir], paths: list[str]) -> None:
        """The reference model says what the kernel says: the other property tests rest on it."""
        with scratch() as base:
            BY_ID["local-overlayfs"].sites(base, trees)
            with mounted(kernel, base, [str(number) for number in range(len(trees))]):
                model = oracle.Union(trees, opaque_roots=False)
                assert kernel.walk("/") == model.walk("/")
                questions = [(question, (path,)) for path in paths for question in ASKED]
                for (question, (path,)), answer in zip(questions, kernel.ask(questions), strict=True):
                    assert (question, path, answer) == (
                        question,
                        path,
                        outcome(getattr(model, question), path),
                    )


@pytest.mark.rule("L3", "L5")
@pytest.mark.parametrize("kind", [*KERNELS_OWN, "local-oci", "local-table"])
def test_five_hundred_lowers(kernel: Kernel, kind: str) -> None:
    """As many lowers as the kernel takes."""
    trees = _many_layers(500)
    with scratch() as base:
        BY_ID[kind if kind in KERNELS_OWN else "local-overlayfs"].sites(base, trees)
        (base / "ours").mkdir()
        sites = BY_ID[kind].sites(base / "ours", trees)
        layers = [site.layer() for site in sites]
        with mounted(kernel, base, [str(number) for number in range(500)]), union_of(layers) as stack:
            assert_agree(kernel, UnionView(stack.root), ["/all/merged", "/missing", "/layer 499/f"])


def _many_layers(number: int) -> list[Dir]:
    """Layers that all share directories, hide each other's names, and end a merge now and then."""
    return [
        Dir(
            {
                "all": Dir({f"n{at}": File(b"%d" % at), "merged": Dir({f"m{at}": Link(f"../n{at}")})}),
                f"layer {at}": Dir({"f": File(b"%d" % at)}),
                f"layer {at + 3}": Whiteout() if at % 5 == 0 else Dir({"above": File()}),
                f"cut{at % 50}": Dir({f"c{at}": File()}, opaque=at % 100 == 7),
            }
        )
        for at in range(number)
    ]


class TestUppersThatTheKernelWrote:
    """`overlayfs` format: what the kernel writes, we read as it does."""

    LOWER = Dir(
        {
            "a": Dir({"f": File(b"a/f"), "deep": Dir({"g": File(b"a/deep/g"), "l": Link("../f")})}),
            "b": Dir({"f": File(b"b/f"), "sub": Dir({"h": File(b"b/sub/h")})}),
            "c": Dir({"p": Fifo(), "f": File(b"c/f", 0o600)}, mode=0o711),
            "file": File(b"file"),
            "link": Link("/a/deep"),
        }
    )
    BOTTOM = Dir(
        {"a": Dir({"deep": Dir({"bottom": File(b"bottom")})}), "b": Dir({"sub": Dir({"i": File()})})}
    )

    @pytest.mark.rule("M7", "M1")
    @pytest.mark.parametrize(
        "steps",
        [
            [("os.rename", "/a", "/moved")],
            [("os.rename", "/a", "/moved"), ("os.rename", "/moved/deep", "/moved/deeper")],
            [("os.rename", "/a/deep", "/elsewhere"), ("os.rename", "/a", "/z"), ("os.mkdir", "/a")],
            [("os.rename", "/a", "/t"), ("os.rename", "/b", "/a"), ("os.rename", "/t", "/b")],
            [("os.rename", "/a/deep", "/b/deep"), ("os.rename", "/b/sub", "/b/deep/sub")],
            [("os.rename", "/a", "/b/a"), ("os.rename", "/b", "/c/b"), ("os.rename", "/c", "/d")],
            [("os.rename", "/a/deep", "/b/in"), ("write", "/b/in/new", b"new"), ("os.unlink", "/b/in/g")],
            [("os.unlink", "/file"), ("os.mkdir", "/file"), ("write", "/file/x", b"x")],
            [
                ("os.unlink", "/b/f"),
                ("os.unlink", "/b/sub/h"),
                ("os.unlink", "/b/sub/i"),
                ("os.rmdir", "/b/sub"),
            ],
            [("os.chmod", "/c/f", 0o640), ("os.chmod", "/c", 0o700), ("os.rename", "/c/f", "/c/g")],
            [("os.rename", "/link", "/link2"), ("os.symlink", "/b", "/link"), ("os.link", "/a/f", "/hard")],
        ],
        ids=lambda steps: " ".join(str(word) for step in steps for word in step[:1]),
    )
    def test_after_a_few_steps(self, kernel: Kernel, steps: list[tuple[object, ...]]) -> None:
        """Renames of directories leave redirects, re-created ones are opaque, deletions are devices."""
        self._run(kernel, steps, OPTIONS)

    @pytest.mark.rule("M7")
    @pytest.mark.parametrize("seed", range(12))
    def test_after_random_steps(self, kernel: Kernel, seed: int) -> None:
        """A hundred random changes, whatever they come to."""
        self._run(kernel, _random_steps(random.Random(seed), 100), OPTIONS)

    @pytest.mark.rule("M7")
    @pytest.mark.parametrize("seed", range(4))
    def test_with_metadata_only_copy_up(self, kernel: Kernel, seed: int) -> None:
        """`metacopy=on`: changed modes and owners above, data below, also through redirects."""
        options = "redirect_dir=on,index=off,metacopy=on"
        steps: list[tuple[object, ...]] = [("os.chmod", "/a/f", 0o600), ("os.chown", "/b/f", 1, 1)]
        steps += [("os.rename", "/a/f", "/b/moved"), ("os.rename", "/b", "/q"), ("os.chmod", "/file", 0o604)]
        self._run(kernel, steps + _random_steps(random.Random(seed), 60), options)

    @pytest.mark.rule("M1")
    @pytest.mark.parametrize("seed", range(4))
    def test_with_user_xattrs(self, kernel: Kernel, seed: int) -> None:
        """`userxattr`: no redirects there, but opaque directories and whiteouts."""
        options = "userxattr,index=off"
        if (reason := no_mounts(options)) is not None:
            pytest.skip(reason)
        self._run(kernel, _random_steps(random.Random(seed), 100), options, ground=BY_ID["local-userxattr"])

    def _run(
        self,
        kernel: Kernel,
        steps: Sequence[tuple[object, ...]],
        options: str,
        ground: Ground = BY_ID["local-overlayfs"],
    ) -> None:
        from unionpath import Layer

        with scratch() as base:
            sites = ground.sites(base, [self.LOWER, self.BOTTOM])
            (base / "upper").mkdir()
            with mounted(kernel, base, ["0", "1"], upper="upper", options=options):
                kernel.ask([(str(step[0]), step[1:]) for step in steps])
            layers = [Layer(base / "upper", whiteouts="overlayfs", userxattr=ground.userxattr)]
            layers += [site.layer() for site in sites]
            lowers = ["upper", "0", "1"]
            with mounted(kernel, base, lowers, options=options), union_of(layers) as stack:
                view = UnionView(stack.root)
                for _ in range(2):
                    assert_agree(kernel, view, ["/a/deep/g", "/moved/f", "/b/sub/h", "/link/g"])
                assert kernel.whole() == view.whole()


def _random_steps(chance: random.Random, number: int) -> list[tuple[object, ...]]:
    names = ["a", "b", "c", "file", "link", "f", "deep", "sub", "new", "g"]

    def place() -> str:
        return "/" + "/".join(chance.choices(names, k=chance.choice((1, 1, 2, 2, 3))))

    makers: list[Callable[[], tuple[object, ...]]] = [
        lambda: ("os.rename", place(), place()),
        lambda: ("os.rename", place(), place()),
        lambda: ("os.rename", place(), place()),
        lambda: ("os.mkdir", place()),
        lambda: ("os.mkdir", place()),
        lambda: ("os.unlink", place()),
        lambda: ("os.rmdir", place()),
        lambda: ("write", place(), b"%d" % chance.randrange(1000)),
        lambda: ("os.symlink", place(), place()),
        lambda: ("os.link", place(), place()),
        lambda: ("os.chmod", place(), chance.choice((0o700, 0o640, 0o755))),
    ]
    return [chance.choice(makers)() for _ in range(number)]


@pytest.mark.rule("M1", "M5", "N3")
@pytest.mark.parametrize("value", [b"x", b"y"], ids=["x", "y"])
def test_xattr_whiteouts_by_the_mark_of_their_directory(kernel: Kernel, value: bytes) -> None:
    """An xattr whiteout counts where the directory says `x`, and doesn't show in an opaque one."""
    BY_ID["local-overlayfs-files"].require()
    with scratch() as base:
        trees = [Dir({"d": Dir({"gone": Whiteout(), "f": File()})}), Dir({"d": Dir({"gone": File(b"1")})})]
        sites = BY_ID["local-overlayfs-files"].sites(base, trees)
        sites[0].writer.set_xattr(("d",), "trusted.overlay.opaque", value)
        with mounted(kernel, base, ["0", "1"]), union_of([site.layer() for site in sites]) as stack:
            assert_agree(kernel, UnionView(stack.root), ["/d/gone"])


class TestRefusedChanges:
    """E1: what a mount without an upper says to a change, we say too."""

    TREE = Dir(
        {"f": File(b"data"), "d": Dir({"x": File()}), "e": Dir(), "l": Link("f"), "broken": Link("no")}
    )
    NAMES = ("/f", "/d", "/e", "/l", "/broken", "/missing", "/missing/x", "/f/x", "/d/x", "/d/..", "/")
    CHANGES: ClassVar[dict[str, tuple[Callable[[UnionPath], object], tuple[object, ...]]]] = {
        "unlink": (lambda p: p.unlink(), ()),
        "rmdir": (lambda p: p.rmdir(), ()),
        "mkdir": (lambda p: p.mkdir(), ()),
        "chmod": (lambda p: p.chmod(0o600), (0o600,)),
        "open a": (lambda p: p.open("ab"), (os.O_WRONLY | os.O_CREAT | os.O_APPEND,)),
        "open w": (lambda p: p.open("wb"), (os.O_WRONLY | os.O_CREAT | os.O_TRUNC,)),
        "open x": (lambda p: p.open("xb"), (os.O_WRONLY | os.O_CREAT | os.O_EXCL,)),
        "open r+": (lambda p: p.open("r+b"), (os.O_RDWR,)),
    }

    @pytest.mark.rule("E1")
    @pytest.mark.parametrize("change", CHANGES)
    def test_of_one_path(self, kernel: Kernel, change: str) -> None:
        """Every mutation is EROFS, except what is noticed before."""
        ours, arguments = self.CHANGES[change]
        function = f"os.{change.split(maxsplit=1)[0]}"
        self._compare(kernel, [(name, function, (name, *arguments), ours) for name in self.NAMES])

    @pytest.mark.rule("E1", "R6")
    @pytest.mark.parametrize("function", ["rename", "link", "symlink"])
    def test_of_two_paths(self, kernel: Kernel, function: str) -> None:
        """A rename of a missing name too."""

        def ours(target: str) -> Callable[[UnionPath], object]:
            if function == "rename":
                return lambda path: path.rename(path.with_segments(target))
            if function == "link":
                return lambda path: path.with_segments(target).hardlink_to(path)
            return lambda path: path.with_segments(target).symlink_to(path)

        pairs = [(one, other) for one in self.NAMES for other in self.NAMES]
        self._compare(kernel, [(one, f"os.{function}", (one, other), ours(other)) for one, other in pairs])

    def _compare(
        self,
        kernel: Kernel,
        cases: list[tuple[str, str, tuple[object, ...], Callable[[UnionPath], object]]],
    ) -> None:
        with scratch() as base:
            sites = BY_ID["local-overlayfs"].sites(base, [Dir(), self.TREE])
            with mounted(kernel, base, ["0", "1"]), union_of([site.layer() for site in sites]) as stack:
                answers = kernel.ask([(function, arguments) for _, function, arguments, _ in cases])
                ours = [
                    (function, arguments, _refusal(call, stack.root / name))
                    for name, function, arguments, call in cases
                ]
                theirs = [
                    (function, arguments, answer)
                    for (_, function, arguments, _), answer in zip(cases, answers, strict=True)
                ]
                assert theirs == ours


def _refusal(call: Callable[[UnionPath], object], path: UnionPath) -> tuple[str, object]:
    try:
        call(path)
    except OSError as error:
        return "error", errno.errorcode[error.errno or 0]
    return "value", None


class TestRealTrees:
    """Trees of this very system, split over layers."""

    LIMIT = 20_000

    @pytest.mark.rule("L3", "L5", "L7", "N1", "N3")
    @pytest.mark.parametrize("kind", ["local-overlayfs", "local-oci"])
    def test_a_system_tree_over_three_layers(self, kernel: Kernel, tmp_path: Path, kind: str) -> None:
        """Walked and read completely, with whiteouts, equal to what the kernel mount shows."""
        source = _system_tree(self.LIMIT)
        if source is None:
            pytest.skip("this system has no tree of a thousand files to read")
        plan = _split(source, tmp_path, random.Random(1))
        _hide(plan, BY_ID["local-overlayfs"], tmp_path)
        ours = tmp_path
        if kind != "local-overlayfs":
            ours = tmp_path / "ours"
            for layer in ("0", "1", "2"):
                shutil.copytree(
                    tmp_path / layer, ours / layer, symlinks=True, copy_function=os.link, ignore=_devices
                )
            _hide(plan, BY_ID[kind], ours)
        layers = [BY_ID[kind].site(ours / layer).layer() for layer in ("0", "1", "2")]
        with mounted(kernel, tmp_path, ["0", "1", "2"]), union_of(layers) as stack:
            shown, theirs = UnionView(stack.root).whole(), kernel.whole()
            assert len(shown) > 1_000
            if kind == "local-overlayfs":
                assert theirs == shown
            else:  # a directory with markers by name was written to at another time
                assert _without_times(theirs) == _without_times(shown)


def _system_tree(limit: int) -> Path | None:
    """Find the largest tree of the system that a test may read."""
    for name in ("doc", "perl", "zoneinfo", "locale", "mime"):
        tree = Path("/usr/share") / name
        if tree.is_dir() and 1_000 < sum(len(files) for _, _, files in os.walk(tree)) <= limit:
            return tree
    return None


def _split(source: Path, base: Path, chance: random.Random) -> list[tuple[str, tuple[str, ...]]]:
    """Spread a tree over three layers, some files in two; give what shall be whited out, and where."""
    hidden: list[tuple[str, tuple[str, ...]]] = []
    for top, folders, files in os.walk(source):
        inside = os.path.relpath(top, source)
        where = ("0", "1", "2")
        for layer in where:
            os.makedirs(base / layer / inside, exist_ok=True)
        for name in files:
            chosen = chance.sample(where, chance.choice((1, 1, 1, 2)))
            for layer in chosen:
                _copy(Path(top) / name, base / layer / inside / name, layer)
            parts = (*Path(inside).parts, name)
            if chance.random() < 0.1 and "0" not in chosen:
                hidden.append(("0", parts))
            elif chance.random() < 0.1 and chosen == ["2"]:
                hidden.append(("1", parts))
        real = [name for name in folders if not os.path.islink(Path(top) / name)]
        hidden += [("-", (*Path(inside).parts, name)) for name in real if chance.random() < 0.02]
    return hidden


def _copy(source: Path, target: Path, layer: str) -> None:
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
    elif source.is_file():
        shutil.copy2(source, target)
        if layer == "1":
            target.chmod(0o600)


def _hide(plan: list[tuple[str, tuple[str, ...]]], ground: Ground, base: Path) -> None:
    sites = {layer: ground.site(base / layer) for layer in ("0", "1", "2")}
    for layer, parts in plan:
        if layer != "-":
            sites[layer].put(parts, Whiteout())
            continue
        for top in ("0", "1"):
            if (base / top).joinpath(*parts).is_dir():
                sites[top].set_opaque(parts, top == "1")


def _devices(directory: str, names: list[str]) -> set[str]:
    return {name for name in names if Path(directory, name).is_char_device()}


def _without_times(rows: list[tuple[str, str, int, int, int, int, str]]) -> list[tuple[object, ...]]:
    return [(*row[:5], 0 if row[1] == "dir" else row[5], *row[6:]) for row in rows]
