"""Rules for Flux's Git repository: credentials and host key must fit the URL."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator

from settings.charts import Flux
from settings.problems import Problem

SET_COMMAND = "pulumi config set --secret --path"


def credentials_fit_url(flux: Flux | None) -> Iterator[Problem]:
    """``ssh://`` needs a deploy key and known hosts; ``https://`` takes a token or nothing."""
    if flux is None:
        return
    if flux.url.startswith("ssh://"):
        if flux.deploy_key is None:
            yield Problem(
                "flux.deploy_key",
                "missing",
                f"{flux.url} needs a private SSH key",
                f"run `{SET_COMMAND} flux.deploy_key < deploy_key`, and add the public key to the "
                "Git server",
            )
        if flux.known_hosts is None:
            yield Problem(
                "flux.known_hosts",
                "missing",
                "over SSH, Flux connects only to a server with a known host key",
                f"write the output of `ssh-keyscan {_keyscan_arguments(flux.url)}`, after you have "
                "compared it with the host keys that the Git server publishes",
            )
        if flux.token is not None:
            yield Problem(
                "flux.token",
                "(hidden)",
                "has no effect with an ssh:// URL",
                "remove it, or write flux.url with https://",
            )
        if flux.certificate is not None:
            yield Problem(
                "flux.certificate",
                "set",
                "has no effect with an ssh:// URL: flux.known_hosts identifies the server",
                "remove it, or write flux.url with https://",
            )
        return
    for name in ("deploy_key", "known_hosts"):
        if getattr(flux, name) is not None:
            yield Problem(
                f"flux.{name}",
                "(hidden)" if name == "deploy_key" else "set",
                "has no effect with an https:// URL",
                "remove it, or write flux.url with ssh://",
            )


def git_host_is_known(flux: Flux | None) -> Iterator[Problem]:
    """``known_hosts`` has an entry for the server of ``flux.url`` (format: sshd(8),
    SSH_KNOWN_HOSTS FILE FORMAT)."""
    if flux is None or flux.known_hosts is None or not flux.url.startswith("ssh://"):
        return
    url = urllib.parse.urlsplit(flux.url)
    wanted = str(url.hostname) if url.port in (None, 22) else f"[{url.hostname}]:{url.port}"
    for line in flux.known_hosts.splitlines():
        names, *key = line.split()[:3] or [""]
        # A hashed host name cannot be compared, so it counts as the right one.
        if len(key) == 2 and (names.startswith("|1|") or wanted in names.lower().split(",")):
            return
    yield Problem(
        "flux.known_hosts",
        "set",
        f"has no line for {wanted}, the server of flux.url",
        f"write the output of `ssh-keyscan {_keyscan_arguments(flux.url)}`",
    )


def _keyscan_arguments(address: str) -> str:
    """The arguments of ``ssh-keyscan`` for the server of a URL."""
    url = urllib.parse.urlsplit(address)
    return f"-p {url.port} {url.hostname}" if url.port else str(url.hostname)
