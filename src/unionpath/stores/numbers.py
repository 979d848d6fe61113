"""Inode and device numbers for stores that have none from an operating system."""

from __future__ import annotations

from itertools import count
from typing import Final

# Linux packs a device number into 32 bits: a number above can't be mistaken for a real device.
_FIRST_DEVICE: Final = 1 << 40
_devices = count(_FIRST_DEVICE)


def new_device() -> int:
    """Give a device number that no other store of this process has."""
    return next(_devices)


def stable_number(text: str) -> int:
    """Turn a place into a number that stays the same between processes: 62 bits, never 0."""
    from hashlib import blake2b  # loads OpenSSL, which a memory store never needs

    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 2) | _FIRST_DEVICE
