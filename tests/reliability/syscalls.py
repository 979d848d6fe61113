"""
A child process whose file-changing system calls wait, each at its entry, for what the parent decides.

The child puts a seccomp filter on itself that hands each such call to a listener (seccomp_unotify(2)); the
parent lets it go on, makes it fail with an errno, or kills the child before the call has done anything. It is
what `strace --inject` does, at the price of a function call, and it sees what C code and ctypes do as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pickle
import platform
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fcntl import ioctl
from functools import cache
from typing import Final, NamedTuple, TypeAlias

# Numbers of asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64).
_NUMBERS: Final = {
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "fcntl": 72, "ioctl": 16, "pread64": 17, "pwrite64": 18,
        "readv": 19, "writev": 20, "dup": 32, "sendfile": 40, "flock": 73, "fsync": 74, "fdatasync": 75,
        "truncate": 76, "ftruncate": 77, "getdents64": 217, "rename": 82, "mkdir": 83, "rmdir": 84,
        "creat": 85, "link": 86,
        "unlink": 87, "symlink": 88, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94,
        "utime": 132, "mknod": 133, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "getxattr": 191,
        "lgetxattr": 192, "fgetxattr": 193, "listxattr": 194, "llistxattr": 195, "flistxattr": 196,
        "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "utimes": 235, "openat": 257,
        "mkdirat": 258, "mknodat": 259, "fchownat": 260, "futimesat": 261, "newfstatat": 262, "unlinkat": 263,
        "renameat": 264, "linkat": 265, "symlinkat": 266, "readlinkat": 267, "fchmodat": 268, "splice": 275,
        "sync_file_range": 277, "utimensat": 280, "fallocate": 285, "pwritev": 296, "syncfs": 306,
        "renameat2": 316, "copy_file_range": 326, "pwritev2": 328, "openat2": 437, "fchmodat2": 452,
        "setxattrat": 463, "removexattrat": 466,
    },
    "aarch64": {
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "getxattr": 8, "lgetxattr": 9, "fgetxattr": 10,
        "listxattr": 11, "llistxattr": 12, "flistxattr": 13, "removexattr": 14, "lremovexattr": 15,
        "fremovexattr": 16, "dup": 23, "fcntl": 25, "ioctl": 29, "flock": 32, "mknodat": 33, "mkdirat": 34,
        "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "truncate": 45, "ftruncate": 46,
        "fallocate": 47, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "openat": 56,
        "getdents64": 61, "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68,
        "pwritev": 70, "sendfile": 71, "splice": 76, "readlinkat": 78, "newfstatat": 79, "fsync": 82,
        "fdatasync": 83, "sync_file_range": 84, "utimensat": 88, "syncfs": 267, "renameat2": 276,
        "copy_file_range": 285, "pwritev2": 287, "openat2": 437, "fchmodat2": 452, "setxattrat": 463,
        "removexattrat": 466,
    },
}  # fmt: skip
_MACHINES: Final = {"x86_64": (0xC000003E, 317), "aarch64": (0xC00000B7, 277)}
"""AUDIT_ARCH_… of linux/audit.h, and the number of seccomp(2)."""

OPENING: Final = frozenset({"open", "openat", "openat2", "creat"})
SYNCING: Final = frozenset({"fsync", "fdatasync", "syncfs", "sync_file_range"})
READING: Final = frozenset({
    "read", "pread64", "readv", "getdents64", "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr",
    "flistxattr", "newfstatat", "readlinkat",
})  # fmt: skip
LOCKING: Final = frozenset({"flock", "fcntl", "dup"})
FILLING: Final = frozenset({
    "write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "splice", "copy_file_range",
    "fallocate", "ftruncate", "truncate", "mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat",
    "link", "linkat", "rename", "renameat", "renameat2", "creat", "setxattr", "lsetxattr", "fsetxattr",
    "setxattrat", "ioctl",
})  # fmt: skip
"""What may need room on the disk; so does an `open` that creates."""

_PR_SET_NO_NEW_PRIVS: Final = 38
_RECEIVE: Final = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV, of 80 bytes
_SEND: Final = 0xC0182101  # SECCOMP_IOCTL_NOTIF_SEND, of 24 bytes
_CONTINUE: Final = 1
_FICLONE: Final = {0x40049409, 0x4020940D}
_AT_EMPTY_PATH: Final = 0x1000
_F_LOCKS: Final = {6, 7, 37, 38}
_O_CHANGING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_TMPFILE: Final = getattr(os, "O_TMPFILE", 0)
PATIENCE: Final = 30.0
"""Seconds without any sign of life after which a child hangs."""


class Call(NamedTuple):
    """One system call that waits at its entry."""

    name: str
    arguments: tuple[int, ...]
    pid: int
    flags: int
    """Of `open`, else 0."""

    @property
    def changes(self) -> bool:
        """Whether it changes what is in a file system."""
        if self.name in OPENING:
            return bool(self.flags & (os.O_CREAT | os.O_TRUNC | (_TMPFILE & ~os.O_DIRECTORY)))
        return self.name not in (SYNCING | READING | LOCKING)

    @property
    def fills(self) -> bool:
        """Whether it may need room."""
        return self.name in FILLING or (self.name in OPENING and bool(self.flags & os.O_CREAT))

    def describe(self) -> str:
        """Show it with its paths, as far as they can be had while it waits."""
        shown = []
        for argument in self.arguments[:5]:
            found = text_at(self.pid, argument) if argument > 0xFFFF else None
            text = None if found is None else ascii(found[:80])
            if text is None and argument < 4096:
                with contextlib.suppress(OSError):
                    text = os.path.basename(os.readlink(f"/proc/{self.pid}/fd/{argument}"))
            shown.append(text if text is not None else hex(argument))
        return f"{self.name}({', '.join(shown)})"


@dataclass(frozen=True, slots=True)
class Kill:
    """The child dies, and the call never happens."""


Decision: TypeAlias = Kill | int | None
"""What becomes of a call: the end, an errno, or (None) it goes on."""
Decide: TypeAlias = Callable[[Call], Decision]


@dataclass(slots=True)
class Ending:
    """How a child ended."""

    result: object = None
    crash: str | None = None
    """What it died of, if it wasn't killed as decided and gave no result."""
    killed: bool = False


