"""Whoever holds a role in one project reads the events of that project, and no others."""

import httpx
import pytest

from treadle.platform.wiring import Embedded


@pytest.fixture
def editor(home: Embedded, url: str) -> httpx.Client:
    """Somebody with a role in project ``a`` only, where project ``b`` exists too."""
    for name in ("a", "b"):
        run = home.tracking.start_run(experiment=name)
        home.registry.create_model(name=name)
        home.registry.register_source(model=name, source=f"s3://{name}", run=run.id)
    home.access.create_token(name="root", role="admin")
    secret = home.access.create_token(name="laptop", role="editor", project="a").secret
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx.Client(base_url=f"{url}/api/v1/events/", headers=headers, timeout=30)


def test_the_events_of_ones_own_project_are_read(editor: httpx.Client) -> None:
    records = editor.get("history", params={"project": "a"}).json()
    assert {record["project"] for record in records} == {"a"}
    assert "VersionRegistered" in {record["type"] for record in records}
    thread = editor.get("why", params={"subject": "a:1", "project": "a"}).json()
    assert thread["subject"] == "version:a:1"


@pytest.mark.parametrize(
    "path, asked",
    [
        ("history", {}),
        ("history", {"project": "b"}),
        ("why", {"subject": "a:1"}),
        ("why", {"subject": "a:1", "project": "b"}),
        ("effects", {"number": "1"}),
        ("causes", {"number": "1"}),
        ("used", {"thing": "version:a:1"}),
    ],
)
def test_whatever_may_tell_of_other_projects_is_refused(
    editor: httpx.Client, path: str, asked: dict[str, str]
) -> None:
    assert editor.get(path, params=asked).status_code == 403


def test_another_projects_things_are_not_even_known_by_name(editor: httpx.Client) -> None:
    answer = editor.get("why", params={"subject": "b:1", "project": "a"})
    assert answer.status_code == 404
    assert answer.json()["message"] == "Nothing is known about 'b:1'. Did you mean 'a:1'?"
