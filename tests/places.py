"""A lower and an upper on disk, several stacks over them, and faults at chosen calls."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import struct
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

import pytest

from grounds import no_trusted_xattrs, no_user_xattrs
from unionpath.model.writable import Move
from unionpath.stores import system_calls
from unionpath.stores.local import LocalDirectory
from writers import no_device

if TYPE_CHECKING:
    from unionpath import Cache, Layer, LayerStack
    from unionpath.opener import LayerSource, WhiteoutName
    from unionpath.stack import Case, Durability, OnLayerError, RenameDir

    class Options(TypedDict, total=False):
        """What `LayerStack` takes beside layers."""

        rename_dir: RenameDir
        on_layer_error: OnLayerError
        durability: Durability
        case: Case
        cache: Cache | None
        name: str | None
        adopt: bool


FORMATS: Final[tuple[WhiteoutName, ...]] = ("oci", "unionfs", "overlayfs", "table")
NOBODY: Final = 65534
DEFAULT_ACL: Final = "system.posix_acl_default"
ACCESS_ACL: Final = "system.posix_acl_access"


class Place:
    """Two directories; `stack` makes a new stack over them each time it is called."""

    def __init__(self, directory: Path, whiteouts: WhiteoutName = "oci", *, nobodys: bool = False) -> None:
        self.directory = directory
        self.lower = directory / "lower"
        self.upper = directory / "upper"
        self.whiteouts: WhiteoutName = whiteouts
        self.userxattr = whiteouts == "overlayfs" and (nobodys or os.geteuid() != 0)
        self._stacks: list[LayerStack] = []
        self.lower.mkdir()
        self.upper.mkdir()
        if whiteouts == "overlayfs":
            skip_for(no_device(0, 0) or (no_user_xattrs() if self.userxattr else no_trusted_xattrs()))

    def fill(self, files: Mapping[str, str | bytes], directory: Path | None = None) -> None:
        """Put files into the lower, or wherever; a name that ends in a slash is an empty directory."""
        base = self.lower if directory is None else directory
        for name, content in files.items():
            at = base / name
            (at if name.endswith("/") else at.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                at.write_bytes(content if isinstance(content, bytes) else content.encode())

    def layer(self, source: LayerSource | None = None, *, workdir: Path | None = None) -> Layer:
        """Give the upper, by whatever path."""
        from unionpath import Layer

        return Layer(
            self.upper if source is None else source,
            whiteouts=self.whiteouts,
            userxattr=self.userxattr,
            workdir=workdir,
        )

    def memory_url(self) -> str:
        """Make an empty directory in fsspec's memory, and give its URL."""
        from upath import UPath

        url = f"memory://{self.directory.name}"
        UPath(url).mkdir(exist_ok=True)
        return url

    def stack(
        self,
        *lowers: Layer | Path,
        upper: Layer | None = None,
        **options: Unpack[Options],
    ) -> LayerStack:
        """Make a stack over these lowers, or over the one there is."""
        from unionpath import LayerStack

        options.setdefault("durability", "volatile")
        made = LayerStack(lowers or [self.lower], upper=self.layer() if upper is None else upper, **options)
        self._stacks.append(made)
        return made

    def close(self) -> None:
        """Close all stacks made here."""
        for stack in self._stacks:
            stack.close()


def skip_for(reason: str | None) -> None:
    """Skip the test if there is a reason."""
    if reason is not None:
        pytest.skip(reason)


def need_root() -> None:
    """Skip the test where files of others can't be made."""
    if os.geteuid() != 0:
        pytest.skip("making files of others needs root")


def fail(
    patch: pytest.MonkeyPatch, method: str, number: int, when: Callable[..., bool] = lambda *_: True
) -> None:
    """Let a local directory's method raise an errno whenever `when(directory, *arguments)` says so."""
    real: Callable[..., object] = getattr(LocalDirectory, method)

    def failing(self: LocalDirectory, *arguments: object, **more: object) -> object:
        if when(self, *arguments):
            raise OSError(number, os.strerror(number), self.place())
        return real(self, *arguments, **more)

    patch.setattr(LocalDirectory, method, failing)


def lack(patch: pytest.MonkeyPatch, *lacking: Move) -> None:
    """Let the system have no such renames."""
    real: Callable[..., None] = system_calls.rename

    def rename(source: int, name: str, target: int, target_name: str, how: Move) -> None:
        if how in lacking:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        real(source, name, target, target_name, how)

    patch.setattr(system_calls, "rename", rename)


def before(patch: pytest.MonkeyPatch, method: str, act: Callable[..., object]) -> None:
    """Do something once, `act(directory, *arguments)`, before a local directory's method goes on."""
    real: Callable[..., object] = getattr(LocalDirectory, method)
    busy = [False]

    def preceded(self: LocalDirectory, *arguments: object, **more: object) -> object:
        if not busy[0]:
            busy[0] = True
            try:
                act(self, *arguments)
            finally:
                busy[0] = False
        return real(self, *arguments, **more)

    patch.setattr(LocalDirectory, method, preceded)


def while_making(patch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Do something in the midst of the operation that makes a directory of this name."""
    before(patch, "mkdir", lambda _directory, made, *_: act() if made == name else None)


def in_child(
    act: Callable[[], object], *, user: int | None = None, seconds: int = 20, umask: int = -1
) -> int:
    """
    Do something in a child process, as another user if one is given; give its exit status: 0 is success.

    A child that hangs is ended by SIGALRM, and says so by a negative status.
    """
    # What a user without access to the sources can't import any more.
    for module in ("unionpath.mutate.changes", "unionpath.mutate.engine"):
        importlib.import_module(module)

    child = os.fork()
    if not child:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            warnings.simplefilter("ignore")  # that an owner isn't kept
            if user is not None:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            if umask >= 0:
                os.umask(umask)
            act()
            status = 0
        except BaseException:  # noqa: BLE001  # shown, then told by the exit status
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die() -> None:
    """End the process as power loss would."""
    os.kill(os.getpid(), signal.SIGKILL)


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """Give the bytes of an access list: (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def set_default_acl(directory: Path, *, user: int = 0o7, other: int = 0o5, named: int | None = None) -> None:
    """Give a directory a default access list, or skip the test."""
    none = 0xFFFFFFFF
    entries = [(0x01, user, none), (0x04, 0o5, none), (0x20, other, none)]
    if named is not None:
        entries[1:1] = [(0x02, 0o7, named)]
        entries[3:3] = [(0x10, 0o7, none)]
    try:
        os.setxattr(directory, DEFAULT_ACL, access_list(*entries))
    except OSError as error:
        pytest.skip(f"no access list can be set here: {error.strerror}")