class Control:
    """The child's side."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def begin(self) -> None:
        """From here on every call waits."""
        listener = _install_filter()
        socket.send_fds(self._line, [b"f"], [listener])
        self._line.recv(1)
        os.close(listener)

    def end(self) -> None:
        """From here on nothing counts any more."""
        self._line.send(b"e")
        self._line.recv(1)


Body: TypeAlias = Callable[[Control], object]


@cache
def missing() -> str | None:
    """Say why calls can't be intercepted here, or None."""
    if not sys.platform.startswith("linux") or platform.machine() not in _MACHINES:
        return "system calls are intercepted on Linux only, on x86_64 and aarch64"
    try:
        seen: list[Call] = []
        ending = supervise(_try_out, seen.append)
    except OSError as error:
        return f"seccomp can't hand system calls to another process here: {error.strerror}"
    if ending.result != errno.EBADF or not seen:
        return f"seccomp can't hand system calls to another process here: {ending.crash}"
    return None


def _try_out(control: Control) -> object:
    control.begin()
    try:
        os.write(-1, b"")
    except OSError as error:
        return error.errno
    return None


def supervise(body: Body, decide: Decide) -> Ending:
    """Run `body` in a child, and ask `decide` about each call between its `begin` and `end`."""
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_child(body, theirs)
    theirs.close()
    ending = Ending()
    try:
        with ours:
            _Supervisor(pid, ours, decide, ending).run()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if not ending.killed and ending.crash is None and ending.result is None and status:
        ending.crash = f"the child ended with status {status:#x}"
    return ending


def _be_child(body: Body, line: socket.socket) -> None:
    code = 1
    try:
        try:
            message: tuple[object, str | None] = body(Control(line)), None
        except BaseException:  # noqa: BLE001 - whatever it is, the parent shall show it
            message = None, traceback.format_exc()
        line.sendall(b"r" + pickle.dumps(message))
        code = 0
    finally:
        os._exit(code)


