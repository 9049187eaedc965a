"""The conformance suite of the services, embedded or behind a URL, over every database."""

from collections.abc import Iterator

import pytest

from treadle.kernel.clock import EPOCH
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.kernel.operation import operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import Services, stages
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files
from treadle.scope.model import About, DataSource, ProjectSpec, Requirement
from treadle.testing.suite import Suite
from treadle.tracking.model import Metric

SPEC = ProjectSpec(
    project=About(name="p", problem="a problem"),
    data={"rows": DataSource(source="rows.csv", label="y")},
    requirement=[Requirement(id="R1", metric="roc_auc", at_least=0.6)],
)


class PlatformSuite(Suite):
    """What the services must do.

    Subclasses give the fixtures ``home`` (an embedded platform) and ``services`` (the services
    under test, over that home).
    """

    port = "platform"

    @pytest.fixture
    def home(self) -> Iterator[Embedded]:
        """The platform that the services under test run on."""
        raise TypeError("give the fixture 'home'")

    @pytest.fixture
    def services(self, home: Embedded) -> Services:
        """The services under test, over ``home``."""
        raise TypeError("give the fixture 'services'")

    def test_every_operation_is_there(self, services: Services) -> None:
        """Every operation of every stage can be called."""
        for stage, kind in kinds_of(stages()).items():
            for name in operations(kind):
                assert callable(getattr(getattr(services, stage), name)), f"{stage}.{name}"

    def test_a_project_is_declared_once(self, services: Services) -> None:
        """Declaring the same project again changes nothing and makes no event."""
        first = services.scope.declare(spec=SPEC)
        assert services.scope.declare(spec=SPEC) == first
        assert services.scope.project(name="p").spec == SPEC
        assert len(services.events.history(type="ProjectDeclared")) == 1

    def test_near_misses_are_named(self, services: Services) -> None:
        """An unknown name raises NotFound with what is known."""
        services.scope.declare(spec=SPEC)
        with pytest.raises(NotFound, match=r"There is no project 'q' here\. Known: p"):
            services.scope.project(name="q")
        with pytest.raises(NotFound, match="no job 'job_x'"):
            services.jobs.get(job="job_x")

    def test_a_run_keeps_what_was_logged(self, services: Services) -> None:
        """Parameters, points and the status of a run come back as they were given."""
        run = services.tracking.start_run(project="p", name="first", params={"depth": "3"})
        services.tracking.log(
            run=run.id, metrics=[Metric(key="loss", value=1 / (i + 1), step=i) for i in range(10)]
        )
        services.tracking.log(
            run=run.id, metrics=[Metric(key="loss", value=9.0, step=3)], params={"seed": "1"}
        )
        finished = services.tracking.finish_run(run=run.id)
        assert finished.status == "finished"
        assert finished.params == {"depth": "3", "seed": "1"}
        assert finished.metrics == {"loss": 0.1}
        points = services.tracking.history(run=run.id, key="loss")
        assert [point.value for point in points if point.step == 3] == [0.25, 9.0]
        assert services.tracking.find(project="p") == [finished]

    def test_a_parameter_is_set_once(self, services: Services) -> None:
        """Setting a parameter to another value raises Conflict."""
        run = services.tracking.start_run(project="p", params={"depth": "3"})
        services.tracking.log(run=run.id, params={"depth": "3"})
        with pytest.raises(Conflict, match=f"Parameter 'depth' of run '{run.id}' is '3' already"):
            services.tracking.log(run=run.id, params={"depth": "4"})

    def test_artifacts_are_stored_by_content(self, services: Services) -> None:
        """A run's artifact leads to the stored content."""
        run = services.tracking.start_run(project="p")
        digest = services.blobs.put(b"a picture")
        services.tracking.add_artifact(run=run.id, path="plot.png", digest=digest, bytes=9)
        (artifact,) = services.tracking.artifacts(run=run.id)
        assert services.blobs.get(artifact.digest) == b"a picture"

    def test_equal_data_is_one_version(self, services: Services) -> None:
        """Adding the same tree again gives the version that is there."""
        digest = put_files(services.blobs, {"a.csv": b"1,2", "b.csv": b"3,4"})
        first = services.data.add(project="p", name="rows", digest=digest)
        assert services.data.add(project="p", name="rows", digest=digest) == first
        assert (first.files, first.bytes) == (2, 6)
        assert services.data.versions(project="p") == [first]

    def test_a_job_waits_is_cancelled_and_is_queued_again(
        self, home: Embedded, services: Services
    ) -> None:
        """A job goes from queued to cancelled and back; one that has ended is not cancelled."""
        with home.database.write() as transaction:
            job = home.jobs.enqueue(transaction, kind="nothing", payload={"n": 1})
        assert services.jobs.get(job=job).payload == {"n": 1}
        assert services.jobs.cancel(job=job).state == "cancelled"
        with pytest.raises(Conflict, match="has ended already"):
            services.jobs.cancel(job=job)
        assert services.jobs.retry(job=job).state == "queued"
        assert services.jobs.log(job=job).text == ""

    def test_what_is_not_there_cannot_be_deployed_or_approved(self, services: Services) -> None:
        """Unknown versions and endpoints are refused by name."""
        with pytest.raises(NotFound, match="no version 'p:1'"):
            services.delivery.deploy(version="p:1")
        with pytest.raises(NotFound, match="no version 'p:7'"):
            services.registry.approve(model="p", number=7)
        with pytest.raises(Invalid, match="names no version"):
            services.registry.resolve(ref="p:x")
        with pytest.raises(NotFound, match="no endpoint 'p'"):
            services.monitoring.performance(endpoint="p", since=EPOCH, until=EPOCH)

    def test_events_name_their_actor_and_can_be_asked_why(self, services: Services) -> None:
        """An event has an actor and a subject, and the log's chain is intact."""
        services.scope.declare(spec=SPEC)
        (record,) = services.events.why(subject="p").events
        assert record.type == "ProjectDeclared"
        assert record.actor
        assert record.makes[0] == "requirement:p/R1"
        assert services.events.verify().intact
        with pytest.raises(NotFound, match=r"Nothing is known about 'pp'\. Did you mean 'p'"):
            services.events.why(subject="pp")

    def test_the_wheel_shows_what_is_not_there_yet(self, services: Services) -> None:
        """The status of a new project has no champion and no measured requirement."""
        services.scope.declare(spec=SPEC)
        wheel = services.loop.status(project="p")
        assert wheel.champion is None
        assert wheel.requirements[0].met is None
        assert wheel.waiting == []

    def test_a_token_is_shown_once_and_can_be_revoked(self, home: Embedded) -> None:
        """A token's secret is not listed; a revoked token has the time of it."""
        token = home.access.create_token(name="ci", role="editor")
        assert home.access.caller(token.secret).name == "ci"
        assert token.secret not in str(home.access.list_tokens())
        home.access.revoke_token(name="ci")
        assert home.access.list_tokens()[0].revoked_at is not None
