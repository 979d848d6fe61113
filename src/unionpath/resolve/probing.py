"""
One name asked of the layers, top down, without any memory of earlier answers.

`Prober` is the only place where a layer is asked about a single name. It knows how layers are asked
(formats, redirects, faults); what their answers mean is decided in `rules.py`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from unionpath.model.entry import Kind, kind_of
from unionpath.model.errors import is_absence, oserror
from unionpath.model.layer import LayerView
from unionpath.model.store import Directory
from unionpath.model.whiteout import Mark, Present, Probe
from unionpath.resolve.resolution import LayerFault, Raced, Source
from unionpath.resolve.rules import Answer, Verdict, decide


class Prober:
    """Asks the layers of one stack; safe to share between threads."""

    def __init__(self, layers: Sequence[LayerView], *, skip_faults: bool, changing: bool = False) -> None:
        """`changing`: the topmost layer is being written to, perhaps by others (see `_settled`)."""
        self.layers = tuple(layers)
        self._formats = tuple(layer.format for layer in layers)
        self._skip_faults = skip_faults
        self.changing = changing
        self.skipped = 0
        """How many faults were skipped so far."""
        self.has_redirects = any(layer.format.has_redirects for layer in layers)

    def roots(self, *, to_list: bool) -> tuple[Source, ...]:
        """
        Give the root directories of the layers, as far down as no opaque root hides the rest (M8).

        `to_list`: all of them; the caller lists them, and learns from that which is opaque.

        Raises:
            LayerFault: a layer that is needed has none.
        """
        found: list[Source] = []
        for index, layer in enumerate(self.layers):
            root = self.root(index)
            if root is None:
                continue
            found.append((index, root))
            try:
                if not to_list and index + 1 < len(self.layers) and layer.format.is_opaque(root):
                    break
            except OSError as error:
                self.fault(index, gone(layer) if is_absence(error) else error)
        return tuple(found)

    def root(self, index: int) -> Directory | None:
        """
        Give a layer's root; None if its fault is skipped.

        Raises:
            LayerFault: there is none; for a root, absence is a fault too.
        """
        layer = self.layers[index]
        try:
            return layer.store.root()
        except OSError as error:
            self.fault(index, gone(layer) if is_absence(error) else error)
            return None

    def first(self, sources: Sequence[Source], name: str) -> tuple[Source, Present] | None:
        """
        Find who provides `name`, asking no layer below that one.

        Raises:
            LayerFault: a layer failed before the matter was settled (L8).
        """
        for source in sources:
            probe = self.probe(source, name)
            if isinstance(probe, Present):
                if self.changing and source[0]:
                    self._check_absent(sources[0], name)
                return source, probe
            if probe is Mark.WHITEOUT:
                return None
        return None

    def _check_absent(self, top: Source, name: str) -> None:
        """
        See that the topmost layer still has nothing to say about a name that a lower shows.

        A writer publishes an object and then drops its whiteout. Whoever asked for the object before, and for
        the whiteout after, has found neither; asked again, it finds the object.

        Raises:
            Raced: it has.
        """
        if top[0] == 0 and self.probe(top, name) is not Mark.ABSENT:
            raise Raced

    def children(self, sources: Sequence[Source], name: str) -> tuple[Source, ...]:
        """
        Open the directory `name` in every layer that contributes to it, top first.

        Raises:
            Raced: it is no directory (any more).
            LayerFault: a layer that is needed failed.
        """
        opened: dict[int, Directory] = {}
        verdict = decide(self.answers(sources, name, opened))
        if verdict.kind is not Kind.DIRECTORY:
            raise Raced
        if self.changing and verdict.layers[0]:
            self._check_absent(sources[0], name)
        return tuple((layer, opened[layer]) for layer in verdict.layers)

    def open_all(self, spelled: Sequence[tuple[Source, str]], *, to_list: bool) -> tuple[Source, ...] | None:
        """
        Open a child directory in layers known to contribute to it, by each layer's spelling of its name.

        `to_list`: the caller lists them all, and learns from that which is opaque or carries a redirect.
        None: one carries a redirect, so the layers below have to be asked elsewhere.

        Raises:
            Raced: one of them has no such directory any more.
            LayerFault: a layer failed.
        """
        opened: list[Source] = []
        last = len(self.layers) - 1
        for (index, directory), name in spelled:
            layout = self._formats[index]
            try:
                child = directory.child(name)
                opened.append((index, child))
                if to_list or index == last:
                    continue
                if (layout.has_redirects or len(opened) < len(spelled)) and layout.is_opaque(child):
                    break
                if layout.has_redirects and layout.redirect(child, None) is not None:
                    return None
            except OSError as error:
                self.fault(index, error)
        return tuple(opened)

    def verdict(self, sources: Sequence[Source], name: str) -> Verdict:
        """
        Decide on one name as a listing of the merged directory would: without looking into it.

        What ends the merge inside a directory, an opaque marker, is that directory's own affair; so is a
        redirect, which sends the layers below elsewhere.
        """
        verdict = decide(Answer(source[0], self.probe(source, name)) for source in sources)
        if self.changing and verdict.layers and verdict.layers[0]:
            self._check_absent(sources[0], name)
        return verdict

    def probe(self, source: Source, name: str) -> Probe:
        """
        Ask one layer about one name.

        Raises:
            LayerFault: it failed, and faults aren't skipped.
        """
        index, directory = source
        try:
            return self._formats[index].probe(directory, name)
        except OSError as error:
            self.fault(index, error)
            return Mark.ABSENT

    def fault(self, layer: int, error: OSError) -> None:
        """
        Raise a layer's fault, unless the stack was told to skip faults; the loss of a directory is a race.

        Raises:
            Raced, LayerFault
        """
        if is_absence(error):
            raise Raced from error
        if not self._skip_faults:
            raise LayerFault(layer, error) from error
        self.skipped += 1

    def answers(self, sources: Sequence[Source], name: str, opened: dict[int, Directory]) -> Iterator[Answer]:
        """
        Ask the layers in turn, as long as anyone listens; directories met are left in `opened`.

        A redirect sends the question elsewhere for the layers below: to another name in the same merged
        directory, or to a path from the roots of all lower layers (overlayfs.rst, "Redirect directories").
        """
        last = len(self.layers) - 1
        for source in sources:
            index = source[0]
            answer, child = self._answer(source, name, self.probe(source, name), last)
            if child is not None:
                opened[index] = child
            yield answer
            if child is None or index == last or not self._formats[index].has_redirects:
                continue
            redirect = self._redirect(index, child, None)
            if redirect is None:
                continue
            if redirect.startswith("/"):
                yield from self._answers_at(index + 1, redirect, opened)
                return
            name = redirect

    def _answer(self, source: Source, name: str, probe: Probe, last: int) -> tuple[Answer, Directory | None]:
        index, directory = source
        if not isinstance(probe, Present) or kind_of(probe.stat.st_mode) is not Kind.DIRECTORY:
            return Answer(index, probe), None
        try:
            child = directory.child(name)
            # Below the last layer there is nothing to hide: the kernel doesn't ask there either.
            opaque = index != last and not probe.alone and self._formats[index].is_opaque(child)
        except OSError as error:
            self.fault(index, error)
            return Answer(index, Mark.ABSENT), None
        return Answer(index, probe, opaque), child

    def _redirect(self, index: int, directory: Directory, name: str | None) -> str | None:
        try:
            return self._formats[index].redirect(directory, name)
        except OSError as error:
            self.fault(index, error)
            return None

    def _answers_at(self, start: int, redirect: str, opened: dict[int, Directory]) -> Iterator[Answer]:
        """Ask the layers from `start` down about an absolute path, each from its own root."""
        path = redirect.strip("/").split("/")
        for index in range(start, len(self.layers)):
            probe, child, path, ends = self.walk_layer(index, path)
            if child is not None:
                opened[index] = child
                yield Answer(index, probe, opaque=ends)
            elif ends or probe is not Mark.ABSENT:
                yield Answer(index, probe if isinstance(probe, Present) else Mark.WHITEOUT)

    def walk_layer(self, index: int, path: list[str]) -> tuple[Probe, Directory | None, list[str], bool]:
        """
        Follow a path inside one layer, as `ovl_lookup_layer` does.

        Gives the answer about its end, the directory found there, the path by which the layers below
        are to be asked (changed by redirects met on the way), and whether this layer ends the merge.
        """
        layout = self._formats[index]
        deepest = index == len(self.layers) - 1
        path, position, ends = list(path), 0, False
        try:
            root = self.root(index)
            if root is None:
                return Mark.ABSENT, None, path, ends
            directory = root
            while True:
                name = path[position]
                at_end = position == len(path) - 1
                probe = self.probe((index, directory), name)
                if not isinstance(probe, Present):
                    return probe, None, path, ends or probe is Mark.WHITEOUT
                if kind_of(probe.stat.st_mode) is not Kind.DIRECTORY:
                    # Something in the way hides the path here and below; at the end it is an answer.
                    return (probe if at_end else Mark.WHITEOUT), None, path, True
                directory = directory.child(name)
                is_last = probe.alone or deepest or layout.is_opaque(directory)
                ends = ends or (is_last and not deepest)
                redirect = layout.redirect(directory, None) if layout.has_redirects and not is_last else None
                if redirect is not None and redirect.startswith("/"):
                    # An opaque directory above ends nothing any more: the way goes on elsewhere, from the
                    # root (`ovl_check_redirect` resets `d->stop`).
                    ends = False
                    steps = redirect.strip("/").split("/")
                    path, position = steps + path[position + 1 :], len(steps) - 1
                elif redirect is not None:
                    path[position] = redirect
                if at_end:
                    return probe, directory, path, ends
                position += 1
        except OSError as error:
            self.fault(index, error)
            return Mark.ABSENT, None, path, ends

    def data_holder(self, sources: Sequence[Source], name: str) -> tuple[Source, str]:
        """
        Find where the bytes of the file `name` are: in its provider, or, where that holds metadata only
        (metacopy, M7), in the next layer below that has a regular file of it.

        Raises:
            Raced: there is no file.
            LayerFault: EIO if the chain of metadata ends without data.
        """
        return _DataSearch(self, sources).find(name)


def gone(layer: LayerView) -> OSError:
    """Give the fault of a layer whose root isn't there any more: no answer about any name (E9)."""
    return oserror(errno.ESTALE, layer.store.place, hint="the layer's directory is gone; make a new stack")


