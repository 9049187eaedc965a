"""A saved search finds the same runs for everybody, and is refused when it cannot be read."""

from collections.abc import Callable
from typing import Any

import pytest

from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_view_finds_what_its_search_finds(
    request: pytest.FixtureRequest, open_home: Callable[..., Embedded], database: str
) -> None:
    given = (
        {"database": request.getfixturevalue("postgres_url")} if database == "postgresql" else {}
    )
    platform = open_home(**given)
    runs = [
        platform.tracking.start_run(experiment="e", params={"lr": str(number)}).id
        for number in range(3)
    ]
    experiment = platform.tracking.experiment(name="e").id
    facts: Any = {"name": "tuned", "project": "e", "experiments": [experiment]}
    saved = platform.views.save(
        **facts, filter="params.lr != '1'", order=["params.lr ASC"], columns=["params.lr"]
    )
    assert [run.id for run in platform.views.look(name="tuned", project="e").runs] == [
        runs[0],
        runs[2],
    ]
    assert platform.views.find(project="e") == [saved]
    platform.views.save(**facts, filter="params.lr = '1'")
    assert [run.id for run in platform.views.look(name="tuned", project="e").runs] == [runs[1]]
    assert [view.filter for view in platform.views.find()] == ["params.lr = '1'"]
    platform.views.remove(name="tuned", project="e")
    assert platform.views.find() == []


def test_a_view_that_cannot_be_read_is_refused_when_it_is_saved(
    open_home: Callable[..., Embedded],
) -> None:
    views = open_home().views
    facts: Any = {"name": "view", "project": "p", "experiments": [1]}
    with pytest.raises(Invalid, match="lr"):
        views.save(**facts, filter="params.lr <")
    with pytest.raises(Invalid):
        views.save(**facts, columns=["nonsense of a field !"])
    views.save(**facts)
    with pytest.raises(NotFound, match="Did you mean 'view'"):
        views.get(name="vew", project="p")
