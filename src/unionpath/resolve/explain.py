"""
Why a path shows what it shows, or nothing: every layer's part in the answer.

This asks all layers about everything, also what no look-up would need, so it is slow and remembers
nothing. What it says about the outcome is what the rules decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from unionpath.model.entry import KIND_WORDS, Kind, kind_of
from unionpath.model.layer import LayerView
from unionpath.model.store import Directory
from unionpath.model.whiteout import Mark, Present, Probe
from unionpath.resolve.probing import Prober
from unionpath.resolve.resolver import Resolver


class Role(Enum):
    """A layer's part in what a path shows."""

    PROVIDES = "provides"
    """What shows is this layer's, or for a directory: its metadata is."""
    MERGES = "merges"
    """Its directory is merged with those above it."""
    SHADOWED = "shadowed"
    """It has the name, but a layer above shows something that is not merged with it."""
    HIDDEN = "hidden"
    """It has the name, but a whiteout or an opaque directory above hides it."""
    WHITEOUT = "whiteout"
    """It says that the name is gone."""
    ABSENT = "absent"
    """It says nothing of the name."""


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer's part."""

    layer: str
    """The layer's name."""
    role: Role
    kind: Kind | None
    """What the layer itself has under the path; None if nothing, or a whiteout."""
    place: str
    """Where in the layer that is, or would be, in the layer's own words."""
    hidden_by: str | None = None
    """What keeps it from showing, and where: a whiteout, an opaque directory, a name that is no directory."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a path shows and why; `str()` of it is for people."""

    path: str
    """The path as asked."""
    real_path: str
    """The path after every link on the way and at the end."""
    kind: Kind | None
    """What shows there; None: nothing."""
    provider: str | None
    """The name of the layer that provides it."""
    layers: tuple[LayerReport, ...]
    """Every layer of the stack, top first."""
    obstacle: str | None = None
    """What is in the way before the path's end: a name above it that shows nothing, or no directory."""

    def __str__(self) -> str:
        arrow = "" if self.real_path == self.path else f" -> {self.real_path}"
        lines = [f"{self.path}{arrow}: {outcome(self)}"]
        width = max(len(report.role.value) for report in self.layers)
        for report in self.layers:
            kind = "" if report.kind is None else f"  {KIND_WORDS[report.kind]} {report.place}"
            reason = "" if report.hidden_by is None else f"  ({report.hidden_by})"
            lines.append(f"  {report.role.value:<{width}}  {report.layer}{kind}{reason}")
        return "\n".join(lines)


def outcome(found: Explanation) -> str:
    """Say in words what shows and from where, or why nothing does."""
    what = "nothing" if found.kind is None else KIND_WORDS[found.kind]
    reason = "" if found.obstacle is None else f", because {found.obstacle}"
    source = "" if found.provider is None else f", from {found.provider}"
    return f"{what}{reason}{source}"


def explain(resolver: Resolver, path: str) -> Explanation:
    """
    Say what a path shows, which layer provides it, what it shadows, and what hides the rest.

    A path that shows nothing is no error: its absence is explained.

    Raises:
        OSError: a layer failed (L8).
        ValueError: the path holds a NUL (L10).
    """
    return resolver.settled(path, lambda: _explain(resolver, path))


def _explain(resolver: Resolver, path: str) -> Explanation:
    real = resolver.realpath(path, strict=False)
    names = [name for name in real.split("/") if name]
    tracks = [_Track(layer, index) for index, layer in enumerate(resolver.layers)]
    prober = resolver.prober
    obstacle: str | None = None
    for track in tracks:
        track.begin(prober)
    _end_merge(tracks, prober, "/")
    for depth, name in enumerate(names):
        at = "/" + "/".join(names[: depth + 1])
        if depth and prober.has_redirects:
            _follow_redirects(resolver, tracks, "/" + "/".join(names[:depth]))
        for track in tracks:
            track.step(prober, name)
        _judge(tracks, at)
        if depth + 1 < len(names):
            obstacle = obstacle or _obstacle(tracks, at)
            for track in tracks:
                track.enter()
        _end_merge(tracks, prober, at)
    if names and prober.has_redirects:
        _show_moved(resolver, tracks, real)
    reports = _reports(tracks, is_root=not names)
    shown = next((each for each in reports if each.role is Role.PROVIDES), None)
    if shown is not None and _leads_nowhere(resolver, path):
        shown, obstacle = None, "a name before '..' on the way shows no directory"
    return Explanation(
        "/" + path.strip("/") if path.strip("/") != "." else "/",
        real,
        None if shown is None else shown.kind,
        None if shown is None else shown.layer,
        reports,
        obstacle,
    )


def _follow_redirects(resolver: Resolver, tracks: Sequence[_Track], above: str) -> None:
    """Go on where a layer really has the directory, if that was moved away from where the union shows it."""
    try:
        sources = dict(resolver.sources(above))
    except OSError:
        return  # no directory: that is the obstacle
    for track in tracks:
        if track.index in sources:
            track.directory, track.hidden_by = sources[track.index], None