class _DataSearch:
    """The way from a metadata-only file down to its data."""

    def __init__(self, prober: Prober, sources: Sequence[Source]) -> None:
        self._prober = prober
        self._sources = list(sources)

    def find(self, name: str) -> tuple[Source, str]:
        """Go down layer by layer; each metadata-only file may send the rest of the way elsewhere."""
        prober = self._prober
        told_by: int | None = None
        while self._sources:
            source = index, directory = self._sources.pop(0)
            probe = prober.probe(source, name)
            if probe is Mark.ABSENT:
                continue
            if not isinstance(probe, Present) or kind_of(probe.stat.st_mode) is not Kind.FILE:
                break
            layout = prober.layers[index].format
            try:
                if not layout.has_redirects or not layout.is_metacopy(directory, name):
                    return source, name
                redirect = layout.redirect(directory, name)
            except OSError as error:
                prober.fault(index, error)
                continue
            told_by = index
            if redirect is not None:
                name = self._turn(index, redirect)
        if told_by is None:
            raise Raced
        raise LayerFault(told_by, oserror(errno.EIO, name, hint="its data is in none of the layers below"))

    def _turn(self, index: int, redirect: str) -> str:
        """Go on elsewhere: beside, or from the roots of the layers below."""
        *above, name = redirect.strip("/").split("/")
        if redirect.startswith("/"):
            below: list[Source] = []
            for lower in range(index + 1, len(self._prober.layers)):
                holder = self._prober.root(lower)
                if holder is not None and above:
                    _probe, holder, _path, _ends = self._prober.walk_layer(lower, above)
                if holder is not None:
                    below.append((lower, holder))
            self._sources = below
        return name
