"""Layers and stacks as values, what can be made of a stack, and the rules that a stack itself keeps."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from unionpath import Cache, Layer, LayerStack, UnsupportedOperation, memory_layer
from unionpath.model.entry import Kind
from unionpath.stack import named_stack
from unionpath.stores.memory import MemoryStore


@pytest.fixture
def dirs(tmp_path: Path) -> list[Path]:
    """Three empty directories."""
    made = [tmp_path / name for name in "abc"]
    for directory in made:
        directory.mkdir()
    return made


VARIANTS: list[Callable[[Path], Layer]] = [
    Layer,
    lambda at: Layer(at, name="other"),
    lambda at: Layer(at, whiteouts="unionfs"),
    lambda at: Layer(at, whiteouts="table"),
    lambda at: Layer(at, immutable=True),
    lambda at: Layer(at, at="/below"),
    lambda at: Layer(at, root="/sub"),
    lambda at: Layer(at, workdir=at.parent / "work"),
    lambda at: Layer(at.parent / "b"),
]


class TestLayer:
    @pytest.mark.rule("E3")
    def test_marks_that_only_root_can_read(self, dirs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("unionpath.opener.can_read_trusted_xattrs", lambda: False)
        with pytest.raises(PermissionError, match="userxattr=True") as caught:
            Layer(dirs[0], whiteouts="overlayfs")
        assert (errno.EPERM, str(dirs[0])) == (caught.value.errno, caught.value.filename)
        assert Layer(dirs[0], whiteouts="overlayfs", userxattr=True).format.name == "overlayfs"

    def test_a_system_without_dir_fd(self, dirs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "supports_dir_fd", set[object]())
        with pytest.raises(UnsupportedOperation, match="UPath"):
            Layer(dirs[0])

    def test_equal_by_what_it_shows(self, dirs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        one = Layer(dirs[0])
        monkeypatch.chdir(dirs[1])
        same = [Layer(str(dirs[0])), Layer("../a"), Layer(f"{dirs[1]}/../a/."), copy.copy(one)]
        assert {one} == {one, *same}
        assert all(one == other for other in same)
        assert one != str(dirs[0])

    def test_different_by_its_options(self, dirs: list[Path]) -> None:
        (dirs[0] / "sub").mkdir()
        layers = [make(dirs[0]) for make in VARIANTS]
        assert len(VARIANTS) == len(set(layers))
        for one, layer in enumerate(layers):
            assert [one] == [number for number, other in enumerate(layers) if other == layer]

    @pytest.mark.parametrize("make", VARIANTS)
    def test_pickles(self, dirs: list[Path], make: Callable[[Path], Layer]) -> None:
        (dirs[0] / "sub").mkdir()
        layer = make(dirs[0])
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(layer, protocol))
            assert layer == again
            assert (layer.name, layer.source, layer.workdir) == (again.name, again.source, again.workdir)
            assert layer.format.name == again.format.name

    @pytest.mark.rule("E8")
    def test_pickles_after_a_chdir(self, dirs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """Relative layer paths are made absolute at construction, so that a later chdir changes nothing."""
        monkeypatch.chdir(dirs[0].parent)
        layer = Layer("a", workdir="b")
        monkeypatch.chdir("/")
        assert layer == pickle.loads(pickle.dumps(layer))
        assert (str(dirs[0]), str(dirs[1])) == (layer.source, layer.workdir)
        assert repr(layer) == f"Layer({str(dirs[0])!r}, workdir={str(dirs[1])!r})"

    @pytest.mark.parametrize("make", VARIANTS)
    def test_its_repr_makes_it_again(self, dirs: list[Path], make: Callable[[Path], Layer]) -> None:
        (dirs[0] / "sub").mkdir()
        layer = make(dirs[0])
        assert layer == eval(repr(layer), {"Layer": Layer})

    @pytest.mark.parametrize("name", ["source", "name", "store", "format", "immutable", "workdir", "more"])
    def test_does_not_change(self, dirs: list[Path], name: str) -> None:
        with pytest.raises(AttributeError):
            setattr(Layer(dirs[0]), name, None)

    def test_memory_layers_are_themselves(self) -> None:
        one, other = memory_layer(), memory_layer()
        assert one != other
        assert one == Layer(one.source)
        with pytest.raises(TypeError):
            pickle.dumps(one)

    def test_an_immutable_memory_layer_travels(self) -> None:
        store = MemoryStore()
        store.root().create("f", b"data")
        layer = Layer(store, immutable=True)
        again = pickle.loads(pickle.dumps(layer))
        with LayerStack([again]) as stack:
            assert b"data" == stack.resolver.read("/f")

    def test_takes_no_layer(self, dirs: list[Path]) -> None:
        with pytest.raises(TypeError, match="already"):
            Layer(Layer(dirs[0]))  # type: ignore[arg-type]


class TestStack:
    def test_equal_by_layers_and_options(self, dirs: list[Path]) -> None:
        a, b, c = dirs
        made: list[Callable[[], LayerStack]] = [
            lambda: LayerStack([a, b]),
            lambda: LayerStack([b, a]),
            lambda: LayerStack([b], upper=a),
            lambda: LayerStack([a, b, c]),
            lambda: LayerStack([Layer(a, immutable=True), b]),
            lambda: LayerStack([a, b], case="insensitive"),
            lambda: LayerStack([a, b], on_layer_error="skip"),
            lambda: LayerStack([a, b], rename_dir="exdev"),
            lambda: LayerStack([a, b], name="equal-by-name"),
        ]
        stacks = [make() for make in made]
        assert len(made) == len(set(stacks))
        for number, make in enumerate(made):
            again = make()
            assert [number] == [other for other, stack in enumerate(stacks) if stack == again]
            assert hash(stacks[number]) == hash(again)
        assert LayerStack([a]) != [a]

    def test_what_is_remembered_makes_no_difference(self, dirs: list[Path]) -> None:
        one, other = LayerStack(dirs), LayerStack(dirs, cache=Cache(ttl=5))
        one.resolver.listing("/")
        assert one == other
        assert hash(one) == hash(other)

    def test_pickles(self, dirs: list[Path]) -> None:
        stack = LayerStack(
            dirs[1:], upper=dirs[0], case="insensitive", on_layer_error="skip", rename_dir="exdev",
            durability="strict", cache=Cache(ttl=5),
        )  # fmt: skip
        stack.resolver.listing("/")
        again = pickle.loads(pickle.dumps(stack))
        assert stack == again
        assert stack.upper == again.upper
        assert stack._options() == again._options()

    def test_serves_worker_processes(self, dirs: list[Path]) -> None:
        (dirs[1] / "f").write_text("data")
        program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).resolver.read('/f').decode())"
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=pickle.dumps(LayerStack(dirs)),
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert b"data" == done.stdout.strip()

    @pytest.mark.parametrize("name", ["layers", "resolver", "lowers", "upper", "name", "case", "more"])
    def test_does_not_change(self, dirs: list[Path], name: str) -> None:
        stack = LayerStack(dirs)
        with pytest.raises(AttributeError):
            setattr(stack, name, None)

    def test_layers_are_top_first(self, dirs: list[Path]) -> None:
        a, b, c = map(Layer, dirs)
        stack = LayerStack([b, c], upper=a)
        assert ((a, b, c), (b, c), a) == (stack.layers, stack.lowers, stack.upper)
        assert LayerStack([a]).upper is None

    def test_lowers_may_come_from_anywhere(self, dirs: list[Path]) -> None:
        assert LayerStack(dirs) == LayerStack(iter(dirs)) == LayerStack(tuple(map(Layer, dirs)))

    def test_gives_paths(self, dirs: list[Path]) -> None:
        stack = LayerStack(dirs)
        assert "/" == str(stack.root) == str(stack / "/")
        assert "/etc/x" == str(stack / "etc/x") == str(stack / "/etc/x")

    @pytest.mark.changes_lowers("to see the union follow")
    def test_can_be_used_after_close(self, dirs: list[Path]) -> None:
        with LayerStack(dirs) as stack:
            stack.resolver.listing("/")
        (dirs[2] / "new").touch()
        assert Kind.FILE == stack.resolver.kind("/new")
        stack.close()
        stack.close()


class TestDerived:
    def test_push(self, dirs: list[Path], tmp_path: Path) -> None:
        (dirs[0] / "f").write_text("a")
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "f").write_text("new")
        stack = LayerStack(dirs[1:], upper=dirs[0], on_layer_error="skip", name="push-test")
        pushed = stack.push(tmp_path / "new")
        assert stack.layers == pushed.lowers
        assert (Layer(tmp_path / "new"), None) == (pushed.upper, pushed.name)
        assert (b"a", b"new") == (stack.resolver.read("/f"), pushed.resolver.read("/f"))
        assert LayerStack(dirs, upper=tmp_path / "new", on_layer_error="skip") == pushed

    def test_push_of_what_is_in_it(self, dirs: list[Path]) -> None:
        with pytest.raises(ValueError, match="twice"):
            LayerStack(dirs).push(dirs[1])

    def test_readonly(self, dirs: list[Path]) -> None:
        stack = LayerStack(dirs[1:], upper=dirs[0], case="insensitive")
        fixed = stack.readonly()
        assert (stack.layers, None, "insensitive") == (fixed.layers, fixed.upper, fixed.case)
        assert fixed == LayerStack(dirs, case="insensitive")

    def test_only(self, dirs: list[Path]) -> None:
        for number, directory in enumerate(dirs):
            (directory / "f").write_text(str(number))
        (dirs[0] / ".wh.g").touch()
        stack = LayerStack(dirs[1:], upper=dirs[0])
        for number, layer in enumerate(stack.layers):
            only = stack.only(number)
            assert ((layer,), None) == (only.layers, only.upper)
            assert str(number).encode() == only.resolver.read("/f")
            assert ["f"] == list(only.resolver.listing("/"))
            assert only is stack.only(number)
        with pytest.raises(IndexError):
            stack.only(3)


class TestNames:
    def test_a_stack_is_found_by_its_name(self, dirs: list[Path]) -> None:
        stack = LayerStack(dirs, name="names-one")
        assert stack is named_stack("names-one")
        assert "<LayerStack 'names-one'>" == repr(stack)
        del stack
        gc.collect()
        with pytest.raises(LookupError, match="names-one"):
            named_stack("names-one")

    def test_a_name_is_one_stacks(self, dirs: list[Path]) -> None:
        stack = LayerStack(dirs, name="names-two")
        with pytest.raises(ValueError, match="names-two"):
            LayerStack(dirs[:1], name="names-two")
        assert stack == LayerStack(dirs, name="names-two")
        assert stack is named_stack("names-two")

    @pytest.mark.parametrize("name", ["", "a/b", "a\0"])
    def test_a_name_is_a_host(self, dirs: list[Path], name: str) -> None:
        with pytest.raises(ValueError, match="union://"):
            LayerStack(dirs, name=name)

    def test_pickles_as_the_one_that_lives(self, dirs: list[Path]) -> None:
        stack = LayerStack(dirs, name="names-three")
        data = pickle.dumps(stack)
        assert stack is pickle.loads(data)
        del stack
        gc.collect()
        again = pickle.loads(data)
        assert again is named_stack("names-three")
        assert "names-three" == again.name


@pytest.mark.rule("E3")
class TestOverlap:
    """The same directory twice, and an upper inside a lower or the reverse, are refused at construction."""

    @pytest.mark.parametrize(
        "given",
        [
            lambda d: [d[0], d[0]],
            lambda d: [d[0], Layer(d[0], immutable=True)],
            lambda d: [d[0], Layer(d[0], at="/below")],
            lambda d: [d[0], d[0] / "sub"],
            lambda d: [d[0] / "sub", d[1], d[0]],
            lambda d: [d[0], Layer(d[0], root="/sub")],
            lambda d: [d[0] / "sub", Layer(d[0], root="/sub")],
            lambda d: [d[0], Layer(d[0].parent, root="/a")],
            lambda d: [d[0], Layer(d[0].parent, root="/a/sub", at="/x")],
            lambda d: [d[0], d[2] / "link"],
            lambda d: [d[0], d[1] / ".." / "a"],
        ],
    )
    def test_refused(self, dirs: list[Path], given: Callable[[list[Path]], list[Layer | Path]]) -> None:
        (dirs[0] / "sub").mkdir()
        (dirs[2] / "link").symlink_to(dirs[0] / "sub")
        layers = given(dirs)
        with pytest.raises(ValueError, match=r"twice|inside"):
            LayerStack(layers)
        with pytest.raises(ValueError, match=r"twice|inside"):
            LayerStack(layers[1:], upper=layers[0])

    def test_parts_that_are_apart(self, dirs: list[Path]) -> None:
        for name in ("one", "one-more"):
            (dirs[0] / name).mkdir()
            (dirs[0] / name / name).touch()
        stack = LayerStack([Layer(dirs[0], root="/one"), Layer(dirs[0], root="/one-more"), dirs[1]])
        assert ["one", "one-more"] == list(stack.resolver.listing("/"))


@pytest.mark.rule("N5")
class TestCase:
    """A stack over case-insensitive stores declares it, and whiteouts fold the same way."""

    @pytest.fixture
    def stack(self, dirs: list[Path]) -> LayerStack:
        return LayerStack(dirs, case="insensitive")

    @pytest.mark.changes_lowers("to see the union follow")
    def test_names_in_any_case(self, stack: LayerStack, dirs: list[Path]) -> None:
        (dirs[1] / "ReadMe").write_text("b")
        (dirs[2] / "README").write_text("c")
        for _ in range(3):
            assert ["ReadMe"] == list(stack.resolver.listing("/"))
            for spelling in ("/readme", "/README", "/ReadMe"):
                assert b"b" == stack.resolver.read(spelling)
                assert Kind.FILE == stack.resolver.kind(spelling)
                assert (1,) == stack.resolver.origins(spelling)
                assert "/ReadMe" == stack.resolver.realpath(spelling, strict=True)

    @pytest.mark.changes_lowers("to see the union follow")
    def test_whiteouts_in_another_case(self, stack: LayerStack, dirs: list[Path]) -> None:
        (dirs[0] / ".wh.READme").touch()
        (dirs[1] / "readme").touch()
        (dirs[2] / "ReadMe").touch()
        for _ in range(3):
            assert [] == list(stack.resolver.listing("/"))
            for spelling in ("/readme", "/READme", "/ReadMe"):
                assert -1 == stack.resolver.kind(spelling)
        (dirs[0] / ".wh.READme").unlink()
        assert ["readme"] == list(stack.resolver.listing("/"))

    @pytest.mark.changes_lowers("to see the union follow")
    def test_directories_spelled_differently_merge(self, stack: LayerStack, dirs: list[Path]) -> None:
        for directory, name in zip(dirs, ("Etc", "ETC", "etc"), strict=True):
            (directory / name / "Sub").mkdir(parents=True)
            (directory / name / "Sub" / directory.name).write_text(name)
        (dirs[1] / "ETC/.wh.SUB").touch()
        for _ in range(3):
            assert ["Etc"] == list(stack.resolver.listing("/"))
            assert (0, 1, 2) == stack.resolver.origins("/eTC")
            assert (0, 1) == stack.resolver.origins("/etc/sub")
            assert ["a", "b"] == list(stack.resolver.listing("/etc/SUB"))
            assert b"ETC" == stack.resolver.read("/ETC/sub/B")
            assert "/Etc/Sub/b" == stack.resolver.realpath("/etc/x/../sub/b", strict=False)

    @pytest.mark.changes_lowers("to see the union follow")
    def test_versions_are_spelled_as_their_layers_do(self, stack: LayerStack, dirs: list[Path]) -> None:
        for directory, name in zip(dirs, ("Etc/Conf", "ETC/CONF", "etc/conf"), strict=True):
            (directory / name).parent.mkdir()
            (directory / name).write_text(name)
        assert ((0, "/Etc/Conf"), (1, "/ETC/CONF"), (2, "/etc/conf")) == stack.resolver.versions("/etc/conf")
        assert ["Etc/Conf", "ETC/CONF", "etc/conf"] == [
            path.read_text() for path in (stack / "etc/conf").versions()
        ]

    @pytest.mark.changes_lowers("to see the union follow")
    def test_links_and_dots(self, stack: LayerStack, dirs: list[Path]) -> None:
        (dirs[2] / "Dir/Below").mkdir(parents=True)
        (dirs[0] / "Link").symlink_to("DIR/below/..")
        (dirs[1] / "abs").symlink_to("/dir/BELOW")
        assert "/Dir" == stack.resolver.realpath("/LINK", strict=True)
        assert "/Dir/Below" == stack.resolver.realpath("/ABS", strict=True)
        assert ["Below"] == list(stack.resolver.listing("/link/below/.."))

    @pytest.mark.changes_lowers("to see the union follow")
    def test_changes_are_seen(self, stack: LayerStack, dirs: list[Path]) -> None:
        (dirs[2] / "D").mkdir()
        for number in range(5):
            (dirs[2] / "D" / f"File{number}").touch()
            assert Kind.FILE == stack.resolver.kind(f"/d/fILE{number}")
            (dirs[1] / "d").mkdir()
            (dirs[1] / "d" / f".wh.file{number}").touch()
            assert -1 == stack.resolver.kind(f"/d/FILE{number}")
            (dirs[1] / "d" / f".wh.file{number}").unlink()
            (dirs[1] / "d").rmdir()
            assert Kind.FILE == stack.resolver.kind(f"/D/file{number}")

    @pytest.mark.changes_lowers("to see the union follow")
    def test_names_that_one_layer_tells_apart(self, stack: LayerStack, dirs: list[Path]) -> None:
        """The first by code points shows; the other can't be reached, but nothing fails."""
        for name in ("File", "file"):
            (dirs[1] / name).write_text(name)
        assert ["File"] == list(stack.resolver.listing("/"))
        assert b"File" == stack.resolver.read("/file")

    def test_cases_are_told_apart_by_default(self, dirs: list[Path]) -> None:
        (dirs[0] / ".wh.File").touch()
        (dirs[1] / "file").touch()
        stack = LayerStack(dirs)
        for _ in range(3):
            assert (Kind.FILE, -1) == (stack.resolver.kind("/file"), stack.resolver.kind("/File"))
