"""Pictures are well-formed SVG with round ticks, whatever the numbers."""

import xml.etree.ElementTree as ElementTree

from hypothesis import given
from hypothesis import strategies as st

from treadle.ui.charts import Line, Mark, line_chart

NUMBERS = st.lists(st.none() | st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=12)


@given(
    values=NUMBERS,
    title=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), max_size=20),
)
def test_any_numbers_and_any_title_make_a_picture(values: list[float | None], title: str) -> None:
    labels = [str(number) for number in range(len(values))]
    picture = line_chart(
        title, labels, [Line("a <line>", values)], [Mark(0.5, "▲", "rose & fell", "#000000")]
    )
    root = ElementTree.fromstring(picture)
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == sum(value is not None for value in values)
    for circle in circles:
        assert 0 <= float(circle.attrib["cy"]) <= 360


def test_ticks_are_round() -> None:
    picture = line_chart("t", ["a", "b"], [Line("l", [0.593, 0.742])])
    for tick in ("0.60", "0.65", "0.70", "0.75"):
        assert f">{tick}</text>" in picture
