"""A stage is declared once: whoever registers one gets its table, routes, rights, commands and
remote client.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import httpx
import pytest
import typer
from typer.testing import CliRunner

from tests.pipelines.project import do_one_job
from tests.platform import toys
from tests.platform.test_platforms import served
from treadle.cli import derived
from treadle.http import openapi
from treadle.kernel.errors import Forbidden, Invalid, NotFound
from treadle.kernel.stage import Assembly, Service, Stage, services_of
from treadle.platform import stages as listed
from treadle.platform.remote import connect
from treadle.platform.stages import BUILT_IN, Services, stages
from treadle.platform.wiring import Embedded


class Registered:
    """An entry point of another package."""

    def load(self) -> Stage:
        return toys.STAGE


@pytest.fixture
def home(open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch) -> Embedded:
    monkeypatch.setattr(listed, "registered", lambda _: [Registered()])
    return open_home()


@pytest.fixture
def url(home: Embedded) -> Iterator[str]:
    with served(home) as address:
        yield address


def offered(platform: Any) -> toys.Toys:
    return cast(toys.Toys, platform.toys)


def test_a_registered_stage_has_a_table_a_reconcile_step_and_jobs(home: Embedded) -> None:
    toy = offered(home).make(project="p", name="car")
    assert home.reconcile()
    assert do_one_job(home)
    assert offered(home).get(toy=toy.name).wound
    assert home.events.history(type="ToyMade")[0].subject == "toy:car-plain"


def test_a_registered_stage_has_rules_of_the_loop(home: Embedded) -> None:
    offered(home).make(project="p", name="car")
    home.reconcile()
    (decision,) = home.loop.decisions()
    assert decision.rule == "paint what was made"
    assert decision.reason.startswith("painted car-plain, as event ")


def test_a_registered_stage_has_routes_and_a_remote_client(home: Embedded, url: str) -> None:
    with connect(url) as remote:
        made = offered(remote).make(project="p", name="car", colours=["red", "blue"])
        assert made == offered(home).get(toy="car-red-blue") == offered(remote).get(toy=made.name)
        with pytest.raises(NotFound, match="There is no toy 'bus'"):
            offered(remote).get(toy="bus")


def test_a_registered_stage_has_rights(home: Embedded, url: str) -> None:
    for project in ("a", "b"):
        offered(home).make(project=project, name=project)
    token = home.access.create_token(name="laptop", user="ada", role="editor", project="a").secret
    with connect(url, token=token) as remote:
        assert offered(remote).get(toy="a-plain").project == "a"
        assert [toy.name for toy in offered(remote).find()] == ["a-plain"]
        for toy in ("b-plain", "nothing"):
            with pytest.raises(Forbidden):
                offered(remote).get(toy=toy)
        with pytest.raises(Forbidden):
            offered(remote).make(project="b", name="car")


def test_a_registered_stage_is_in_the_openapi_document(home: Embedded, url: str) -> None:
    assert httpx.get(f"{url}/api/openapi.json").json() == openapi.document(home.stages)
    make = openapi.document(home.stages)["paths"]["/api/v1/toys/make"]["post"]
    properties = make["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert properties["colours"]["description"] == "Its colours, the main one first."
    get = openapi.document(home.stages)["paths"]["/api/v1/toys/get"]["get"]
    assert get["parameters"][0]["description"] == "Its name."


def test_a_registered_stage_has_commands(home: Embedded) -> None:
    app = typer.Typer()
    derived.add_to(app)
    run, where = CliRunner(env={"COLUMNS": "200"}), ["--home", str(home.settings.folder), "--json"]
    help = " ".join(run.invoke(app, ["toys", "make", "--help"]).output.split())
    assert "Its colours, the main one first. Repeat it for more" in help
    make = ["toys", "make", "--project", "p", "--name", "car", "--colours", "red"]
    made = run.invoke(app, [*make, "--colours", "blue", *where])
    assert '"name":"car-red-blue"' in made.output
    assert "car-red-blue" in run.invoke(app, ["toys", "find", *where]).output


def test_every_service_has_a_typed_attribute_and_a_sentence(home: Embedded) -> None:
    services = services_of(BUILT_IN)
    assert set(services) == set(Services.__annotations__) - {"blobs"}
    for name, service in services.items():
        assert isinstance(getattr(home, name), service.load())
        assert service.about.endswith(".")


def test_two_services_of_one_name_are_refused() -> None:
    twin = Service(name="jobs", about="Jobs.", kind="treadle.jobs.service:Jobs")
    with pytest.raises(Invalid, match="Two stages offer a service named 'jobs'"):
        services_of([*BUILT_IN, Stage(name="twin", services=(twin,))])


def test_a_stage_that_asks_for_what_is_not_there_is_refused() -> None:
    with pytest.raises(Invalid, match="'toys': ToyNames asks for 'database'"):
        Assembly().add(toys.STAGE)


def test_the_built_in_stages_come_first() -> None:
    assert stages()[: len(BUILT_IN)] == BUILT_IN
