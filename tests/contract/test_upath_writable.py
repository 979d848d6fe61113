"""The contract of writable stores, kept over fsspec: its memory, a disk, and servers of S3 and sftp."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from upath import UPath

from contract.writable_contract import KINDS, MAKERS, MAKERS_NEED, WritableContract, every_maker
from servers import S3Server, s3_server, sftp_server
from unionpath.model.store import Capability
from unionpath.model.writable import WritableDirectory, WritableStore
from unionpath.stores.upath_writing import WritableUPathStore

_numbers = itertools.count()


class TestWritableUPathMemory(WritableContract):
    def new_store(self, tmp_path: Path) -> WritableStore:
        path = UPath(f"memory:///unionpath-contract-{next(_numbers)}")
        path.mkdir()
        return WritableUPathStore(path)


class TestWritableUPathLocal(WritableContract):
    def new_store(self, tmp_path: Path) -> WritableStore:
        return WritableUPathStore(UPath(f"file://{tmp_path}"))


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


class TestWritableUPathS3(WritableContract):
    @pytest.fixture(autouse=True)
    def reached(self, s3: S3Server) -> None:
        self.server = s3

    def new_store(self, tmp_path: Path) -> WritableStore:
        return WritableUPathStore(self.server.bucket())

    @every_maker
    def test_odd_names_are_names(self, store: WritableStore, top: WritableDirectory, maker: str) -> None:
        """As the contract has it, but for the newline: the routes of this server don't match one."""
        self.need(store, MAKERS_NEED.get(maker, Capability.NONE))
        names = {"ünï …", " \\'\"", "%41*[a]?#~;=&+", "...", "n" * store.name_max}
        for name in names:
            MAKERS[maker](top, name)
        assert names == set(top.scan(KINDS))


@pytest.fixture(scope="module")
def sftp() -> Iterator[Callable[[Path], UPath]]:
    with sftp_server() as place:
        yield place


class TestWritableUPathSftp(WritableContract):
    @pytest.fixture(autouse=True)
    def reached(self, sftp: Callable[[Path], UPath]) -> None:
        self.place = sftp

    def new_store(self, tmp_path: Path) -> WritableStore:
        return WritableUPathStore(self.place(tmp_path))
