"""The resource graph as a picture: components in layers, and in each its resources in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from report.drawing import Box, Label, Line, Picture, Shape, curve, cut, length, straight
from report.model import Component, Resources

TITLE = "The resource graph"
WIDE, NARROW = 960.0, 320.0
NODE_HEIGHT = 44.0
LEAST_WIDTH, MOST_WIDTH = 96.0, 190.0
"""Of a resource in the wide picture: as its words need it."""
SIDE = 9.0
"""Room beside the words of a resource."""
ACROSS, DOWN = 18.0, 16.0
"""Room between two resources, side by side and one above the other."""
PADDING, HEAD = 14.0, 34.0
"""Of a component: room at its sides, and for its name."""
GUTTER, LANE = 20.0, 6.0
"""Room at the left for arrows that pass others by, and between two of them."""
BETWEEN, BESIDE = 34.0, 22.0
"""Room between two layers of components, and between two components of one layer."""


@dataclass(frozen=True)
class _Place:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class _Drawn:
    """A component, laid out with its corner at 0, 0."""

    component: Component
    width: float
    height: float
    nodes: dict[str, _Place]


def wide(components: Sequence[Component]) -> Picture:
    """Resources from left to right, components from top to bottom."""
    layers = {one.name: one.layer for one in components}
    passes_by = any(one.layer - layers[need] > 1 for one in components for need in one.needs)
    gutter = GUTTER if passes_by else 0.0
    return _picture("graph-wide", components, WIDE, _in_columns, across=True, gutter=gutter)


def narrow(components: Sequence[Component]) -> Picture:
    """Everything from top to bottom, for a phone."""
    before = dict(zip((one.name for one in components[1:]), components, strict=False))
    passes_by = any(need != before[one.name].name for one in components for need in one.needs)
    gutter = GUTTER if passes_by else 0.0

    def lay_out(component: Component) -> _Drawn:
        return _in_rows(component, NARROW - 2 - gutter)

    return _picture("graph-narrow", components, NARROW, lay_out, across=False, gutter=gutter)


def _picture(
    name: str,
    components: Sequence[Component],
    width: float,
    lay_out: Callable[[Component], _Drawn],
    *,
    across: bool,
    gutter: float = 0.0,
) -> Picture:
    places: dict[str, _Place] = {}
    drawn: dict[str, _Drawn] = {}
    rows: dict[str, int] = {}
    y = 1.0
    for number, row in enumerate(_rows(list(map(lay_out, components)), width - gutter)):
        height = max(one.height for one in row)
        x = (width + gutter - sum(one.width for one in row) - BESIDE * (len(row) - 1)) / 2
        for one in row:
            places[one.component.name] = _Place(x, y, one.width, height)
            drawn[one.component.name] = one
            rows[one.component.name] = number
            x += one.width + BESIDE
        y += height + BETWEEN
    shapes: list[Shape] = []
    past: list[tuple[_Place, _Place]] = []
    for component in components:
        for need in component.needs:
            pair = (places[need], places[component.name])
            if rows[component.name] - rows[need] == 1:
                shapes.append(_between(*pair))
            else:
                past.append(pair)
    shapes += _past_others(past, min((place.x for place in places.values()), default=0.0))
    for component_name, one in drawn.items():
        shapes += _component(one, places[component_name], across)
    needs = "; ".join(
        f"{one.name} ({sum(len(r.names) for r in one.resources)} resources)"
        + (f" after {' and '.join(one.needs)}" if one.needs else "")
        for one in components
    )
    return Picture(
        name=name,
        title=TITLE,
        description=f"What is made after what: {needs}.",
        width=width,
        height=y - BETWEEN + 1,
        shapes=shapes,
    )


def _rows(drawn: list[_Drawn], width: float) -> list[list[_Drawn]]:
    """Components of one layer side by side, as far as they fit."""
    rows: list[list[_Drawn]] = []
    room = 0.0
    for one in drawn:
        same = rows and rows[-1][-1].component.layer == one.component.layer
        if same and room >= one.width + BESIDE:
            rows[-1].append(one)
            room -= one.width + BESIDE
        else:
            rows.append([one])
            room = width - one.width
    return rows


def _layers(resources: Sequence[Resources]) -> list[list[Resources]]:
    count = max((one.layer for one in resources), default=0) + 1
    return [[one for one in resources if one.layer == layer] for layer in range(count)]


def _in_columns(component: Component) -> _Drawn:
    layers = _layers(component.resources)
    tallest = max(map(len, layers))
    nodes = {}
    x = PADDING
    most = _most(layers)
    for layer in layers:
        # Each column in the middle of the tallest.
        top = HEAD + (tallest - len(layer)) * (NODE_HEIGHT + DOWN) / 2
        width = min(most, _column(layer))
        for row, one in enumerate(layer):
            y = top + row * (NODE_HEIGHT + DOWN)
            nodes[one.type] = _Place(x, y, width, NODE_HEIGHT)
        x += width + ACROSS
    width = x - ACROSS + PADDING
    height = HEAD + tallest * (NODE_HEIGHT + DOWN) - DOWN + PADDING
    return _Drawn(component, width, height, nodes)


def _column(layer: Sequence[Resources]) -> float:
    """The width of a column as its words need it."""
    return min(MOST_WIDTH, max([LEAST_WIDTH, *map(_needed, layer)]))


def _most(layers: Sequence[Sequence[Resources]]) -> float:
    """The widest that a column may be for all of them to fit side by side."""
    room = WIDE - 2 - 2 * PADDING - ACROSS * (len(layers) - 1)
    columns = sorted(map(_column, layers))
    for number, width in enumerate(columns):
        share = room / (len(columns) - number)
        if width > share:
            return share
        room -= width
    return MOST_WIDTH


def _words(resources: Resources) -> tuple[str, str]:
    """The two lines that stand for resources of one type."""
    count = len(resources.names)
    return resources.kind, resources.names[0] if count == 1 else f"{count} of them"


def _needed(resources: Resources) -> float:
    kind, below = _words(resources)
    return max(length(kind, "strong"), length(below, "small")) + 2 * SIDE


def _in_rows(component: Component, width: float) -> _Drawn:
    nodes = {}
    y = HEAD
    inside = width - 2 * PADDING
    for layer in _layers(component.resources):
        for begin in range(0, len(layer), 2):
            pair = layer[begin : begin + 2]
            each = (inside - 8 * (len(pair) - 1)) / len(pair)
            for column, one in enumerate(pair):
                nodes[one.type] = _Place(PADDING + column * (each + 8), y, each, NODE_HEIGHT)
            y += NODE_HEIGHT + DOWN
    return _Drawn(component, width, y - DOWN + PADDING, nodes)


def _between(above: _Place, below: _Place) -> Line:
    start = (above.x + above.width / 2, above.y + above.height)
    end = (below.x + below.width / 2, below.y - 2)
    return Line(d=curve(start, end, across=False), style="edge-outer", arrow=True)


def _past_others(pairs: list[tuple[_Place, _Place]], left: float) -> list[Shape]:
    """Arrows to the left of all components, which begin at ``left``.

    Each has a lane of its own as long as it runs beside another.
    """
    shapes: list[Shape] = []
    ends: list[float] = []
    """By lane: how far down it is taken."""
    for above, below in sorted(pairs, key=lambda pair: (pair[0].y, pair[1].y)):
        # From row to row in the room between them: beside either end there may be a neighbour.
        start, end = above.y + above.height, below.y - 2
        lane = next((n for n, taken in enumerate(ends) if taken < start), len(ends))
        ends[lane : lane + 1] = [end]
        x = max(1.0, left - 8 - lane * LANE)
        off, on = start + BETWEEN / 3, end - BETWEEN / 3
        out, into = above.x + PADDING, below.x + PADDING + lane * LANE
        way = straight((out, start), (out, off), (x, off), (x, on), (into, on), (into, end))
        shapes.append(Line(d=way, style="edge-outer", arrow=True))
    return shapes


def _component(one: _Drawn, at: _Place, across: bool) -> list[Shape]:
    through = "through " + ", ".join(one.component.providers) if one.component.providers else ""
    name = one.component.name
    room = at.width - 2 * PADDING - 8.0 * len(name) - 16
    shapes: list[Shape] = [
        Box(x=at.x, y=at.y, width=at.width, height=at.height, style="group", radius=8),
        Label(x=at.x + PADDING, y=at.y + 22, text=name, style="title"),
        Label(
            x=at.x + at.width - PADDING,
            y=at.y + 22,
            text=cut(through, room, "small"),
            style="small",
            anchor="end",
        ),
    ]
    for target in one.component.resources:
        for need in target.needs:
            shapes.append(_edge(one.nodes[need], one.nodes[target.type], at, across))
    for resources in one.component.resources:
        shapes += _node(resources, one.nodes[resources.type], at)
    return shapes


def _edge(source: _Place, target: _Place, at: _Place, across: bool) -> Line:
    if across:
        start = (at.x + source.x + source.width, at.y + source.y + source.height / 2)
        end = (at.x + target.x - 2, at.y + target.y + target.height / 2)
    else:
        start = (at.x + source.x + source.width / 2, at.y + source.y + source.height)
        end = (at.x + target.x + target.width / 2, at.y + target.y - 2)
    return Line(d=curve(start, end, across=across), style="edge", arrow=True)


def _node(resources: Resources, place: _Place, at: _Place) -> list[Shape]:
    x, y = at.x + place.x, at.y + place.y
    kind, below = _words(resources)
    room = place.width - 2 * SIDE
    return [
        Box(
            x=x,
            y=y,
            width=place.width,
            height=place.height,
            style="node critical" if resources.critical else "node",
            radius=5,
        ),
        Label(x=x + SIDE, y=y + 19, text=cut(kind, room, "strong"), style="text strong"),
        Label(x=x + SIDE, y=y + 35, text=cut(below, room, "small"), style="small"),
    ]
