"""
What a user builds: layers, and stacks of them.

Both are values: made once, never changed, equal by what they show, usable as keys, and sent to worker
processes by pickling. What an upper layer *holds* does change; the stack that shows it does not.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, get_args
from weakref import ref

from unionpath.model.errors import oserror
from unionpath.model.layer import Cache, CacheInfo
from unionpath.model.parts import parse_parts, show_parts
from unionpath.model.store import Capability, Store
from unionpath.model.typed import override
from unionpath.model.whiteout import WhiteoutFormat
from unionpath.opener import LayerSource, WhiteoutName, is_local_path, open_tree, open_workdir
from unionpath.resolve.resolver import Resolver

if TYPE_CHECKING:
    from unionpath.mutate.changes import Change
    from unionpath.mutate.engine import Engine
    from unionpath.path import UnionPath
    from unionpath.stores.memory_state import MemoryState

RenameDir: TypeAlias = Literal["copy", "exdev", "redirect"]
OnLayerError: TypeAlias = Literal["raise", "skip"]
Durability: TypeAlias = Literal["auto", "strict", "volatile"]
Case: TypeAlias = Literal["sensitive", "insensitive"]


class Layer:
    """
    One directory tree, and how its whiteouts are written.

    Args:
        source: a directory (str or PathLike; a relative one is made absolute now, E8), a URL that
            universal-pathlib understands (`s3://…`, `memory://…`, `zip://…`), a `UPath` or any
            `ReadablePath`, or a store.
        name: what `explain()` and errors call it; by default its place.
        whiteouts: the format its whiteouts are written in (M1).
        userxattr: for `overlayfs`: xattrs in the `user.` namespace, not in `trusted.`.
        root: take this subtree of the source.
        at: show the tree under this prefix.
        immutable: a promise that the tree will not change; what was seen of it once is kept for good.
        workdir: a directory beside an upper for work in progress; by default it is inside, hidden.

    Raises:
        TypeError, ValueError: `source` or an option is of no use (E8).
        FileNotFoundError (ENOENT), NotADirectoryError (ENOTDIR): there is no such directory (E3).
    """

    __slots__ = (
        "_at",
        "_format",
        "_immutable",
        "_name",
        "_root",
        "_source",
        "_store",
        "_userxattr",
        "_whiteouts",
        "_workdir",
    )

    def __init__(
        self,
        source: LayerSource,
        *,
        name: str | None = None,
        whiteouts: WhiteoutName = "oci",
        userxattr: bool = False,
        root: str = "/",
        at: str = "/",
        immutable: bool = False,
        workdir: str | os.PathLike[str] | None = None,
    ) -> None:
        if isinstance(source, Layer):
            raise TypeError("this is a Layer already; use it as it is")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"a layer's name is a str, not {type(name).__name__}")
        for option, value in (("userxattr", userxattr), ("immutable", immutable)):
            if not isinstance(value, bool):
                raise TypeError(f"{option}= is True or False, not {value!r}")
        if workdir is not None and not isinstance(os.fspath(workdir), str):
            raise TypeError(f"workdir= is a path given as str, not {workdir!r}")
        self._root = parse_parts(root)
        self._at = parse_parts(at)
        self._store, self._format = open_tree(source, self._root, self._at, whiteouts, userxattr=userxattr)
        # What is kept for pickling must mean the same after a chdir.
        self._source: LayerSource = os.path.abspath(source) if is_local_path(source) else source
        self._name = name
        self._whiteouts: WhiteoutName = whiteouts
        self._userxattr = userxattr
        self._immutable = immutable
        self._workdir = None if workdir is None else os.path.abspath(workdir)

    @property
    def source(self) -> LayerSource:
        """What it was made of; a local path is absolute."""
        return self._source

    @property
    def name(self) -> str:
        """What `explain()` and errors call it."""
        return self._store.place if self._name is None else self._name

    @property
    def store(self) -> Store:
        """Where its tree is."""
        return self._store

    @property
    def format(self) -> WhiteoutFormat:
        """How its whiteouts are written."""
        return self._format

    @property
    def whiteouts(self) -> WhiteoutName:
        """The word that picked the format."""
        return self._whiteouts

    @property
    def userxattr(self) -> bool:
        """Whether an `overlayfs` layer's attributes are in the `user.` namespace."""
        return self._userxattr

    @property
    def root(self) -> str:
        """The part of the source that is shown."""
        return show_parts(self._root)

    @property
    def at(self) -> str:
        """The prefix under which it is shown."""
        return show_parts(self._at)

    @property
    def immutable(self) -> bool:
        """Whether the tree was promised not to change."""
        return self._immutable

    @property
    def workdir(self) -> str | None:
        """The directory for work in progress, if one was named."""
        return self._workdir

    def _key(self) -> tuple[object, ...]:
        return (
            self._store.identity,
            self._format.name,
            self._userxattr,
            self._root,
            self._at,
            self._immutable,
            self._name,
            self._workdir,
        )

    @override
    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Layer) else NotImplemented

    @override
    def __hash__(self) -> int:
        return hash(self._key())

    @override
    def __repr__(self) -> str:
        options = "".join(
            f", {key}={value!r}"
            for key, value, default in (
                ("name", self._name, None),
                ("whiteouts", self._format.name, "oci"),
                ("userxattr", self._userxattr, False),
                ("root", show_parts(self._root), "/"),
                ("at", show_parts(self._at), "/"),
                ("immutable", self._immutable, False),
                ("workdir", self._workdir, None),
            )
            if value != default
        )
        return f"Layer({self._source!r}{options})"

    @override
    def __reduce__(self) -> tuple[object, ...]:
        options: _LayerOptions = {
            "name": self._name,
            "whiteouts": self._whiteouts,
            "userxattr": self._userxattr,
            "root": show_parts(self._root),
            "at": show_parts(self._at),
            "immutable": self._immutable,
            "workdir": self._workdir,
        }
        if self._immutable and "unionpath.stores.memory" in sys.modules:
            from unionpath.stores.memory import MemoryStore

            if isinstance(self._source, MemoryStore):  # it will not change, so a copy is as good
                return _make_memory_layer, (self._source.__getstate__(), options)
        return _make_layer, (self._source, options)


