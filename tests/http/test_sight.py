"""Lists and searches are restricted before they filter, order and page: nothing of another
project's shows in a length, a page's token or an empty page.
"""

import time
import typing
from typing import Any

import pytest

from tests.http.test_rights import API, STAGES, World, world
from treadle.kernel.operation import operations

__all__ = ["world"]
HIDDEN = "a secret of project b"
MLFLOW = ("experiments/search", "registered-models/search", "model-versions/search")


@pytest.fixture
def crowded(world: World) -> World:
    """Project b has much that is newer than all of a, with a tag that nobody else may read."""
    registry, tracking = world.home.registry, world.home.tracking
    for number in range(6):
        name = f"b{number}"
        tracking.create_experiment(name=name, project="b", tags={"k": HIDDEN})
        tracking.start_run(experiment=name, tags={"k": HIDDEN})
        registry.create_model(name=name, project="b", tags={"k": HIDDEN})
        registry.register_source(model=name, source="s3://b", tags={"k": HIDDEN})
    return world


@pytest.mark.parametrize("path", MLFLOW)
def test_a_filter_tells_nothing_of_what_is_hidden(crowded: World, path: str) -> None:
    """The answer to a guess is the same whether it is right or not."""
    guesses = ("a%", "x%")
    answers = [
        crowded.client.get(
            f"{API}/{path}", params={"filter": f"tags.k LIKE '{guess}'", "max_results": 1}
        )
        for guess in guesses
    ]
    assert answers[0].status_code == answers[1].status_code == 200
    assert answers[0].json() == answers[1].json()
    assert not any(answers[0].json().values())


@pytest.mark.parametrize("path", MLFLOW)
def test_pages_are_full_of_what_is_theirs(crowded: World, path: str) -> None:
    answer = crowded.client.get(f"{API}/{path}", params={"max_results": 1}).json()
    (items,) = [value for value in answer.values() if isinstance(value, list)]
    assert [item["name"] for item in items] == ["a"]
    assert "next_page_token" not in answer


def test_every_list_of_several_projects_is_cut_after_it_was_restricted(crowded: World) -> None:
    """With a limit of one, what is theirs comes first although much of another's is newer."""
    listing = {
        f"{stage}/{name}": operation
        for stage, kind in STAGES.items()
        for name, operation in operations(kind).items()
        if operation.kind == "query" and not any(p.required for p in operation.parameters.values())
        if any(
            hasattr(item, "project") and item.__name__ != "EventRecord"
            for item in typing.get_args(operation.result)
        )
    }
    assert len(listing) >= 9
    found: dict[str, list[Any]] = {}
    for path, operation in listing.items():
        limit = {"limit": 1} if "limit" in operation.parameters else {}
        answer = crowded.client.get(f"/api/v1/{path}", params=limit)
        assert answer.status_code == 200, (path, answer.text)
        found[path] = [one["project"] for one in answer.json()]
        assert set(found[path]) <= {"a"}, path
    for path in ("tracking/find", "tracking/experiments", "registry/models", "registry/find"):
        assert found[path] == ["a"], path


def test_a_pattern_does_not_hold_up_the_server(crowded: World) -> None:
    """A filter that once took minutes is answered, and so is everybody else meanwhile."""
    crowded.home.registry.change_model(name="a", tags={"k": "a" * 4_000})
    began = time.monotonic()
    pattern = "%a" * 20 + "%b"
    answer = crowded.client.get(
        f"{API}/registered-models/search", params={"filter": f"tags.k LIKE '{pattern}'"}
    )
    assert not any(answer.json().values())
    assert time.monotonic() - began < 10


def test_names_are_looked_up_once_and_not_without_end(crowded: World) -> None:
    own = str(crowded.experiments["a"])
    began = time.monotonic()
    answer = crowded.client.post(f"{API}/runs/search", json={"experiment_ids": [own] * 200_000})
    assert answer.status_code == 200, answer.text
    many = [str(number) for number in range(20_000)]
    answer = crowded.client.post(f"{API}/runs/search", json={"experiment_ids": many})
    assert answer.status_code == 400
    assert "names 10,000 things at most, not 20,000" in answer.text
    assert time.monotonic() - began < 20
