"""A git repository on loopback: behind https and a token, or behind SSH and a key."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncssh
import trustme

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A Test"), ("EMAIL", "test@tazlab.net"))
}


class GitRepository:
    """A bare repository that is served, and a work tree that pushes to it."""

    def __init__(self, folder: Path, token: str) -> None:
        self.bare = folder / "served" / "manifests.git"
        self.tree = folder / "tree"
        self.token = token
        """Password of the user ``git``."""
        self.url = ""
        """``https://127.0.0.1:PORT/manifests.git``."""
        self.certificate = ""
        """The authority that signed the server's own, as PEM; nobody else trusts it."""
        self.known_hosts = ""
        """The server's own key, as ``ssh-keyscan`` says it."""
        self.tree.mkdir(parents=True)
        self._git("init", "-q", "--bare", "--initial-branch=main", str(self.bare))
        self._git("init", "-q", "--initial-branch=main")

    def push(self, message: str) -> str:
        """Commit all that is in the tree, push it, and return the commit."""
        self._git("add", "--all")
        self._git("commit", "-q", "-m", message)
        self._git("push", "-q", str(self.bare), "main")
        return self.head

    @property
    def head(self) -> str:
        """The newest commit."""
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.tree,
            env=os.environ | IDENTITY | {"GIT_CONFIG_GLOBAL": "/dev/null"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


@contextmanager
def served(repository: GitRepository) -> Iterator[GitRepository]:
    """Serve a repository while the block runs."""
    pair = f"git:{repository.token}".encode()
    allowed = f"Basic {base64.b64encode(pair).decode()}"

    class Door(BaseHTTPRequestHandler):
        """Lets in who has the token, and hands them to git."""

        def do_GET(self) -> None:
            """Fetching begins with a look at the references."""
            if self.headers.get("Authorization") != allowed:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            length = self.headers.get("Content-Length", "0")
            done = subprocess.run(
                ["git", "http-backend"],
                input=self.rfile.read(int(length)),
                env=os.environ
                | {
                    "GIT_PROJECT_ROOT": str(repository.bare.parent),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": length,
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                },
                capture_output=True,
                check=True,
            )
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(fields.pop("Status", "200").split()[0]))
            # git's TLS takes an end that was not announced for an attack.
            for name, value in (fields | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    repository.certificate = authority.cert_pem.bytes().decode()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    repository.url = f"https://127.0.0.1:{server.server_port}/manifests.git"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield repository
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def served_over_ssh(repository: GitRepository, key: asyncssh.SSHKey) -> Iterator[GitRepository]:
    """Serve a repository while the block runs, to who has the key and for fetching alone."""

    async def fetch(process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = f"git-upload-pack '/{repository.bare.name}'"
        if process.command != command:
            process.exit(1)
            return
        git = await asyncio.create_subprocess_exec(
            "git",
            "upload-pack",
            str(repository.bare),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert git.stdin and git.stdout
        asked = asyncio.create_task(_copy(process.stdin, git.stdin))
        await _copy(git.stdout, process.stdout)
        asked.cancel()
        process.exit(await git.wait())

    async def begin() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(_public(key)),
            process_factory=fetch,
            encoding=None,
        )

    async def end() -> None:
        server.close()
        await server.wait_closed()

    host_key = asyncssh.generate_private_key("ssh-ed25519")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    port = server.get_port()
    repository.url = f"ssh://git@127.0.0.1:{port}/{repository.bare.name}"
    repository.known_hosts = f"[127.0.0.1]:{port} {_public(host_key)}"
    try:
        yield repository
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _copy(source: Any, to: Any) -> None:
    while block := await source.read(1 << 16):
        to.write(block)
        await to.drain()


def _public(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode()
