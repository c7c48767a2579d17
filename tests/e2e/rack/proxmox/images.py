"""Where downloads come from; Proxmox VE asks the URL, the provider never does (B2)."""

from __future__ import annotations

from typing import Protocol


class ImageUnavailableError(Exception):
    """The server behind the URL does not give the file. The text is the HTTP status of the answer,
    or what libwww-perl makes of no answer."""

    def __init__(self, status: str, download_error: str = "exit code 8") -> None:
        super().__init__(status)
        self.download_error = download_error
        """What wget reports."""


class Images(Protocol):
    """The internet as far as Proxmox VE downloads from it."""

    def size(self, url: str) -> int:
        """Return the size of the file behind a URL, or raise `ImageUnavailableError`."""
