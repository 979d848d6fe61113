"""Real servers for tests: processes of their own on free ports, started late and ended for sure."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from upath import UPath

_FOR_S3: Final = ("moto", "flask", "flask_cors", "s3fs")
_FOR_SFTP: Final = ("asyncssh", "paramiko")
_SFTP: Final = """
import asyncio, sys, asyncssh

class Anyone(asyncssh.SSHServer):
    def begin_auth(self, username):
        return False

async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(Anyone, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=True)
    print(server.get_port(), flush=True)
    await asyncio.to_thread(sys.stdin.read)  # ends with the process that started it

asyncio.run(main())
"""
_PATIENCE: Final = 60
"""Seconds until a server must answer."""


class S3Server:
    """A server that speaks S3, and what is needed to reach it."""

    def __init__(self, port: int) -> None:
        self.url: Final = f"http://127.0.0.1:{port}"
        self._numbers = itertools.count()

    def bucket(self) -> UPath:
        """Make a bucket that nobody else uses."""
        from upath import UPath

        name = f"unionpath-tests-{os.getpid()}-{next(self._numbers)}"
        path = UPath(f"s3://{name}", key="tester", secret="not-so-secret", endpoint_url=self.url)
        path.fs.mkdir(path.path)
        return path


@contextlib.contextmanager
def s3_server() -> Generator[S3Server, None, None]:
    """Run a server until the block ends; skips where there can be none."""
    _skip_without("an S3 server", _FOR_S3)
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server = S3Server(port)
        _wait(server.url, process)
        yield server
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def sftp_server() -> Generator[Callable[[Path], UPath], None, None]:
    """Run a server until the block ends; gives what makes the path of a directory of this machine on it."""
    _skip_without("an sftp server", _FOR_SFTP)
    process = subprocess.Popen(
        [sys.executable, "-c", _SFTP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())

        def path(directory: Path) -> UPath:
            from upath import UPath

            return UPath(
                f"sftp://127.0.0.1{directory}",
                port=port,
                username="anyone",
                password="",
                look_for_keys=False,
                allow_agent=False,
            )

        yield path
    finally:
        process.kill()
        process.communicate()


def _skip_without(what: str, modules: tuple[str, ...]) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{what} needs {', '.join(missing)} (the dev extra)")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, "the S3 server ended by itself"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"the S3 server doesn't answer after {_PATIENCE} s")