class LayerStack:
    """
    Layers shown as one tree: at most one writable upper over lowers, the topmost first.

    Args:
        lowers: layers, or what a `Layer` can be made of, from the top down.
        upper: the layer that takes all changes; without one the union is read-only.
        rename_dir: how a directory that comes from a lower is renamed (R4).
        on_layer_error: what becomes of a layer's fault: `"raise"`, or `"skip"` that layer (L8).
        durability: how much is synced before a change counts as done (E7).
        case: `"insensitive"` for stores to which names that differ in case are the same (N5).
        cache: how much is remembered, and for how long where coherence can't be had.
        name: makes the stack known as `union://NAME/…` in this process.
        adopt: take the upper over even if it was written over other lowers (E3), or if a writer with
            durability "volatile" died over it (E7).

    Raises:
        TypeError, ValueError: an argument is of no use; a tree is given twice, or lies inside another (E3);
            the upper was written over other lowers, or a volatile writer died over it.
        UnsupportedOperation: the upper can't be written to.
        FileNotFoundError, NotADirectoryError: a layer isn't a directory (E3).
    """

    __slots__ = (
        "__weakref__",
        "_cache",
        "_case",
        "_durability",
        "_engine",
        "_hash",
        "_lock",
        "_lowers",
        "_name",
        "_on_layer_error",
        "_only",
        "_rename_dir",
        "_upper",
        "layers",
        "resolver",
    )

    layers: tuple[Layer, ...]
    """All layers, top first."""
    resolver: Resolver
    """What answers for this stack; what a `UnionPath` asks."""

    def __init__(
        self,
        lowers: Iterable[Layer | LayerSource],
        *,
        upper: Layer | LayerSource | None = None,
        rename_dir: RenameDir = "copy",
        on_layer_error: OnLayerError = "raise",
        durability: Durability = "auto",
        case: Case = "sensitive",
        cache: Cache | None = None,
        name: str | None = None,
        adopt: bool = False,
    ) -> None:
        _check_choice("rename_dir", rename_dir, get_args(RenameDir))
        _check_choice("on_layer_error", on_layer_error, get_args(OnLayerError))
        _check_choice("durability", durability, get_args(Durability))
        _check_choice("case", case, get_args(Case))
        if cache is not None and not isinstance(cache, Cache):
            raise TypeError(f"cache= takes a Cache, such as Cache(ttl=5), not {cache!r}")
        self._lowers = tuple(map(_as_layer, _checked_lowers(lowers)))
        self._upper = None if upper is None else _as_layer(upper)
        layers = self._lowers if self._upper is None else (self._upper, *self._lowers)
        if not layers:
            raise ValueError("a stack needs at least one layer")
        _check_overlap(layers)
        self._rename_dir: RenameDir = rename_dir
        self._on_layer_error = on_layer_error
        self._durability: Durability = durability
        self._case = case
        self._cache = cache
        self._name = name
        self._hash: int | None = None
        self._only: dict[int, LayerStack] = {}
        self._lock = threading.Lock()
        object.__setattr__(self, "layers", layers)
        object.__setattr__(
            self,
            "resolver",
            Resolver(
                layers,
                cache=cache or Cache(),
                skip_faults=on_layer_error == "skip",
                fold=str.casefold if case == "insensitive" else None,
                changing=self._upper is not None,
            ),
        )
        self._engine = None if self._upper is None else self._make_engine(self._upper, adopt=adopt)
        if name is not None:
            _register(name, self)

    def _make_engine(self, upper: Layer, *, adopt: bool) -> Engine:
        from unionpath.mutate.engine import Engine

        if upper.workdir is not None:
            _check_workdir(upper.workdir, self.layers)

        watched = upper.store.capabilities & Capability.WATCHABLE and self.cache.ttl is None
        return Engine(
            self.resolver,
            workdir=None if upper.workdir is None else open_workdir(upper.workdir),
            rename_mode=self._rename_dir,
            durability=self._durability,
            adopt=adopt,
            told=not watched,
        )

    @property
    def writer(self) -> Engine | None:
        """What changes this stack, if it has an upper; what a `UnionPath` asks."""
        return self._engine

    @property
    def engine(self) -> Engine:
        """
        What changes this stack, and can say beforehand what a change would do.

        Raises:
            OSError (EROFS): the stack has no upper.
        """
        if self._engine is None:
            raise oserror(
                errno.EROFS, "/", hint="this stack has no upper; make one with LayerStack(…, upper=…)"
            )
        return self._engine

    @override
    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_"):
            raise AttributeError(f"a LayerStack doesn't change: {name} can't be set; make a new one")
        object.__setattr__(self, name, value)

    @override
    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a LayerStack doesn't change: {name} can't be deleted")

    @property
    def lowers(self) -> tuple[Layer, ...]:
        """The layers that are never written, top first."""
        return self._lowers

    @property
    def upper(self) -> Layer | None:
        """The layer that takes all changes."""
        return self._upper

    @property
    def name(self) -> str | None:
        """The name in `union://NAME/…`."""
        return self._name

    @property
    def rename_dir(self) -> RenameDir:
        """How a directory that comes from a lower is renamed (R4)."""
        return self._rename_dir

    @property
    def on_layer_error(self) -> OnLayerError:
        """What becomes of a layer's fault (L8)."""
        return self._on_layer_error

    @property
    def durability(self) -> Durability:
        """How much is synced before a change counts as done (E7)."""
        return self._durability

    @property
    def cache(self) -> Cache:
        """How much is remembered."""
        return self._cache or Cache()

    @property
    def case(self) -> Case:
        """Whether names that differ in case are different names (N5)."""
        return self._case

    @property
    def root(self) -> UnionPath:
        """The path `/` of the union."""
        return self / "/"

    def __truediv__(self, key: str) -> UnionPath:
        # The one import that points upwards: a stack is where paths come from.
        from unionpath.path import UnionPath

        return UnionPath(self, "/", key)

    def push(self, upper: Layer | LayerSource) -> LayerStack:
        """Give a stack with a new upper; the old one is its topmost lower. The new stack has no name."""
        return LayerStack(self.layers, upper=upper, **self._options())

    def readonly(self) -> LayerStack:
        """Give a stack that shows the same and can't be changed. It has no name."""
        return LayerStack(self.layers, **self._options())

    def only(self, index: int) -> LayerStack:
        """
        Give a read-only stack of one layer alone: its own version of things.

        Args:
            index: the layer's place in `layers`.
        """
        with self._lock:
            if index not in self._only:
                self._only[index] = LayerStack([self.layers[index]], **self._options())
            return self._only[index]

    def refresh(self) -> None:
        """Forget everything remembered, so that the next look sees the layers as they are (N4)."""
        self.resolver.refresh()

    def recover(self) -> None:
        """
        Clear what writers left that died, now; opening a stack does it, too (E5).

        Raises:
            OSError (EROFS): the stack has no upper.
        """
        self.engine.recover()

    def changes(self) -> Iterator[Change]:
        """
        Give what the upper changes relative to the lowers, in the order of paths, lazily.

        Nothing, if the stack has no upper. What changes meanwhile is given or not.
        """
        from unionpath.mutate.changes import changes

        if self._upper is None:
            return iter(())
        return changes(
            self.layers,
            skip_faults=self._on_layer_error == "skip",
            fold=str.casefold if self._case == "insensitive" else None,
        )

    def cache_info(self) -> CacheInfo:
        """Tell how much is remembered, and how often that sufficed."""
        return self.resolver.info()

    def close(self) -> None:
        """
        Let go of what is remembered, watched and held open, and end writing; the stack can be used again.
        """
        if self._engine is not None:
            self._engine.close()
        self.resolver.refresh()
        with self._lock:
            parts = tuple(self._only.values())
        for part in parts:
            part.close()
        for layer in self.layers:
            layer.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _options(self) -> _Options:
        return {
            "rename_dir": self._rename_dir,
            "on_layer_error": self._on_layer_error,
            "durability": self._durability,
            "case": self._case,
            "cache": self._cache,
        }

    def _key(self) -> tuple[object, ...]:
        # How much is remembered changes no answer, so it is no part of what a stack is.
        return (
            self.layers,
            self._upper is None,
            self._name,
            self._rename_dir,
            self._on_layer_error,
            self._case,
        )

    @override
    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return self._key() == other._key() if isinstance(other, LayerStack) else NotImplemented

    @override
    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(self._key())
        return self._hash

    @override
    def __repr__(self) -> str:
        if self._name is not None:
            return f"<LayerStack {self._name!r}>"
        upper = "" if self._upper is None else f", upper={self._upper!r}"
        return f"LayerStack({list(self._lowers)!r}{upper})"

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return _make_stack, (self._lowers, self._upper, self._name, self._options())


