"""
Many directory trees shown as one, through ordinary pathlib paths, and changed in one on top of them.

    from unionpath import Layer, LayerStack, UnionPath

    stack = LayerStack(["/srv/app/site", "/usr/share/app"], upper="/var/lib/app")  # from top to bottom
    UnionPath(stack, "/etc/app.yml").read_text()
    UnionPath(stack, "/etc/app.yml").write_text("debug: true")  # to the upper; the others never change
"""

from typing import TYPE_CHECKING

from unionpath.model.entry import Kind
from unionpath.model.errors import MalformedLayerError, UnsupportedOperation
from unionpath.model.layer import Cache, CacheInfo
from unionpath.path import UnionPath
from unionpath.stack import Layer, LayerStack, memory_layer, named_stack
from unionpath.whiteouts.names import MisspelledMarkerWarning

if TYPE_CHECKING:
    from unionpath.mutate.changes import Change
    from unionpath.mutate.copy_up import OwnerNotKeptWarning
    from unionpath.resolve.explain import Explanation, LayerReport, Role

__all__ = [
    "Cache",
    "CacheInfo",
    "Change",
    "Explanation",
    "Kind",
    "Layer",
    "LayerReport",
    "LayerStack",
    "MalformedLayerError",
    "MisspelledMarkerWarning",
    "OwnerNotKeptWarning",
    "Role",
    "UnionPath",
    "UnsupportedOperation",
    "memory_layer",
    "named_stack",
]


_LATE = {
    "Change": "unionpath.mutate.changes",
    "Explanation": "unionpath.resolve.explain",
    "LayerReport": "unionpath.resolve.explain",
    "OwnerNotKeptWarning": "unionpath.mutate.copy_up",
    "Role": "unionpath.resolve.explain",
}
"""What few programs use is loaded when it is asked for: importing unionpath is to cost little."""


def __getattr__(name: str) -> object:
    if name in _LATE:
        from importlib import import_module

        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
