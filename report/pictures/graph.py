"""The picture of the resource graph: components in layers, and their resources by type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from report.drawing import Box, Label, Line, Picture, Shape, curve, cut, length, straight
from report.model import Component, Resources

TITLE = "The resource graph"
WIDE, NARROW = 960.0, 320.0
NODE_HEIGHT = 44.0
MIN_NODE_WIDTH, MAX_NODE_WIDTH = 96.0, 190.0
"""Limits of the width of a node (the resources of one type) in the wide picture."""
NODE_PADDING = 9.0
"""Space between the border of a node and its text."""
COLUMN_GAP, ROW_GAP = 18.0, 16.0
"""Space between two nodes, side by side and one above the other."""
PADDING, HEADER_HEIGHT = 14.0, 34.0
"""Space at the border of a component, and height of the line with its name."""
GUTTER_WIDTH, LANE_WIDTH = 20.0, 6.0
"""Space at the left for arrows that pass other components, and distance of two such arrows."""
LAYER_GAP, COMPONENT_GAP = 34.0, 22.0
"""Space between two rows of components, and between two components in one row."""


@dataclass(frozen=True)
class _Rect:
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class _ComponentLayout:
    """The layout of a component; its top left corner is at 0, 0."""

    component: Component
    width: float
    height: float
    nodes: dict[str, _Rect]
    """The nodes, by type of their resources."""


def wide(components: Sequence[Component]) -> Picture:
    """The picture for wide screens: nodes from left to right, components from top to bottom."""
    layers = {it.name: it.layer for it in components}
    needs_gutter = any(it.layer - layers[need] > 1 for it in components for need in it.needs)
    gutter = GUTTER_WIDTH if needs_gutter else 0.0
    return _picture("graph-wide", components, WIDE, _lay_out_in_columns, across=True, gutter=gutter)


def narrow(components: Sequence[Component]) -> Picture:
    """The picture for phones: nodes and components from top to bottom."""
    previous = dict(zip((it.name for it in components[1:]), components, strict=False))
    needs_gutter = any(need != previous[it.name].name for it in components for need in it.needs)
    gutter = GUTTER_WIDTH if needs_gutter else 0.0

    def lay_out(component: Component) -> _ComponentLayout:
        return _lay_out_in_rows(component, NARROW - 2 - gutter)

    return _picture("graph-narrow", components, NARROW, lay_out, across=False, gutter=gutter)


def _picture(
    name: str,
    components: Sequence[Component],
    width: float,
    lay_out: Callable[[Component], _ComponentLayout],
    *,
    across: bool,
    gutter: float = 0.0,
) -> Picture:
    rects: dict[str, _Rect] = {}
    layouts: dict[str, _ComponentLayout] = {}
    rows: dict[str, int] = {}
    y = 1.0
    for number, row in enumerate(_rows(list(map(lay_out, components)), width - gutter)):
        height = max(layout.height for layout in row)
        row_width = sum(layout.width for layout in row) + COMPONENT_GAP * (len(row) - 1)
        x = (width + gutter - row_width) / 2
        for layout in row:
            name_of_component = layout.component.name
            rects[name_of_component] = _Rect(x, y, layout.width, height)
            layouts[name_of_component] = layout
            rows[name_of_component] = number
            x += layout.width + COMPONENT_GAP
        y += height + LAYER_GAP
    shapes: list[Shape] = []
    distant: list[tuple[_Rect, _Rect]] = []
    for component in components:
        for need in component.needs:
            pair = (rects[need], rects[component.name])
            if rows[component.name] - rows[need] == 1:
                shapes.append(_arrow_to_next_row(*pair))
            else:
                distant.append(pair)
    shapes += _arrows_past_rows(distant, min((rect.x for rect in rects.values()), default=0.0))
    for component_name, layout in layouts.items():
        shapes += _draw_component(layout, rects[component_name], across)
    order = "; ".join(
        f"{it.name} ({sum(len(r.names) for r in it.resources)} resources)"
        + (f" after {' and '.join(it.needs)}" if it.needs else "")
        for it in components
    )
    return Picture(
        name=name,
        title=TITLE,
        description=f"The order in which components are created: {order}.",
        width=width,
        height=y - LAYER_GAP + 1,
        shapes=shapes,
    )


def _rows(layouts: list[_ComponentLayout], width: float) -> list[list[_ComponentLayout]]:
    """Group the components into rows: components of one layer are side by side if they fit."""
    rows: list[list[_ComponentLayout]] = []
    free = 0.0
    for layout in layouts:
        same_layer = rows and rows[-1][-1].component.layer == layout.component.layer
        if same_layer and free >= layout.width + COMPONENT_GAP:
            rows[-1].append(layout)
            free -= layout.width + COMPONENT_GAP
        else:
            rows.append([layout])
            free = width - layout.width
    return rows


def _layers(resources: Sequence[Resources]) -> list[list[Resources]]:
    count = max((it.layer for it in resources), default=0) + 1
    return [[it for it in resources if it.layer == layer] for layer in range(count)]


def _lay_out_in_columns(component: Component) -> _ComponentLayout:
    layers = _layers(component.resources)
    tallest = max(map(len, layers))
    nodes = {}
    x = PADDING
    most = _max_column_width(layers)
    for layer in layers:
        # Center each column vertically.
        top = HEADER_HEIGHT + (tallest - len(layer)) * (NODE_HEIGHT + ROW_GAP) / 2
        width = min(most, _column_width(layer))
        for row, it in enumerate(layer):
            y = top + row * (NODE_HEIGHT + ROW_GAP)
            nodes[it.type] = _Rect(x, y, width, NODE_HEIGHT)
        x += width + COLUMN_GAP
    width = x - COLUMN_GAP + PADDING
    height = HEADER_HEIGHT + tallest * (NODE_HEIGHT + ROW_GAP) - ROW_GAP + PADDING
    return _ComponentLayout(component, width, height, nodes)


def _column_width(layer: Sequence[Resources]) -> float:
    """The width that the texts of a column need, within the limits."""
    return min(MAX_NODE_WIDTH, max([MIN_NODE_WIDTH, *map(_needed_width, layer)]))


def _max_column_width(layers: Sequence[Sequence[Resources]]) -> float:
    """The maximum width of a column at which all columns fit side by side."""
    room = WIDE - 2 - 2 * PADDING - COLUMN_GAP * (len(layers) - 1)
    columns = sorted(map(_column_width, layers))
    for number, width in enumerate(columns):
        share = room / (len(columns) - number)
        if width > share:
            return share
        room -= width
    return MAX_NODE_WIDTH


def _node_texts(resources: Resources) -> tuple[str, str]:
    """The two lines of text of a node."""
    count = len(resources.names)
    return resources.kind, resources.names[0] if count == 1 else f"{count} resources"


def _needed_width(resources: Resources) -> float:
    kind, below = _node_texts(resources)
    return max(length(kind, "strong"), length(below, "small")) + 2 * NODE_PADDING


def _lay_out_in_rows(component: Component, width: float) -> _ComponentLayout:
    nodes = {}
    y = HEADER_HEIGHT
    inside = width - 2 * PADDING
    for layer in _layers(component.resources):
        for begin in range(0, len(layer), 2):
            pair = layer[begin : begin + 2]
            each = (inside - 8 * (len(pair) - 1)) / len(pair)
            for column, it in enumerate(pair):
                nodes[it.type] = _Rect(PADDING + column * (each + 8), y, each, NODE_HEIGHT)
            y += NODE_HEIGHT + ROW_GAP
    return _ComponentLayout(component, width, y - ROW_GAP + PADDING, nodes)


def _arrow_to_next_row(above: _Rect, below: _Rect) -> Line:
    start = (above.x + above.width / 2, above.y + above.height)
    end = (below.x + below.width / 2, below.y - 2)
    return Line(d=curve(start, end, across=False), style="edge-outer", arrow=True)


def _arrows_past_rows(pairs: list[tuple[_Rect, _Rect]], left: float) -> list[Shape]:
    """Draw arrows that pass other components, to the left of ``left``, where components begin.

    Arrows that run side by side use different lanes.
    """
    shapes: list[Shape] = []
    ends: list[float] = []
    """By lane: the y coordinate down to which an arrow uses the lane."""
    for above, below in sorted(pairs, key=lambda pair: (pair[0].y, pair[1].y)):
        # Horizontal parts are between two rows, because there may be a component on the left side
        # of either end.
        start, end = above.y + above.height, below.y - 2
        lane = next((n for n, taken in enumerate(ends) if taken < start), len(ends))
        ends[lane : lane + 1] = [end]
        x = max(1.0, left - 8 - lane * LANE_WIDTH)
        off, on = start + LAYER_GAP / 3, end - LAYER_GAP / 3
        out, into = above.x + PADDING, below.x + PADDING + lane * LANE_WIDTH
        path = straight((out, start), (out, off), (x, off), (x, on), (into, on), (into, end))
        shapes.append(Line(d=path, style="edge-outer", arrow=True))
    return shapes


def _draw_component(layout: _ComponentLayout, at: _Rect, across: bool) -> list[Shape]:
    providers = ", ".join(layout.component.providers)
    name = layout.component.name
    room = at.width - 2 * PADDING - 8.0 * len(name) - 16
    shapes: list[Shape] = [
        Box(x=at.x, y=at.y, width=at.width, height=at.height, style="group", radius=8),
        Label(x=at.x + PADDING, y=at.y + 22, text=name, style="title"),
        Label(
            x=at.x + at.width - PADDING,
            y=at.y + 22,
            text=cut(f"via {providers}" if providers else "", room, "small"),
            style="small",
            anchor="end",
        ),
    ]
    for target in layout.component.resources:
        for need in target.needs:
            shapes.append(_draw_edge(layout.nodes[need], layout.nodes[target.type], at, across))
    for resources in layout.component.resources:
        shapes += _draw_node(resources, layout.nodes[resources.type], at)
    return shapes


def _draw_edge(source: _Rect, target: _Rect, at: _Rect, across: bool) -> Line:
    if across:
        start = (at.x + source.x + source.width, at.y + source.y + source.height / 2)
        end = (at.x + target.x - 2, at.y + target.y + target.height / 2)
    else:
        start = (at.x + source.x + source.width / 2, at.y + source.y + source.height)
        end = (at.x + target.x + target.width / 2, at.y + target.y - 2)
    return Line(d=curve(start, end, across=across), style="edge", arrow=True)


def _draw_node(resources: Resources, place: _Rect, at: _Rect) -> list[Shape]:
    x, y = at.x + place.x, at.y + place.y
    kind, below = _node_texts(resources)
    room = place.width - 2 * NODE_PADDING
    return [
        Box(
            x=x,
            y=y,
            width=place.width,
            height=place.height,
            style="node critical" if resources.critical else "node",
            radius=5,
        ),
        Label(x=x + NODE_PADDING, y=y + 19, text=cut(kind, room, "strong"), style="text strong"),
        Label(x=x + NODE_PADDING, y=y + 35, text=cut(below, room, "small"), style="small"),
    ]