def _show_moved(resolver: Resolver, tracks: Sequence[_Track], path: str) -> None:
    """Show the directories of layers below a redirect, which are elsewhere than the path says."""
    try:
        sources = dict(resolver.sources(path))
        for track in tracks:
            if track.index in sources and track.kind is None:
                directory = sources[track.index]
                track.probe, track.place = Present(directory.status()), directory.place()
                track.hidden_by = None
    except OSError:
        return  # no directory


def _leads_nowhere(resolver: Resolver, path: str) -> bool:
    """Tell whether a path has no end although its text has: `missing/..` (L9)."""
    try:
        return resolver.kind(path) < 0
    except OSError:  # links in circles: the text ends with one of them
        return False


def _obstacle(tracks: Sequence[_Track], at: str) -> str | None:
    """Say why there is no way through a name that the path goes through, if there is none."""
    for track in tracks:
        if track.hidden_by is not None or track.probe is Mark.ABSENT:
            continue
        if track.kind is Kind.DIRECTORY:
            return None
        if track.kind is None:
            return f"{at} is whited out in {track.layer.name}"
        return f"{at} is a {KIND_WORDS[track.kind]} in {track.layer.name}"
    return f"{at} is in no layer that shows it"


class _Track:
    """One layer followed down a path on its own, with what hides it noted on the way."""

    def __init__(self, layer: LayerView, index: int) -> None:
        self.layer = layer
        self.index = index
        self.directory: Directory | None = None
        self.probe: Probe = Mark.ABSENT
        self.place = layer.store.place
        self.hidden_by: str | None = None
        self.is_covered = False
        """What hides it is an object in its place, and no mark."""
        self.child: Directory | None = None

    def begin(self, prober: Prober) -> None:
        """Stand at the layer's root."""
        self.directory = self.child = prober.root(self.index)

    @property
    def kind(self) -> Kind | None:
        """What the layer has where the track stands."""
        return kind_of(self.probe.stat.st_mode) if isinstance(self.probe, Present) else None

    def step(self, prober: Prober, name: str) -> None:
        """Look at the next name."""
        self.child = None
        if self.directory is None:
            self.probe = Mark.ABSENT
            return
        self.place = self.directory.place(name)
        self.probe = prober.probe((self.index, self.directory), name)
        if self.kind is Kind.DIRECTORY:
            try:
                self.child = self.directory.child(name)
            except OSError as error:
                prober.fault(self.index, error)
                self.probe = Mark.ABSENT

    def enter(self) -> None:
        """Go down into what was looked at."""
        self.directory = self.child

    def is_opaque(self, prober: Prober) -> bool:
        """Tell whether the directory stood at hides those below."""
        if self.child is None:
            return False
        try:
            return self.layer.format.is_opaque(self.child)
        except OSError as error:
            prober.fault(self.index, error)
            return False


def _judge(tracks: Sequence[_Track], at: str) -> None:
    """Apply the table of `rules.py` to one name: note in each layer below what hides it."""
    reason: str | None = None
    is_covered = False
    for track in tracks:
        if track.hidden_by is None:
            track.hidden_by, track.is_covered = reason, is_covered
        if reason is not None or track.hidden_by is not None or track.probe is Mark.ABSENT:
            continue
        if not isinstance(track.probe, Present):
            reason = f"whiteout of {at} in {track.layer.name}"
        elif track.kind is not Kind.DIRECTORY:
            reason, is_covered = f"{at} in {track.layer.name} is not a directory", True
        elif track.probe.alone:
            reason = f"whiteout of {at} beside the directory in {track.layer.name}"


def _end_merge(tracks: Sequence[_Track], prober: Prober, at: str) -> None:
    """Note in each layer below an opaque directory what hides it."""
    reason: str | None = None
    for track in tracks:
        if track.hidden_by is None and reason is not None:
            track.hidden_by = reason
        elif track.hidden_by is None and track.is_opaque(prober):
            reason = f"{at} in {track.layer.name} is opaque"


def _reports(tracks: Sequence[_Track], *, is_root: bool) -> tuple[LayerReport, ...]:
    reports: list[LayerReport] = []
    provider: Kind | None = None
    for track in tracks:
        kind = Kind.DIRECTORY if is_root else track.kind
        report = LayerReport(track.layer.name, Role.ABSENT, kind, track.place, track.hidden_by)
        if kind is None:
            gone = track.probe is Mark.WHITEOUT and track.hidden_by is None
            report = replace(report, role=Role.WHITEOUT if gone else Role.ABSENT, hidden_by=None)
        elif track.hidden_by is not None:
            shadows = provider is not None and track.is_covered
            report = replace(report, role=Role.SHADOWED if shadows else Role.HIDDEN)
        elif provider is None:
            provider = kind
            report = replace(report, role=Role.PROVIDES)
        elif kind is Kind.DIRECTORY:
            report = replace(report, role=Role.MERGES)
        else:
            report = replace(report, role=Role.SHADOWED)
        reports.append(report)
    return tuple(reports)
