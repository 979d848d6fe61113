"""Names of users and groups, in the words of this machine."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal


@lru_cache(maxsize=1024)
def account_name(kind: Literal["user", "group"], number: int) -> str | None:
    """Name a user or a group; None if this machine has no name for the number."""
    try:
        if kind == "user":
            import pwd

            return pwd.getpwuid(number).pw_name
        import grp

        return grp.getgrgid(number).gr_name
    except (ImportError, KeyError, OverflowError):
        return None