def named_stack(name: str) -> LayerStack:
    """
    Find a living stack of this process by its name.

    Raises:
        LookupError: there is none.
    """
    stack = _living(name)
    if stack is None:
        raise LookupError(
            f"no stack is named {name!r}; make one with LayerStack(…, name={name!r}) and keep it"
        )
    return stack


def memory_layer(*, name: str | None = None, whiteouts: WhiteoutName = "oci") -> Layer:
    """Make an empty in-memory layer."""
    from unionpath.stores.memory import MemoryStore

    return Layer(MemoryStore(), name=name, whiteouts=whiteouts)


if TYPE_CHECKING:
    from typing import TypedDict

    class _Options(TypedDict):
        rename_dir: RenameDir
        on_layer_error: OnLayerError
        durability: Durability
        case: Case
        cache: Cache | None

    class _LayerOptions(TypedDict):
        name: str | None
        whiteouts: WhiteoutName
        userxattr: bool
        root: str
        at: str
        immutable: bool
        workdir: str | None


_NAMED: dict[str, list[ref[LayerStack]]] = {}
"""Living stacks by name; those of one name are equal."""
_NAMED_LOCK = threading.Lock()


def _register(name: str, stack: LayerStack) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a stack's name is a str, not {type(name).__name__}")
    if not name or "/" in name or "\0" in name:
        raise ValueError(f"a stack's name is the host in union://NAME/…; it can't be {name!r}")
    with _NAMED_LOCK:
        other = _living(name)
        if other is not None and other != stack:
            raise ValueError(f"another stack is named {name!r} already: {other.layers!r}")
        _NAMED[name] = [each for each in _NAMED.get(name, ()) if each() is not None] + [ref(stack)]


