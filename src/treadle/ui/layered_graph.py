"""Places the nodes of a directed graph in columns, for pictures of lineage, pipelines and causes.

The template ``pictures.html`` draws what this places, so that every text is escaped there.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

BOX_WIDTH, BOX_HEIGHT = 200, 56
_GAP_ACROSS, _GAP_DOWN, _MARGIN = 56, 18, 6
_SWEEPS = 4


class Node(NamedTuple):
    """A box of the picture.

    Attributes:
        id: Its name in the edges.
        kind: What it is, as its first line.
        title: Its name, as its second line.
        link: The address that it leads to; empty for none.
        state: ``good``, ``bad``, ``wait``, ``here`` or empty: the colour of its border.
        note: The full text that is shown when pointed at.
    """

    id: str
    kind: str
    title: str
    link: str = ""
    state: str = ""
    note: str = ""


class Box(NamedTuple):
    """A node at its place.

    Attributes:
        node: The node.
        x: Its left edge.
        y: Its upper edge.
    """

    node: Node
    x: int
    y: int


class Graph(NamedTuple):
    """A picture's boxes and the curves between them.

    Attributes:
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        boxes: The nodes at their places.
        curves: SVG path data of each edge.
        says: The edges in words, for readers who do not see the picture.
    """

    width: int
    height: int
    boxes: list[Box]
    curves: list[str]
    says: str


def layered(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> Graph:
    """Place nodes from left to right in the direction of their edges.

    Args:
        nodes: The nodes; of two with the same id the first counts.
        edges: Pairs of ids, from and to; those with an unknown id are left out.
    """
    by_id = {node.id: node for node in reversed(nodes)}
    ordered = list(dict.fromkeys(node.id for node in nodes))
    known = list(dict.fromkeys(pair for pair in edges if pair[0] != pair[1]))
    known = [pair for pair in known if pair[0] in by_id and pair[1] in by_id]
    columns = _sorted_columns(_columns(ordered, known), known)
    tallest = max((len(column) for column in columns), default=0)
    boxes: dict[str, Box] = {}
    for across, column in enumerate(columns):
        start = (tallest - len(column)) * (BOX_HEIGHT + _GAP_DOWN) // 2
        for down, name in enumerate(column):
            x = _MARGIN + across * (BOX_WIDTH + _GAP_ACROSS)
            boxes[name] = Box(by_id[name], x, _MARGIN + start + down * (BOX_HEIGHT + _GAP_DOWN))
    says = "; ".join(f"{by_id[a].title} leads to {by_id[b].title}" for a, b in known)
    return Graph(
        width=2 * _MARGIN + len(columns) * (BOX_WIDTH + _GAP_ACROSS) - _GAP_ACROSS,
        height=2 * _MARGIN + tallest * (BOX_HEIGHT + _GAP_DOWN) - _GAP_DOWN,
        boxes=list(boxes.values()),
        curves=[_curve(boxes[one], boxes[other]) for one, other in known],
        says=says,
    )


def _columns(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Each node one column after the last of those that lead to it."""
    place = dict.fromkeys(names, 0)
    for _ in names:  # as many rounds as the longest path has nodes; a cycle ends here too
        moved = False
        for one, other in edges:
            wanted = min(place[one] + 1, len(names) - 1)
            if place[other] < wanted:
                place[other], moved = wanted, True
        if not moved:
            break
    filled = sorted(set(place.values()))
    return [[name for name in names if place[name] == column] for column in filled]


def _sorted_columns(columns: list[list[str]], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Each column in the order of its neighbours, so that few edges cross."""
    neighbours: dict[str, list[str]] = {}
    for one, other in edges:
        neighbours.setdefault(one, []).append(other)
        neighbours.setdefault(other, []).append(one)
    for _ in range(_SWEEPS):
        height = {
            name: (at + 0.5) / len(column) for column in columns for at, name in enumerate(column)
        }
        columns = [
            sorted(column, key=lambda name: _mean_height(name, neighbours, height))
            for column in columns
        ]
    return columns


def _mean_height(
    name: str, neighbours: Mapping[str, list[str]], height: Mapping[str, float]
) -> float:
    around = [height[other] for other in neighbours.get(name, [])]
    return sum(around) / len(around) if around else height[name]


def _curve(one: Box, other: Box) -> str:
    """A curve from the right edge of one box to the left edge of another."""
    x, y = one.x + BOX_WIDTH, one.y + BOX_HEIGHT // 2
    to_x, to_y = other.x - 7, other.y + BOX_HEIGHT // 2  # room for the arrow's head
    middle = (x + to_x) // 2
    return f"M{x},{y} C{middle},{y} {middle},{to_y} {to_x},{to_y}"
