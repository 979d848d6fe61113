"""
Many directory trees shown as one, through ordinary pathlib paths.

    from unionpath import Layer, LayerStack, UnionPath

    stack = LayerStack(["/srv/app/site", "/usr/share/app"])  # from top to bottom
    UnionPath(stack, "/etc/app.yml").read_text()
"""

from typing import TYPE_CHECKING

from unionpath.model.entry import Kind
from unionpath.model.errors import MalformedLayerError, UnsupportedOperation
from unionpath.model.layer import Cache, CacheInfo
from unionpath.path import UnionPath
from unionpath.stack import Layer, LayerStack, memory_layer, named_stack
from unionpath.whiteouts.names import MisspelledMarkerWarning

if TYPE_CHECKING:
    from unionpath.resolve.explain import Explanation, LayerReport, Role

__all__ = [
    "Cache",
    "CacheInfo",
    "Explanation",
    "Kind",
    "Layer",
    "LayerReport",
    "LayerStack",
    "MalformedLayerError",
    "MisspelledMarkerWarning",
    "Role",
    "UnionPath",
    "UnsupportedOperation",
    "memory_layer",
    "named_stack",
]


def __getattr__(name: str) -> object:
    # What few programs use is loaded when it is asked for: importing unionpath is to cost little.
    if name in ("Explanation", "LayerReport", "Role"):
        from unionpath.resolve import explain

        return getattr(explain, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