def _living(name: str) -> LayerStack | None:
    return next((stack for each in tuple(_NAMED.get(name, ())) if (stack := each()) is not None), None)


def _make_layer(source: LayerSource, options: _LayerOptions) -> Layer:
    return Layer(source, **options)


def _make_memory_layer(state: MemoryState, options: _LayerOptions) -> Layer:
    from unionpath.stores.memory import MemoryStore

    return Layer(MemoryStore.from_state(state), **options)


def _make_stack(
    lowers: tuple[Layer, ...], upper: Layer | None, name: str | None, options: _Options
) -> LayerStack:
    if name is not None and (known := _living(name)) is not None:
        made = LayerStack(lowers, upper=upper, **options)
        if (known.layers, known.upper) == (made.layers, made.upper):
            return known
    return LayerStack(lowers, upper=upper, name=name, **options)


def _as_layer(given: Layer | LayerSource) -> Layer:
    return given if isinstance(given, Layer) else Layer(given)


def _checked_lowers(lowers: Iterable[Layer | LayerSource]) -> Iterable[Layer | LayerSource]:
    if isinstance(lowers, (str, bytes, os.PathLike, Layer)) or not isinstance(lowers, Iterable):
        raise TypeError(f"lowers is a list of layers, top first: LayerStack([…]), not {lowers!r}")
    return lowers


