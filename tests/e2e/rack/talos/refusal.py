"""How a procedure says no."""

from __future__ import annotations

import grpc


class RefusalError(Exception):
    """A gRPC status; the provider retries on all but ``INVALID_ARGUMENT`` (C0)."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
