"""The picture of the network: a bar of all addresses, and a card for each use of addresses."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network

from report.drawing import Box, Label, Line, Picture, Shape, cut, spread, straight
from report.model import Network, Span

TITLE = "The network"
WIDE, NARROW = 960.0, 320.0
CARD_WIDTH, CARD_HEIGHT, GAP = 176.0, 62.0, 10.0
BAR_THICKNESS = 16.0
"""Thickness of the bar of addresses."""
MIN_SPAN_LENGTH = 4.0
"""Minimum length of a span on the bar. Without it, one address of a large network is invisible."""
INTERNET = "Internet"


@dataclass(frozen=True)
class _Card:
    span: Span
    lines: tuple[str, str, str]
    is_ingress: bool


def wide(network: Network) -> Picture:
    """The picture for wide screens: a horizontal bar; if the cards do not fit, as ``narrow``."""
    cards = _cards(network)
    above = [card for card in cards if card.span.kind not in ("dhcp", "worker", "control-plane")]
    below = [card for card in cards if card not in above]
    if max(len(above), len(below)) * (CARD_WIDTH + GAP) > WIDE:
        return _picture(network, "network-wide", *_vertical(network, cards))
    top, line, bottom = 72.0, 194.0, 250.0
    shapes: list[Shape] = []
    for row, y, near in ((above, top, top + CARD_HEIGHT), (below, bottom, bottom)):
        wanted = [_middle(card.span, network, WIDE) for card in row]
        step = CARD_WIDTH + GAP
        centres = spread(wanted, step, -GAP / 2, WIDE + GAP / 2)
        for card, at, x in zip(row, wanted, centres, strict=True):
            edge = line if y < line else line + BAR_THICKNESS
            bend = (near + edge) / 2
            shapes.append(Line(d=straight((at, edge), (at, bend), (x, near)), style="leader"))
            shapes += _draw_card(card, x - CARD_WIDTH / 2, y, CARD_WIDTH)
            if card.span.kind == "router":
                shapes += _draw_internet(x, 0)
                shapes.append(Line(d=straight((x, 26), (x, top - 2)), style="flow", arrow=True))
                router = x
            if card.is_ingress:
                ingress = x
    if router != ingress:
        path = straight((router + 8, top), (router + 8, 48), (ingress, 48), (ingress, top - 2))
        shapes.append(Line(d=path, style="flow", arrow=True))
        middle = (router + ingress) / 2
        shapes.append(
            Label(x=middle, y=40, text="forwards ports 80 and 443", anchor="middle", style="small")
        )
    shapes.append(Box(x=0, y=line, width=WIDE, height=BAR_THICKNESS, style="line", radius=3))
    shapes += [
        Box(
            x=x,
            y=line + _inset(span),
            width=length,
            height=BAR_THICKNESS - 2 * _inset(span),
            style=f"fill-{span.kind}",
            radius=1,
        )
        for span, x, length in _spans_on_bar(network, WIDE)
    ]
    first, last = _ends(network)
    end = line + BAR_THICKNESS + 16
    shapes.append(Label(x=0, y=end, text=first, style="small"))
    shapes.append(Label(x=WIDE, y=end, text=last, style="small", anchor="end"))
    return _picture(network, "network-wide", WIDE, bottom + CARD_HEIGHT + 1, shapes)


def narrow(network: Network) -> Picture:
    """The picture for phones: a vertical bar."""
    return _picture(network, "network-narrow", *_vertical(network, _cards(network)))


def _vertical(network: Network, cards: list[_Card]) -> tuple[float, float, list[Shape]]:
    """Width, height and shapes of the picture with a vertical bar."""
    step, left, right, top = CARD_HEIGHT + GAP, 62.0, NARROW - 22.0, 70.0
    length = len(cards) * step
    wanted = [top + _middle(card.span, network, length) for card in cards]
    centres = spread(wanted, step, top - GAP / 2, top + length + GAP / 2)
    shapes: list[Shape] = []
    for card, at, y in zip(cards, wanted, centres, strict=True):
        shapes.append(Line(d=straight((BAR_THICKNESS, at), (38, at), (left, y)), style="leader"))
        shapes += _draw_card(card, left, y - CARD_HEIGHT / 2, right - left)
        if card.span.kind == "router":
            router = y
        if card.is_ingress:
            ingress = y
    middle = (left + right) / 2
    shapes += _draw_internet(middle, 0)
    # An arrow from the internet to the router, and one on the right side from the router to the
    # ingress.
    edge = NARROW - 8
    into_router = straight(
        (middle + 36, 13), (edge, 13), (edge, router - 8), (right + 2, router - 8)
    )
    shapes.append(Line(d=into_router, style="flow", arrow=True))
    if router != ingress:
        path = straight(
            (right, router + 8), (edge, router + 8), (edge, ingress), (right + 2, ingress)
        )
        shapes.append(Line(d=path, style="flow", arrow=True))
    shapes.append(Box(x=0, y=top, width=BAR_THICKNESS, height=length, style="line", radius=3))
    shapes += [
        Box(
            x=_inset(span),
            y=top + y,
            width=BAR_THICKNESS - 2 * _inset(span),
            height=extent,
            style=f"fill-{span.kind}",
            radius=1,
        )
        for span, y, extent in _spans_on_bar(network, length)
    ]
    first, last = _ends(network)
    shapes.append(Label(x=0, y=top - 8, text=first, style="small"))
    shapes.append(Label(x=0, y=top + length + 18, text=last, style="small"))
    return NARROW, top + length + 24, shapes


def _picture(
    network: Network, name: str, width: float, height: float, shapes: list[Shape]
) -> Picture:
    described = "; ".join(
        f"{card.lines[0]} {card.lines[1]}, {card.lines[2]}" for card in _cards(network)
    )
    return Picture(
        name=name,
        title=f"{TITLE} {network.cidr}",
        description=f"From the lowest to the highest address: {described}. "
        f"The router forwards ports 80 and 443 to {network.ingress}.",
        width=width,
        height=height,
        shapes=shapes,
    )


def _cards(network: Network) -> list[_Card]:
    ingress_in_pool = any(
        span.kind == "pool" and _contains_ingress(span, network) for span in network.spans
    )
    cards = []
    for span in network.spans:
        if span.kind == "ingress":
            continue  # The card of the pool or of the VIP names the ingress.
        is_ingress = span.kind == ("pool" if ingress_in_pool else "vip")
        lines = (_name(span), _addresses(span), _description(span, network, is_ingress))
        cards.append(_Card(span, lines, is_ingress))
    # Sorted by the middle of the span, where the line to the card begins, so no two lines cross.
    return sorted(cards, key=lambda card: _middle(card.span, network, WIDE))


def _name(span: Span) -> str:
    if span.count > 1 and span.kind in ("worker", "control-plane"):
        return f"{span.count} {span.kind.replace('-', ' ')}s"
    return span.name


def _addresses(span: Span) -> str:
    if span.count == 1:
        return span.first
    return f"{span.first} to {_shorten(span.last, span.first)}"


def _shorten(address: str, other: str) -> str:
    """The last numbers of ``address``, in which it differs from ``other``: ``.120``."""
    parts, other_parts = address.split("."), other.split(".")
    same = next((i for i in range(4) if parts[i] != other_parts[i]), 3)
    return "." + ".".join(parts[same:])


def _description(span: Span, network: Network, is_ingress: bool) -> str:
    match span.kind:
        case "router":
            return "gateway"
        case "proxmox":
            return f"VMs on {network.bridge}"
        case "dhcp":
            return f"{span.count} addresses"
        case "vip":
            return "API and ingress" if is_ingress else "Kubernetes API"
        case "pool":
            at = f"Traefik at {_shorten(network.ingress, span.first)}"
            return at if is_ingress else f"{span.count} addresses"
        case _:
            return span.name if span.count > 1 else span.kind.replace("-", " ")


def _contains_ingress(span: Span, network: Network) -> bool:
    offset = next(it.offset for it in network.spans if it.kind == "ingress")
    return span.offset <= offset < span.offset + span.count


def _ends(network: Network) -> tuple[str, str]:
    cidr = IPv4Network(network.cidr)
    return str(cidr.network_address), str(cidr.broadcast_address)


def _middle(span: Span, network: Network, length: float) -> float:
    return (span.offset + span.count / 2) / network.size * length


def _spans_on_bar(network: Network, length: float) -> list[tuple[Span, float, float]]:
    """The start and the length of each span on a bar of this length."""
    found = []
    for span in network.spans:
        extent = max(MIN_SPAN_LENGTH, span.count / network.size * length)
        start = min(max(0, _middle(span, network, length) - extent / 2), length - extent)
        found.append((span, start, extent))
    return found


def _inset(span: Span) -> float:
    """Space around the mark of the ingress, so that the pool or VIP below it stays visible."""
    return 5.0 if span.kind == "ingress" else 0.0


def _draw_card(card: _Card, x: float, y: float, width: float) -> list[Shape]:
    title, addresses, words = card.lines
    room = width - 20
    return [
        Box(x=x, y=y, width=width, height=CARD_HEIGHT, style="card", radius=6),
        Box(x=x + 1, y=y + 8, width=4, height=CARD_HEIGHT - 16, style=f"fill-{card.span.kind}"),
        Label(x=x + 14, y=y + 20, text=cut(title, room, "title"), style="title"),
        Label(x=x + 14, y=y + 37, text=cut(addresses, room), style="text"),
        Label(x=x + 14, y=y + 53, text=cut(words, room, "small"), style="small"),
    ]


def _draw_internet(x: float, y: float) -> list[Shape]:
    return [
        Box(x=x - 36, y=y + 0.5, width=72, height=25, style="card", radius=12.5),
        Label(x=x, y=y + 17, text=INTERNET, style="text", anchor="middle"),
    ]
