"""The Image Factory: it answers, knows this Talos and these extensions, and the hosts reach it."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator

from components.image import EXTENSIONS
from doctor import web
from doctor.context import Context
from doctor.findings import CannotTellError, Finding, failure, note, ok, warning
from settings.problems import did_you_mean

_LIBRARY_REFUSES = re.compile(r"invalid server response: '500 (?!Internal)")


def check(context: Context) -> Iterator[Finding]:
    """Asked from here, as the provider will."""
    factory, version = context.settings.image.factory, context.settings.cluster.talos
    try:
        versions = json.loads(context.probes.fetch(f"{factory}/versions"))
    except web.ASKING as error:
        yield context.unreachable(
            factory,
            f"cannot be asked: {web.reason(error)}",
            "check image.factory, and this machine's way to the internet",
        )
        return
    if version not in versions:
        yield failure(
            factory, f"does not know Talos {version}", f"cluster.talos: {_newest(versions)}"
        )
        return
    path = f"/version/{version}/extensions/official"
    try:
        official = [entry["name"] for entry in json.loads(context.probes.fetch(factory + path))]
    except (*web.ASKING, KeyError, TypeError) as error:
        raise CannotTellError(f"{factory}{path}: {web.reason(error)}") from None
    wanted = sorted({*EXTENSIONS, *context.settings.image.extensions})
    unknown = [name for name in wanted if name not in official]
    for name in unknown:
        fix = f"image.extensions: {did_you_mean(name, official)}"
        yield failure(name, f"is not an extension of Talos {version}", fix)
    if not unknown:
        yield ok(factory, f"knows Talos {version} and its {len(wanted)} extensions")


def _newest(versions: list[str]) -> str:
    stable = [version for version in versions if "-" not in version]
    return f"choose one that it knows, as {', '.join(stable[-3:])}"


def from_hosts(context: Context) -> Iterator[Finding]:
    """Asked by each host, which is to download the image: a question that Proxmox passes on.

    What is asked for need not be there: that the factory answers at all is what counts. Proxmox
    quotes its HTTP library, which calls its own troubles 500, as in "500 Can't connect to ..." or
    "500 read timeout" (LWP ``Protocol/http.pm``).
    """
    factory = context.settings.image.factory
    url = urllib.parse.quote(f"{factory}/versions", safe="")
    hosts = context.online_hosts()
    lost = []
    for host in hosts:
        try:
            context.proxmox.read(f"/nodes/{host}/query-url-metadata?url={url}")
        except CannotTellError as error:
            if error.said_elsewhere:
                raise
            if _LIBRARY_REFUSES.search(str(error)):
                lost.append(host)
                yield context.unreachable(
                    host,
                    f"does not reach {factory}, from where it is to download the image: {error}",
                    f"check the name servers and the gateway of {host}",
                )
            elif "invalid server response" not in str(error):
                lost.append(host)
                yield warning(
                    host,
                    f"may not reach {factory}: {error}",
                    f"in a shell of {host}: curl -I {factory}/versions",
                )
    if hosts and not lost:
        yield ok(factory, f"is reached by {', '.join(hosts)}")
    elif not hosts:
        yield note(factory, "was asked by no host: none is online")
