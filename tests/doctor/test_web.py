"""Requests of the doctor to servers on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from doctor import web


@contextmanager
def server(redirect: str = "") -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Run a server that answers with ``redirect``, or with one byte; yield its URL, and the headers
    of the requests."""
    requests: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(dict(self.headers))
            self.send_response(302 if redirect else 200)
            if redirect:
                self.send_header("Location", redirect)
            self.send_header("Content-Length", "1")
            self.end_headers()
            self.wfile.write(b"1")

        def log_message(self, *args: object) -> None:
            """Print nothing."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/", requests
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_redirect_gets_the_headers_but_not_the_token() -> None:
    with server() as (storage, at_storage), server(redirect=storage) as (registry, at_registry):
        content = web.fetch(registry, {"Authorization": "Bearer secret", "Range": "bytes=0-0"})
    assert content == b"1"
    assert at_registry[0]["Authorization"] == "Bearer secret"
    assert at_storage[0]["Range"] == "bytes=0-0"
    assert "Authorization" not in at_storage[0]