def _check_choice(option: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{option}={value!r}: pick one of {', '.join(map(repr, choices))}")


def _check_workdir(workdir: str, layers: tuple[Layer, ...]) -> None:
    """Refuse to work in a directory that a layer shows, or above one (E3)."""
    place = os.path.realpath(workdir)
    for layer in layers:
        tree = layer.store.real_path
        if tree is not None and os.path.commonpath([place, tree]) in (place, tree):
            raise ValueError(
                f"workdir={workdir!r} and {layer!r} lie inside one another; name a directory that is apart"
                " from all layers, on the file system of the upper"
            )


def _check_overlap(layers: tuple[Layer, ...]) -> None:
    """Refuse one tree given twice, or one inside another (E3), as overlayfs does with ELOOP."""
    seen: dict[object, Layer] = {}
    for layer in layers:
        other = seen.setdefault(layer.store.real_path or layer.store.identity, layer)
        if other is not layer:
            raise ValueError(
                f"the same tree is given twice, as {other!r} and {layer!r}; a stack takes each once"
            )
    for key, layer in seen.items():
        above = key if isinstance(key, str) else ""
        while above not in ("", "/"):
            above = above.rpartition("/")[0] or "/"
            if above in seen:
                raise ValueError(
                    f"one layer lies inside another: {layer!r} in {seen[above]!r}; what changes in one"
                    " changes in both. Give trees that are apart, or parts of one with Layer(…, root=…)"
                )
