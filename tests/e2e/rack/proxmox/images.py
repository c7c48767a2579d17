"""Where downloads come from; Proxmox VE asks the URL, the provider never does (B2)."""

from __future__ import annotations

from typing import Protocol


class ImageUnavailableError(Exception):
    """The server behind the URL does not give the file; the text is its HTTP status."""


class Images(Protocol):
    """The internet as far as Proxmox VE downloads from it."""

    def size(self, url: str) -> int:
        """Return the size of the file behind a URL, or raise `ImageUnavailableError`."""
