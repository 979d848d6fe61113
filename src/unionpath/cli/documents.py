"""Answers as JSON for programs. What is written here is promised in docs/reference/cli.md."""

from __future__ import annotations

import json
import stat as _stat
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from errno import errorcode
from typing import Final, TypeAlias

from unionpath.cli.accounts import account_name
from unionpath.cli.failures import Failure
from unionpath.cli.hands import Steps
from unionpath.cli.look import Item, Listing, Node
from unionpath.cli.spelling import text_fields
from unionpath.model.entry import Kind
from unionpath.mutate.changes import Change
from unionpath.mutate.steps import Step
from unionpath.resolve.explain import Explanation

VERSION: Final = 1
"""Goes up when something that was promised changes; more members may come without."""

Fields: TypeAlias = dict[str, object]


def document(
    command: str, results: Sequence[Mapping[str, object]], failures: Iterable[Failure], *, indent: bool
) -> str:
    """Give the one document that a run prints: pure ASCII, so whole in any encoding."""
    content = {
        "version": VERSION,
        "command": command,
        "results": results,
        "errors": [_failure(failure) for failure in failures],
    }
    return json.dumps(content, indent=2 if indent else None)


def listing(found: Listing, layers: Sequence[str]) -> Fields:
    """Give the members for one path of `ls`."""
    top = item(found.top, layers)
    if found.entries is None:
        return top
    return {**top, "entries": [item(each, layers, by_name=True) for each in found.entries]}


def tree(nodes: Sequence[Node], layers: Sequence[str]) -> Fields:
    """Give the members for one path of `tree`: flat, so that depth costs no nesting."""
    top, *below = nodes
    return {
        **item(top.item, layers),
        "entries": [{"depth": node.depth, **item(node.item, layers)} for node in below],
    }


def content(path: str, data: bytes) -> Fields:
    """Give the members for one path of `cat`: the bytes as text if they are UTF-8, else in base64."""
    try:
        return {**text_fields("path", path), "size": len(data), "text": data.decode("utf-8")}
    except UnicodeDecodeError:
        encoded = b64encode(data).decode("ascii")
        return {**text_fields("path", path), "size": len(data), "base64": encoded}


def explanation(found: Explanation) -> Fields:
    """Give the members for one path of `explain`."""
    return {
        **text_fields("path", found.path),
        **text_fields("real_path", found.real_path),
        "kind": _kind(found.kind),
        **_text_or_none("provider", found.provider),
        **_text_or_none("obstacle", found.obstacle),
        "layers": [
            {
                **text_fields("layer", report.layer),
                "role": report.role.value,
                "kind": _kind(report.kind),
                **text_fields("place", report.place),
                **_text_or_none("hidden_by", report.hidden_by),
            }
            for report in found.layers
        ],
    }


def change(found: Change) -> Fields:
    """Give the members for one change."""
    return {
        **text_fields("path", found.path),
        "change": found.what,
        "kind": _kind(found.kind),
        "was": _kind(found.was),
    }


def deed(path: str, target: str | None, steps: Steps) -> Fields:
    """Give the members for one thing done (`steps` None), or planned."""
    fields: Fields = dict(text_fields("path", path))
    if target is not None:
        fields |= text_fields("target", target)
    if steps is not None:
        fields["steps"] = [
            {"step": _step_word(step), **text_fields("path", step.path), **text_fields("text", str(step))}
            for step in steps
        ]
    return fields


def _step_word(step: Step) -> str:
    """Write `CopyUp` as `copy_up`."""
    name = type(step).__name__
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).removeprefix("_")


def item(found: Item, layers: Sequence[str], *, by_name: bool = False) -> Fields:
    """Give the members for one object: what was asked for, and no more."""
    fields: Fields = dict(text_fields("name", found.name) if by_name else text_fields("path", found.path))
    fields["kind"] = _kind(found.kind)
    if found.target is not None:
        fields |= text_fields("target", found.target)
    if found.layers:
        fields |= text_fields("layer", layers[found.layers[0]])
        fields["layers"] = [text_fields("layer", layers[each])["layer"] for each in found.layers]
    if found.status is not None:
        status = found.status
        fields |= {
            "mode": f"{_stat.S_IMODE(status.st_mode):04o}",
            "size": status.st_size,
            "uid": status.st_uid,
            "gid": status.st_gid,
            "owner": account_name("user", status.st_uid),
            "group": account_name("group", status.st_gid),
            "nlink": status.st_nlink,
            "ino": status.st_ino,
            "atime_ns": status.st_atime_ns,
            "mtime_ns": status.st_mtime_ns,
            "ctime_ns": status.st_ctime_ns,
        }
    return fields


def _failure(failure: Failure) -> Fields:
    return {
        **text_fields("path", failure.path),
        "error": errorcode.get(failure.number, str(failure.number)),
        **text_fields("message", failure.message),
        **_text_or_none("hint", failure.hint),
    }


def _kind(kind: Kind | None) -> str | None:
    return None if kind is None else kind.name.lower()


def _text_or_none(key: str, text: str | None) -> Mapping[str, object]:
    return {key: None} if text is None else text_fields(key, text)
