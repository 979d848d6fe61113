"""Another process that changes layers: client and worker. An answer means that the change is complete."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from grounds import BY_ID, Site
from trees import Dir, Node, Parts


class Changer:
    """The process; put layers down first, then change them."""

    def __init__(self, kind: str, directory: Path, trees: Sequence[Dir]) -> None:
        here = Path(__file__)
        source = here.parents[1] / "src"
        self._process = subprocess.Popen(
            [sys.executable, str(here)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{here.parent}{os.pathsep}{source}"},
        )
        self._tell((kind, directory, list(trees)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def put(self, layer: int, parts: Parts, node: Node) -> None:
        """As `Site.put`."""
        self._tell(("put", layer, parts, node))

    def drop(self, layer: int, parts: Parts) -> None:
        """As `Site.drop`."""
        self._tell(("drop", layer, parts))

    def set_opaque(self, layer: int, parts: Parts, opaque: bool) -> None:
        """As `Site.set_opaque`."""
        self._tell(("set_opaque", layer, parts, opaque))

    def move(self, layer: int, source: Parts, target: Parts) -> None:
        """As `Site.move`."""
        self._tell(("move", layer, source, target))

    def take_out(self, layer: int, parts: Parts) -> None:
        """Rename a directory out of its layer."""
        self._tell(("take_out", layer, parts))

    def bring_back(self, layer: int, parts: Parts, added: str) -> None:
        """Make a file in the directory that was taken out, and rename it back into the layer."""
        self._tell(("bring_back", layer, parts, added))

    def _tell(self, message: object) -> None:
        there, back = self._process.stdin, self._process.stdout
        assert there is not None
        assert back is not None
        pickle.dump(message, there)
        there.flush()
        answer = back.read(1)
        if answer != b".":
            raise RuntimeError("the process that changes layers failed; it says why on stderr")


class _Worker:
    def __init__(self, kind: str, directory: Path, trees: Sequence[Dir]) -> None:
        self._directory = directory
        self._sites: list[Site] = BY_ID[kind].sites(directory, trees)

    def change(self, what: str, layer: int, *arguments: object) -> None:
        """Make one change."""
        if what in ("take_out", "bring_back"):
            getattr(self, what)(layer, *arguments)
        else:
            getattr(self._sites[layer], what)(*arguments)

    def take_out(self, layer: int, parts: Parts) -> None:
        shutil.rmtree(self._aside(layer), ignore_errors=True)
        os.rename(self._directory.joinpath(str(layer), *parts), self._aside(layer))

    def bring_back(self, layer: int, parts: Parts, added: str) -> None:
        self._sites[layer].drop(parts)
        (self._aside(layer) / added).touch()
        os.rename(self._aside(layer), self._directory.joinpath(str(layer), *parts))

    def _aside(self, layer: int) -> Path:
        return self._directory / f"aside-{layer}"


def main() -> None:
    """Serve one client."""
    begin = pickle.load(sys.stdin.buffer)
    worker = _Worker(*begin)
    while True:
        sys.stdout.buffer.write(b".")
        sys.stdout.buffer.flush()
        try:
            message = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        worker.change(*message)


if __name__ == "__main__":
    main()
