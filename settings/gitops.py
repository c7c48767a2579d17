"""Rules of the manifests' repository: which secret goes with which address."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator

from settings.charts import Flux
from settings.problems import Problem

SET = "pulumi config set --secret --path"


def secret_fits_its_url(flux: Flux | None) -> Iterator[Problem]:
    """SSH needs a key and the server's own; https takes a token, or nothing."""
    if flux is None:
        return
    if flux.url.startswith("ssh://"):
        if flux.deploy_key is None:
            yield Problem(
                "flux.deploy_key",
                "missing",
                f"{flux.url} is reached with an SSH key",
                f"`{SET} flux.deploy_key < deploy_key`; its public half goes to the git server",
            )
        if flux.known_hosts is None:
            yield Problem(
                "flux.known_hosts",
                "missing",
                "over SSH Flux talks only to a server whose key it knows",
                f"write what `ssh-keyscan {_scan(flux.url)}` says, and compare it with the "
                "server's own page",
            )
        if flux.token is not None:
            yield Problem(
                "flux.token",
                "(hidden)",
                "is of no use over SSH",
                "take it out, or write flux.url with https://",
            )
        if flux.certificate is not None:
            yield Problem(
                "flux.certificate",
                "set",
                "is of no use over SSH, where flux.known_hosts says who the server is",
                "take it out, or write flux.url with https://",
            )
        return
    for name in ("deploy_key", "known_hosts"):
        if getattr(flux, name) is not None:
            yield Problem(
                f"flux.{name}",
                "(hidden)" if name == "deploy_key" else "set",
                "is of no use over https",
                "take it out, or write flux.url with ssh://",
            )


def git_host_is_known(flux: Flux | None) -> Iterator[Problem]:
    """``known_hosts`` speaks of the server that the address names (sshd(8), SSH_KNOWN_HOSTS)."""
    if flux is None or flux.known_hosts is None or not flux.url.startswith("ssh://"):
        return
    url = urllib.parse.urlsplit(flux.url)
    wanted = str(url.hostname) if url.port in (None, 22) else f"[{url.hostname}]:{url.port}"
    for line in flux.known_hosts.splitlines():
        names, *key = line.split()[:3] or [""]
        # A hashed name cannot be read back: it may be the right one.
        if len(key) == 2 and (names.startswith("|1|") or wanted in names.lower().split(",")):
            return
    yield Problem(
        "flux.known_hosts",
        "set",
        f"has no line for {wanted}, the server of flux.url",
        f"write what `ssh-keyscan {_scan(flux.url)}` says",
    )


def _scan(address: str) -> str:
    """The arguments with which ``ssh-keyscan`` asks the server of an address."""
    url = urllib.parse.urlsplit(address)
    return f"-p {url.port} {url.hostname}" if url.port else str(url.hostname)