class _Supervisor:
    """The parent's side."""

    def __init__(self, pid: int, line: socket.socket, decide: Decide, ending: Ending) -> None:
        self._pid = pid
        self._line = line
        self._decide = decide
        self._ending = ending
        self._counting = True
        self._listener: int | None = None
        self._names = {number: name for name, number in _NUMBERS[platform.machine()].items()}

    def run(self) -> None:
        """Serve until the child has ended."""
        try:
            while self._step():
                pass
        finally:
            if self._listener is not None:
                os.close(self._listener)

    def _step(self) -> bool:
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        if self._listener is not None:
            poll.register(self._listener, select.POLLIN)
        ready = dict(poll.poll(PATIENCE * 1000))
        if not ready:
            self._ending.crash = f"the child hangs in {_wchan(self._pid)}"
            return False
        if self._line.fileno() in ready:
            return self._hear()
        assert self._listener is not None
        return self._answer(self._listener)

    def _hear(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._line, 65536, 1)
        if fds:
            self._listener = fds[0]
            self._line.send(b".")
        elif data == b"e":
            self._counting = False
            self._line.send(b".")
        elif data:
            return self._finish(data)
        return bool(data)

    def _finish(self, data: bytes) -> bool:
        while more := self._more():
            data += more
        self._ending.result, self._ending.crash = pickle.loads(data[1:])
        return False

    def _more(self) -> bytes:
        """Read on; what is called meanwhile may go on."""
        while True:
            poll = select.poll()
            poll.register(self._line, select.POLLIN)
            if self._listener is not None:
                poll.register(self._listener, select.POLLIN)
            ready = dict(poll.poll(PATIENCE * 1000))
            if self._line.fileno() in ready:
                return self._line.recv(1 << 20)
            if self._listener is None or not ready.get(self._listener, 0) & select.POLLIN:
                return b""
            self._counting = False
            self._answer(self._listener)

    def _answer(self, listener: int) -> bool:
        notice = bytearray(80)
        try:
            ioctl(listener, _RECEIVE, notice)
        except OSError:  # the child died, or a signal broke its call
            return not _is_dead(self._pid)
        number, pid, _flags, nr, _arch, _ip, *arguments = struct.unpack("=QIIiIQ6Q", notice)
        call = self._call(nr, pid, tuple(arguments))
        decision = self._decide(call) if self._counting and call is not None else None
        if isinstance(decision, Kill):
            self._ending.killed = True
            os.kill(self._pid, signal.SIGKILL)
            return False
        flags, error = (_CONTINUE, 0) if decision is None else (0, -decision)
        with contextlib.suppress(OSError):
            ioctl(listener, _SEND, struct.pack("=QqiI", number, 0, error, flags))
        return True

    def _call(self, nr: int, pid: int, arguments: tuple[int, ...]) -> Call | None:
        name = self._names[nr]
        if name == "ioctl" and arguments[1] not in _FICLONE:
            return None
        if name == "fcntl" and arguments[1] not in _F_LOCKS:
            return None
        if name in ("write", "writev", "read") and not _is_file(pid, arguments[0]):
            return None
        if name == "newfstatat" and arguments[3] & _AT_EMPTY_PATH:  # what is open is stated without a disk
            return None
        return Call(name, arguments, pid, _open_flags(name, pid, arguments))


def _is_file(pid: int, fd: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}").startswith("/") and fd > 2
    except OSError:
        return True


def _open_flags(name: str, pid: int, arguments: tuple[int, ...]) -> int:
    if name == "openat":
        return arguments[2] & 0xFFFFFFFF
    if name == "open":
        return arguments[1] & 0xFFFFFFFF
    if name == "openat2":
        data = _memory(pid, arguments[2], 8)
        return struct.unpack("=Q", data)[0] if len(data) == 8 else 0
    return os.O_CREAT | os.O_TRUNC | os.O_WRONLY if name == "creat" else 0


def _memory(pid: int, address: int, length: int) -> bytes:
    try:
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.pread(fd, length, address)
    except (OSError, OverflowError):
        return b""
    finally:
        os.close(fd)


def text_at(pid: int, address: int) -> str | None:
    """Read a path at an address of another process; None if there is none."""
    data = _memory(pid, address, 256) or _memory(pid, address, min(256, 4096 - address % 4096))
    text = os.fsdecode(data.split(b"\0")[0])
    return text or None


def _is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _wchan(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/wchan", encoding="ascii") as file:
            return file.read()
    except OSError:
        return "?"


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _install_filter() -> int:
    """Hand the calls of `_NUMBERS` to a listener, and give its descriptor."""
    machine = platform.machine()
    architecture, seccomp = _MACHINES[machine]
    numbers = sorted(_NUMBERS[machine].values())
    code = [(0x20, 0, 0, 4), (0x15, 0, len(numbers) + 1, architecture), (0x20, 0, 0, 0)]
    code += [(0x15, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    code += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x7FC00000)]  # ALLOW; USER_NOTIF
    data = b"".join(struct.pack("=HBBI", *each) for each in code)
    buffer = ctypes.create_string_buffer(data, len(data))
    program = _Program(len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    listener: int = libc.syscall(seccomp, 1, 8, ctypes.byref(program))
    if listener < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return listener


@contextlib.contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` in this (the main) thread if the block takes longer: something hangs."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    old = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True
