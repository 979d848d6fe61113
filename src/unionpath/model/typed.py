"""Marks for type checkers; at run time they cost nothing, and `typing_extensions` (8 ms) isn't loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import override as override
else:

    def override(method):
        """Mark a method that overrides another one."""
        return method
