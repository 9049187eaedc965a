"""Where pictures put their boxes, cells and bars."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from treadle.monitoring.model import ColumnDrift, Window
from treadle.ui.heat import drift_map
from treadle.ui.layered_graph import BOX_HEIGHT, BOX_WIDTH, Node, layered
from treadle.ui.series import sparkline

AT = datetime(2026, 1, 1, tzinfo=UTC)
pairs = st.tuples(st.integers(0, 9), st.integers(0, 9))


@given(st.integers(0, 10), st.lists(pairs, max_size=20))
def test_boxes_of_a_graph_do_not_overlap_and_edges_lead_right(
    count: int, edges: list[tuple[int, int]]
) -> None:
    forward = [(str(min(one)), str(max(one))) for one in edges if one[0] != one[1]]
    graph = layered([Node(str(name), "step", str(name)) for name in range(count)], forward)
    places = {box.node.id: box for box in graph.boxes}
    assert len(places) == count
    for one, other in forward:
        if one in places and other in places:
            assert places[one].x + BOX_WIDTH < places[other].x
    boxes = list(graph.boxes)
    for place, box in enumerate(boxes):
        assert box.x + BOX_WIDTH <= graph.width and box.y + BOX_HEIGHT <= graph.height
        for other_box in boxes[:place]:
            apart = abs(box.x - other_box.x) >= BOX_WIDTH
            assert apart or abs(box.y - other_box.y) >= BOX_HEIGHT


@given(st.lists(pairs, max_size=20))
def test_a_cycle_is_drawn_all_the_same(edges: list[tuple[int, int]]) -> None:
    graph = layered(
        [Node(str(name), "step", "") for name in range(10)],
        [(str(one), str(other)) for one, other in edges],
    )
    assert len(graph.boxes) == 10


def test_a_heat_map_ranks_columns_and_marks_what_drifted() -> None:
    def window(day: int, psi: float) -> Window:
        columns = [
            ColumnDrift(column="calm", psi=0.01, p=0.5, drifted=False),
            ColumnDrift(column="moved", psi=psi, p=0.0, drifted=psi > 0.1),
        ]
        start = AT + timedelta(days=day)
        return Window(
            endpoint="e",
            start=start,
            end=start + timedelta(days=1),
            champion="m:1",
            state="measured",
            rows=200,
            errors=0,
            latency_ms_p99=1.0,
            drift=columns,
            estimates=[],
            labels=0,
            measures=[],
        )

    drawn = drift_map([window(0, 0.05), window(1, 0.3), window(2, 1.5)])
    assert [row.name for row in drawn.rows] == ["moved", "calm"]
    assert [(cell.strength, cell.drifted) for cell in drawn.rows[0].cells] == [
        (0, False),
        (2, True),
        (3, True),
    ]


def test_a_sparkline_leaves_out_what_was_not_measured_and_keeps_the_bound_in_sight() -> None:
    points, bound, last = sparkline([None, 0.5, 0.7], bound=0.6)
    assert [x for x, _ in points] == [49.0, 96.0]
    assert bound is not None and points[1][1] < bound < points[0][1]
    assert last == points[-1]
    assert sparkline([None, None], bound=0.6) == ([], None, None)
