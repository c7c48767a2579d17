"""Checks of the Talos Image Factory: it has the version and extensions, and hosts reach it."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator

from components.image import EXTENSIONS
from doctor import web
from doctor.context import Context
from doctor.findings import CannotCheckError, Finding, failure, note, ok, warning
from settings.problems import did_you_mean

_CONNECTION_ERROR = re.compile(r"invalid server response: '500 (?!Internal)")
"""Matches Proxmox's message if its HTTP library (LWP ``Protocol/http.pm``) cannot connect: LWP
reports its own errors as status 500, as in ``500 Can't connect to …`` or ``500 read timeout``."""


def check_factory(context: Context) -> Iterator[Finding]:
    """Check that the factory answers, and that it has the Talos version and the extensions."""
    factory, version = context.settings.image.factory, context.settings.cluster.talos
    try:
        versions = json.loads(context.probes.fetch(f"{factory}/versions"))
    except web.FETCH_ERRORS as error:
        yield context.download_problem(
            factory,
            f"does not answer: {web.reason(error)}",
            "check image.factory, and this machine's internet access",
        )
        return
    if version not in versions:
        fix = f"set cluster.talos to a version that it has, such as {_newest(versions)}"
        yield failure(factory, f"does not have Talos {version}", fix)
        return
    path = f"/version/{version}/extensions/official"
    try:
        official = [entry["name"] for entry in json.loads(context.probes.fetch(factory + path))]
    except (*web.FETCH_ERRORS, KeyError, TypeError) as error:
        raise CannotCheckError(f"{factory}{path}: {web.reason(error)}") from None
    wanted = sorted({*EXTENSIONS, *context.settings.image.extensions})
    unknown = [name for name in wanted if name not in official]
    for name in unknown:
        fix = f"correct image.extensions: {did_you_mean(name, official)}"
        yield failure(name, f"is not an extension of Talos {version}", fix)
    if not unknown:
        yield ok(factory, f"has Talos {version} and its {len(wanted)} extensions")


def _newest(versions: list[str]) -> str:
    stable = [version for version in versions if "-" not in version]
    return ", ".join(stable[-3:])


def check_from_hosts(context: Context) -> Iterator[Finding]:
    """Check that each host can reach the factory, from which it downloads the image.

    The host sends the request itself (Proxmox's ``query-url-metadata``). Any answer of the factory
    is a success, even an error.
    """
    factory = context.settings.image.factory
    url = urllib.parse.quote(f"{factory}/versions", safe="")
    hosts = context.online_hosts()
    failed = []
    for host in hosts:
        try:
            context.proxmox.read(f"/nodes/{host}/query-url-metadata?url={url}")
        except CannotCheckError as error:
            if error.reported_elsewhere:
                raise
            if _CONNECTION_ERROR.search(error.detail):
                failed.append(host)
                yield context.download_problem(
                    host,
                    f"cannot reach {factory} to download the image: {error}",
                    f"check the name servers and the gateway of {host}",
                )
            elif "invalid server response" not in error.detail:
                failed.append(host)
                yield warning(
                    host,
                    f"possibly cannot reach {factory}: {error}",
                    f"run in a shell of {host}: curl -I {factory}/versions",
                )
    if hosts and not failed:
        yield ok(factory, f"can be reached from {', '.join(hosts)}")
    elif not hosts:
        yield note(factory, "is not checked from the hosts, because no host is online")
