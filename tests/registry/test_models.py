"""Models and versions that clients register by source."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest

from tests.platform.test_platforms import served
from treadle.kernel.clock import EPOCH
from treadle.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from treadle.kernel.stage import Stage
from treadle.platform.wiring import Embedded
from treadle.registry.hooks import STILL_NEEDED_BY
from treadle.registry.model import ModelVersion, PastVersion
from treadle.registry.records import versions_of
from treadle.registry.service import Registry


class Blocker:
    """A stage's part that needs every version."""

    @STILL_NEEDED_BY()
    def needs(self, model: str, number: int) -> str:
        return f"{model}:{number} is live on endpoint 'e'."


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, open_home: Callable[..., Embedded]) -> Embedded:
    given = (
        {"database": request.getfixturevalue("postgres_url")}
        if request.param == "postgresql"
        else {}
    )
    return open_home(**given)


@pytest.fixture
def registry(home: Embedded) -> Registry:
    return home.registry


def test_a_deleted_versions_number_is_never_given_again(registry: Registry) -> None:
    registry.create_model(name="a model")
    for number in (1, 2):
        assert registry.register_source(model="a model", source=f"s3://{number}").number == number
    registry.delete_version(model="a model", number=2, erase=True)
    assert registry.register_source(model="a model", source="s3://3").number == 3
    assert [version.number for version in registry.find(model="a model")] == [3, 1]


def test_a_model_is_renamed_with_all_that_belongs_to_it(registry: Registry) -> None:
    registry.create_model(name="a", tags={"team": "desk"})
    registry.register_source(model="a", source="s3://1")
    registry.set_alias(model="a", alias="prod", number=1)
    assert registry.change_model(name="a", new_name="b", tags={"team": None, "x": "y"}).tags == {
        "x": "y"
    }
    assert registry.resolve(ref="b@prod").source == "s3://1"
    with pytest.raises(NotFound, match="no model 'a'"):
        registry.model(name="a")
    registry.create_model(name="a")
    with pytest.raises(Conflict, match="already exists"):
        registry.change_model(name="a", new_name="b")


def test_an_approved_version_does_not_change_any_more(registry: Registry) -> None:
    registry.create_model(name="a")
    registry.register_source(model="a", source="s3://1", tags={"x": "y"})
    registry.approve(model="a", number=1, comment="looked at it")
    assert registry.verify_approval(model="a", number=1)
    with pytest.raises(Forbidden, match="does not change any more"):
        registry.change_version(model="a", number=1, description="better")
    with pytest.raises(Forbidden, match="approvals sign its name"):
        registry.change_model(name="a", new_name="b")


def test_files_of_an_approved_version_do_not_change_any_more(
    open_home: Callable[..., Embedded],
) -> None:
    home = open_home()
    with served(home) as url:
        base = f"{url}/api/2.0/mlflow-artifacts/artifacts"
        for root, facts in (
            ("1/r1/artifacts", {"run": "r1"}),
            ("1/models/m-1/artifacts", {"logged_model": "m-1"}),
        ):
            assert httpx.put(f"{base}/{root}/model/data", content=b"first").status_code == 200
            name = root.replace("/", "-")
            home.registry.create_model(name=name)
            home.registry.register_source(
                model=name,
                source=f"mlflow-artifacts:/{root}/model",
                **facts,  # type: ignore[arg-type]
            )
            home.registry.approve(model=name, number=1)
            for method in ("PUT", "DELETE"):
                refused = httpx.request(method, f"{base}/{root}/model/data")
                assert (refused.status_code, refused.json()["error_code"]) == (
                    403,
                    "PERMISSION_DENIED",
                )
            assert httpx.get(f"{base}/{root}/model/data").content == b"first"


def test_what_is_deployed_is_not_deleted(home: Embedded, registry: Registry) -> None:
    registry.create_model(name="a")
    registry.register_source(model="a", source="s3://1")
    blocker = Stage(name="test", parts=("tests.registry.test_models:Blocker",))
    home.assembly.add(blocker)
    with pytest.raises(Forbidden, match="cannot be deleted: a:1 is live"):
        registry.delete_version(model="a", number=1)
    with pytest.raises(Forbidden, match="cannot be deleted"):
        registry.delete_model(name="a")


def test_a_missing_tag_differs_from_every_text(registry: Registry) -> None:
    registry.create_model(name="plain")
    registry.create_model(name="prompt", tags={"mlflow.prompt.is_prompt": "true"})
    found = registry.models(filter="tag.`mlflow.prompt.is_prompt` != 'true'")
    assert [model.name for model in found] == ["plain"]


def test_stages_archive_others_when_asked(registry: Registry) -> None:
    registry.create_model(name="a")
    for _ in range(2):
        registry.register_source(model="a", source="s3://x")
    registry.set_stage(model="a", number=1, stage="Production")
    registry.set_stage(model="a", number=2, stage="Production", archive_others=True)
    assert [
        (v.number, v.stage)
        for v in registry.search(filter="name = 'a'", order=["version_number ASC"])
    ] == [
        (1, "Archived"),
        (2, "Production"),
    ]


def test_a_search_by_run_reads_no_version_of_another(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.create_model(name="team", tags={})
    for run in ("r1", "r2", "r2"):
        registry.register_source(model="team", source="s3://x", run=run)
    registry.change_version(model="team", number=1, tags={"name": "x"})
    read = list[int]()

    def noting(connection: Any, rows: Sequence[Mapping[Any, Any]]) -> list[ModelVersion]:
        read.append(len(rows))
        return versions_of(connection, rows)

    monkeypatch.setattr("treadle.registry.versions.versions_of", noting)
    found = {
        filter: [one.number for one in registry.search(filter=filter)]
        for filter in (
            "run_id = 'r2' AND version > 2",
            "run_id = 'r1' OR version = 3",
            "NOT run_id = 'r2'",
            "tags.name = 'x'",
        )
    }
    assert list(found.values()) == [[3], [1, 3], [1], [1]]
    assert read == [2, 3, 3, 3]


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "a@b", "x" * 201, "a\0"])
def test_a_name_that_would_read_as_a_path_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(Invalid, match="Invalid model name"):
        registry.create_model(name=name)


@pytest.mark.parametrize(
    ("name", "numbers", "pointing", "message"),
    [
        ("", [], {}, "Invalid model name"),
        ("a/b", [1], {}, "Invalid model name"),
        ("m", [1, 1], {}, "number 1 is there twice"),
        ("m", [0], {}, "number 0"),
        ("m", [2**40], {}, "is no version's number"),
        ("m", [1], {"best": 2}, "points at version 2"),
    ],
)
def test_a_history_that_cannot_be_is_refused(
    registry: Registry, name: str, numbers: list[int], pointing: dict[str, int], message: str
) -> None:
    versions = [
        PastVersion(number=n, source="s", run="", created_at=EPOCH, updated_at=EPOCH)
        for n in numbers
    ]
    with pytest.raises(Invalid, match=message):
        registry.add_history(
            name=name, description="", tags={}, pointing=pointing, versions=versions
        )


def test_a_history_that_is_taken_in_again_leaves_aliases_where_they_are(registry: Registry) -> None:
    one = PastVersion(number=1, source="s", run="", created_at=EPOCH, updated_at=EPOCH)

    def taken(versions: list[PastVersion], pointing: dict[str, int]) -> int:
        return registry.add_history(
            name="m", description="", tags={}, pointing=pointing, versions=versions
        )

    assert [taken([], {}), taken([one], {"best": 1}), taken([one], {"best": 1})] == [0, 1, 0]
    assert registry.resolve(ref="m@best").number == 1
