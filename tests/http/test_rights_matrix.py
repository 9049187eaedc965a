"""Every route, asked by everybody about everything: what rights promise, case by case.

The cases are derived from the routes of the application, from the types of the operations'
parameters and from what these name (``Names``); a route without an entry here fails. Each thing is
named in every way there is: one's own, another project's, and one that is not there. The last two
must look alike, and no word of the other project may show.

A command that rights let through is stopped before it does anything, so that what is there stays;
``test_no_command_tells_of_another_project`` lets each of them do its work once.
"""

import re
import statistics
import time
import typing
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from starlette.routing import Route

import treadle.http.mlflow as mlflow
from docs import page_operations
from tests.http.planted import Things
from tests.http.rights_cases import (
    MLFLOW,
    OPERATIONS,
    Request,
    mlflow_request,
    own_request,
    prefixes,
    sample,
    slots,
    texts,
)
from tests.http.rights_world import ABSENT, CANARY, FILES, Answer, World
from treadle.http.mlflow import writes
from treadle.http.mlflow.wire import LISTED, PREFIXES, paths
from treadle.http.searching import turn_of
from treadle.kernel.entity import to_json
from treadle.kernel.operation import ROLES, Operation
from treadle.kernel.stage import PROJECT_OF
from treadle.ui.assets import address_of
from treadle.ui.mlflow_pages import NOTHING
from treadle.ui.pages import PAGES
from treadle.ui.site import BARE, Frame, drawn


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = World(tmp_path_factory.mktemp("matrix") / "home", monkeypatch)
        yield made
        made.home.close()


@pytest.fixture(autouse=True)
def nothing_is_wrong(world: World, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Each test collects what is wrong; all of it is shown at once."""
    world.wrong.clear()
    world.dry = True
    before = world.cases
    yield
    with capsys.disabled():
        print(f" {world.cases - before:,} cases (route x role x thing x way)", end="")
    assert not world.wrong, f"{len(world.wrong)} wrong:\n" + "\n".join(world.wrong[:40])


def is_listed(operation: Operation) -> bool:
    """Whether an operation lists things that tell their project, and so is cut."""
    items = typing.get_args(operation.result)
    return (
        typing.get_origin(operation.result) is list
        and hasattr(items[0], "project")
        and items[0].__name__ != "EventRecord"
    )


def holds(who: str, role: str) -> bool:
    """Whether somebody holds a role in their own project."""
    if who == "root":
        return True
    return who in ROLES and ROLES.index(who) >= ROLES.index(role)


LIMITED = ("stranger", *ROLES)
CREATES = ("run that may have begun", "trace that may have begun")


def makes_new(kind: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a name may be a new one, which only what is there already can refuse."""
    if kind in ("experiment's name", "model's name"):
        return bool(arguments.get("project"))
    return kind in CREATES or (kind == "endpoint" and bool(arguments.get("version")))


def test_every_route_has_its_cases(world: World) -> None:
    known = {*OPERATIONS, *OTHER}
    known |= {path for call in mlflow.CALLS for path in paths(call)}
    for route in world.app.routes:
        assert isinstance(route, Route)
        path = re.sub(r":\w+}", "}", route.path)
        if path.endswith("{rest}"):  # all else is refused, tests/http/test_mlflow_protocol.py
            continue
        assert path in known or re.sub(r"^/(api|ajax-api)/[23].0", "*", path) in OTHER, path
    kinds = {answer.key for answer in world.home.assembly.answers(PROJECT_OF)}
    assert kinds | {"content"} == set(world.own)


def test_operations_about_ones_own_ask_for_their_role(world: World) -> None:
    for path, operation in OPERATIONS.items():
        request = own_request(path, operation, world.own)
        found = [slot for p in operation.parameters.values() for slot in slots(p.kind, (p.name,))]
        about = [slot for slot in found if slot.place[0] in request.arguments]
        names_project = any(slot.kind not in ("content",) for slot in about)
        for who in world.secrets:
            answer = world.ask(who, *request.with_value(None))
            if who == "nobody":
                right = answer.status == 401
            elif who == "root":
                right = not answer.refused
            elif operation.brings_code:  # the machine decides whether editors may
                right = answer.refused or holds(who, operation.role)
            elif operation.everywhere or not (names_project or is_listed(operation)):
                right = answer.refused
            else:
                right = answer.refused != holds(who, operation.role)
            if not right:
                world.say(who, *request.with_value(None), f"{answer.status} {answer.text[:200]}")


def test_operations_about_anothers_are_refused_like_those_about_nothing(world: World) -> None:
    met: Counter[str] = Counter()
    for path, operation in OPERATIONS.items():
        base = own_request(path, operation, world.own)
        for parameter in operation.parameters.values():
            for slot in slots(parameter.kind, (parameter.name,)):
                if parameter.name not in base.arguments:
                    given = {parameter.name: sample(parameter.kind, world.own, parameter.name)}
                else:
                    given = {}
                request = Request(base.method, path, {**base.arguments, **given}, slot.place)
                met[slot.kind] += 1
                for way, (foreign, absent) in enumerate(
                    zip(world.foreign[slot.kind], world.absent[slot.kind], strict=True)
                ):
                    named = f"{slot.kind} {way}"
                    for who in LIMITED:
                        refused = world.ask(who, *request.with_value(foreign))
                        if not refused.refused:
                            world.say(who, *request.with_value(foreign), f"{refused}")
                        if not makes_new(slot.kind, request.arguments):
                            world.alike(who, request, way=named, foreign=foreign, absent=absent)
                    for value in (foreign, absent):
                        if world.ask("root", *request.with_value(value)).refused:
                            world.say("root", *request.with_value(value), "refused")
    unmet = set(world.own) - set(met) - {"trace that may have begun"}
    assert not unmet, unmet


TEXTS = [
    *("project", "experiment's name", "run", "logged model", "trace", "pipeline", "verdict"),
    *("model", "version", "endpoint", "rollout", "content", "location"),
]
"""Kinds of things whose names are tried in parameters that are said to name nothing."""


def test_a_parameter_that_names_nothing_leads_nowhere(world: World) -> None:
    """Whatever text is given to a query: another's name tells no more than a wrong one."""
    for path, operation in OPERATIONS.items():
        base = own_request(path, operation, world.own)
        if operation.kind == "command":
            continue
        for parameter in operation.parameters.values():
            for place in texts(parameter.kind, (parameter.name,)):
                given = {parameter.name: sample(parameter.kind, world.own, parameter.name)}
                own = [p for p in operation.parameters.values() if p.name == "project"]
                given |= {p.name: sample(p.kind, world.own) for p in own if p.name != place[0]}
                request = Request(base.method, path, {**base.arguments, **given}, place)
                for kind in TEXTS:
                    foreign, absent = world.foreign[kind][0], world.absent[kind][0]
                    world.alike("admin", request, way=kind, foreign=foreign, absent=absent)
                for guess in (
                    f"tags.`{CANARY}-tag` = '{CANARY}-text of a project'",
                    f"{CANARY}-view",
                ):
                    absent = guess.replace(CANARY, ABSENT)
                    world.alike("admin", request, way="text", foreign=guess, absent=absent)


def test_calls_of_mlflow_ask_for_their_role(world: World) -> None:
    calls = [(call, prefix) for call in mlflow.CALLS for prefix in prefixes(call)]
    for call, prefix in calls:
        request, found = mlflow_request(call, world.own, prefix)
        people = world.secrets if prefix == MLFLOW else ("nobody", "stranger", "viewer", "editor")
        for who in people:
            answer = world.ask(who, *request.with_value(None))
            allowed = holds(who, call.role) and bool(found or call.path in LISTED or who == "root")
            if answer.refused == allowed:
                world.say(who, *request.with_value(None), f"{answer.status} {answer.text[:200]}")


def test_calls_of_mlflow_about_anothers_are_refused_like_those_about_nothing(world: World) -> None:
    for call in mlflow.CALLS:
        base, found = mlflow_request(call, world.own)
        for slot in found:
            request = base._replace(place=slot.place)
            for way, (foreign, absent) in enumerate(
                zip(world.foreign[slot.kind], world.absent[slot.kind], strict=True)
            ):
                foreign, absent = str(foreign), str(absent)
                for who in LIMITED:
                    refused = world.ask(who, *request.with_value(foreign))
                    if not refused.refused:
                        world.say(who, *request.with_value(foreign), f"{refused}")
                    if slot.kind not in CREATES:
                        way_name = f"{slot.kind} {way}"
                        world.alike(who, request, way=way_name, foreign=foreign, absent=absent)


def test_a_field_of_mlflow_that_names_nothing_leads_nowhere(world: World) -> None:
    """Filters, page tokens, orders, paths and keys, in the calls that only read."""
    for call in mlflow.CALLS:
        base, found = mlflow_request(call, world.own)
        if call.role != "viewer":
            continue
        places = {slot.place[0] for slot in found}
        for name, hint in typing.get_type_hints(call.ask).items():
            if name in (*places, "run_uuid") or hint not in (str, list[str]):
                continue
            place = (name,) if hint is str else (name, 0)
            request = base._replace(arguments={**base.arguments, name: "" if hint is str else []})
            request = request._replace(place=place if hint is str else (name,))
            for kind in TEXTS:
                for foreign, absent in zip(world.foreign[kind], world.absent[kind], strict=True):
                    theirs = foreign if hint is str else [foreign]
                    none = absent if hint is str else [absent]
                    world.alike("admin", request, way=f"{name} {kind}", foreign=theirs, absent=none)
            if name == "filter":
                for guess in GUESSES:
                    none = guess.replace(CANARY, ABSENT)
                    world.alike("viewer", request, way="filter", foreign=guess, absent=none)


GUESSES = [
    f"tags.`{CANARY}-tag` = '{CANARY}-text of a project'",
    f"tags.`{CANARY}-tag` LIKE '{CANARY}%'",
    f"name = '{CANARY}-model'",
    f"name LIKE '{CANARY}%'",
    f"run_id = '{CANARY}-run'",
    f"params.`{CANARY}-param` = '{CANARY}-text of a project'",
    f"metrics.`{CANARY}-metric` > 0",
    f"attributes.run_name = '{CANARY}-run-name'",
    f"source_path = 's3://{CANARY}/model'",
]


@pytest.mark.parametrize("path", LISTED)
def test_pages_and_counts_tell_nothing(world: World, path: str) -> None:
    """Pages of one, in any order: no token is given for what is hidden."""
    for who in ROLES:
        for order in ("name ASC", "name DESC", "creation_timestamp DESC", "last_updated_timestamp"):
            own = 2 if path.startswith("experiments") else 1  # a study has one of its own
            sent = {"max_results": str(own), "order_by": order}
            answer = world.ask(who, "GET", f"{MLFLOW}/{path}?{urlencode(sent)}")
            assert "next_page_token" not in answer.text, answer
    for nobody in ("nobody", "stranger"):
        assert world.ask(nobody, "GET", f"{MLFLOW}/{path}").refused


def test_tokens_of_anothers_pages_tell_nothing(world: World) -> None:
    def search(who: str, owner: Things, token: str) -> Answer:
        body = {"experiment_ids": [str(owner["experiment"][0])], "max_results": 1}
        sent = to_json({**body, "page_token": token})
        return world.ask(who, "POST", f"{MLFLOW}/runs/search", sent)

    home, experiment = world.home, world.foreign["experiment's name"][0]
    home.tracking.start_run(experiment=experiment, id=f"{CANARY}-more", name=f"{CANARY}-mores")
    token = msgspec.json.decode(search("root", world.foreign, "").text)["next_page_token"]
    for who in ROLES:
        answer = search(who, world.own, token)
        assert answer.status in (200, 400), answer
        assert search(who, world.foreign, token).refused
    home.tracking.delete_run(run=f"{CANARY}-more", erase=True)


def test_hot_writes(world: World) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "runs/log-metric": {"key": "k", "value": 1, "timestamp": 1},
        "runs/log-batch": {"tags": [{"key": "k", "value": "v"}]},
        "runs/log-parameter": {"key": "p", "value": "1"},
        "runs/set-tag": {"key": "t", "value": "1"},
    }
    assert set(bodies) == set(writes._WRITES)
    for path, body in bodies.items():
        for prefix in PREFIXES:
            for field in ("run_id", "run_uuid") if path != "runs/log-batch" else ("run_id",):
                own = {**body, field: world.own["run"][0]}
                request = Request("POST", f"{prefix}/{path}", own, (field,))
                for who in world.secrets:
                    answer = world.ask(who, *request.with_value(world.own["run"][0]))
                    if answer.refused == holds(who, "editor"):
                        world.say(who, *request.with_value(""), f"{answer}")
                for who in LIMITED:
                    theirs, none = world.foreign["run"][0], world.absent["run"][0]
                    assert world.ask(who, *request.with_value(theirs)).refused
                    world.alike(who, request, way=field, foreign=theirs, absent=none)
    metric = {**bodies["runs/log-metric"], "run_id": world.own["run"][0]}
    request = Request("POST", f"{MLFLOW}/runs/log-metric", metric, ("model_id",))
    theirs, none = world.foreign["logged model"][0], world.absent["logged model"][0]
    assert world.ask("editor", *request.with_value(theirs)).refused
    world.alike("editor", request, way="model_id", foreign=theirs, absent=none)


def test_files(world: World) -> None:
    """Every route of files, for each way to name a place."""

    def places(word: str, things: Things) -> list[str]:
        experiment = things["experiment"][0]
        return [
            f"{experiment}/{word}-run/artifacts/{word}.txt",
            f"{experiment}/models/m-{word}/artifacts/{word}.bin",
            f"/{experiment}/{word}-run/artifacts/{word}.txt",
            f"{experiment}/traces/tr-{word}/artifacts/x",
        ]

    own = places("own", world.own)
    foreign, absent = places(CANARY, world.foreign), places(ABSENT, world.absent)
    for prefix in (f"{one}-artifacts" for one in PREFIXES):
        ways: list[tuple[str, str, str, bytes]] = [
            ("GET", f"{prefix}/artifacts/{{}}", "viewer", b""),
            ("GET", f"{prefix}/artifacts?path={{}}", "viewer", b""),
            ("GET", f"{prefix}/presigned/{{}}", "viewer", b""),
            ("PUT", f"{prefix}/artifacts/{{}}", "editor", b"content"),
            ("POST", f"{prefix}/mpu/create/{{}}", "editor", b'{"num_parts":1}'),
            ("POST", f"{prefix}/mpu/complete/{{}}", "editor", b'{"upload_id":"x"}'),
            ("POST", f"{prefix}/mpu/abort/{{}}", "editor", b'{"upload_id":"x"}'),
            ("DELETE", f"{prefix}/artifacts/{{}}", "editor", b""),
        ]
        for method, path, role, body in ways:
            for who in world.secrets:
                answer = world.ask(who, method, path.format(own[0] + ".more"), body)
                if answer.refused == holds(who, role):
                    world.say(who, method, path, body, f"{answer}")
            for theirs, none in zip(foreign, absent, strict=True):
                for who in LIMITED if prefix == FILES else ("editor",):
                    answers = [
                        world.ask(who, method, path.format(place), body) for place in (theirs, none)
                    ]
                    if not answers[0].refused or answers[0] != answers[1]:
                        world.say(who, method, path.format(theirs), body, f"{answers}")
        mixed = f"{world.own['experiment'][0]}/{CANARY}-run/artifacts/{CANARY}.txt"
        assert world.ask("viewer", "GET", f"{prefix}/artifacts/{mixed}").status == 404


def test_uploads_in_parts_of_another_are_not_there(world: World) -> None:
    place = f"{world.foreign['experiment'][0]}/{CANARY}-run/artifacts/big.bin"
    begun = world.ask("root", "POST", f"{FILES}/mpu/create/{place}", b'{"num_parts":1}')
    theirs = msgspec.json.decode(begun.text)["upload_id"]
    none = "upload_" + "0" * 20
    mine = f"{world.own['experiment'][0]}/own-run/artifacts/big.bin"
    for who in LIMITED:
        for method, path, body in (
            ("PUT", f"{FILES}/parts/{{}}/1", ""),
            ("POST", f"{FILES}/mpu/abort/{mine}", '{{"upload_id":"{}"}}'),
            ("POST", f"{FILES}/mpu/complete/{mine}", '{{"upload_id":"{}"}}'),
        ):
            answers = []
            for upload in (theirs, none):
                sent = body.format(upload).encode() if body else b"part"
                answer = world.ask(who, method, path.format(upload), sent)
                answers.append((answer.status, answer.text.replace(upload, "NAME")))
            if answers[0] != answers[1] or answers[0][0] not in (403, 404):
                world.say(who, method, path, body.encode(), f"{answers}")
    assert world.ask("root", "PUT", f"{FILES}/parts/{theirs}/1", b"part").status == 200


def test_blobs(world: World) -> None:
    from treadle.ports.blobs import digest_of

    own, foreign, absent = (each["content"][0] for each in (world.own, world.foreign, world.absent))
    member = digest_of(f"{CANARY}-rows".encode())
    for path in ("/api/blobs/{}", "/api/blobs/{}/exists"):
        for who in world.secrets:
            answer = world.ask(who, "GET", path.format(own))
            right = answer.status == (401 if who == "nobody" else 403 if who == "stranger" else 200)
            if not right:
                world.say(who, "GET", path, b"", f"{answer}")
        for who in LIMITED:
            for asked in ("{}", "{}?tree={}", f"{{}}?tree={own}", "{}?project=own-project"):
                answers = []
                for digest in (foreign, absent, member):
                    whole = path.format(asked.partition("?")[0].format(digest))
                    more = asked.partition("?")[2].replace("{}", foreign)
                    answer = world.ask(who, "GET", f"{whole}?{more}")
                    answers.append((answer.status, answer.text.replace(digest[:12], "")))
                if len(set(answers)) != 1:
                    world.say(who, "GET", path, asked.encode(), f"{answers}")
    content = b"what is brought"
    put = f"/api/blobs/{digest_of(content)}"
    for who in world.secrets:
        for asked, theirs in (
            ("", False),
            ("?project=own-project", False),
            ("?run=own-run", False),
            (f"?project={CANARY}-project", True),
            (f"?run={CANARY}-run", True),
            (f"?project={ABSENT}-project", True),
            (f"?run={ABSENT}-run", True),
        ):
            answer = world.ask(who, "PUT", put + asked, content)
            allowed = holds(who, "editor") and (not theirs or who == "root")
            if (answer.status == 200) != allowed or (not allowed and not answer.refused):
                world.say(who, "PUT", put + asked, b"", f"{answer}")
        answer = world.ask(who, "DELETE", f"/api/blobs/{absent}")
        assert answer.refused == (who != "root")
        assert world.ask(who, "GET", "/api/blobs").refused == (who != "root")


def test_spans(world: World) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    def sent(trace: bytes) -> bytes:
        request = ExportTraceServiceRequest()
        span = request.resource_spans.add().scope_spans.add().spans.add()
        span.trace_id, span.span_id, span.name = trace, b"12345678", "a step"
        return bytes(request.SerializeToString())

    def post(who: str, experiment: Any, trace: bytes) -> Answer:
        body = sent(trace)
        return world.ask(who, "POST", "/v1/traces", body, x_mlflow_experiment_id=str(experiment))

    own, foreign, absent = (
        each["experiment"][0] for each in (world.own, world.foreign, world.absent)
    )
    assert post("root", foreign, b"t" * 16).status == 200
    for who in world.secrets:
        assert post(who, own, b"m" * 16).refused != holds(who, "editor")
        if who in LIMITED:
            assert post(who, own, b"t" * 16).refused
            assert post(who, foreign, b"n" * 16) == post(who, absent, b"n" * 16)
            assert post(who, foreign, b"n" * 16).refused


OPEN = ("/health", "/ready", "/version", "/api", "/api/openapi.json", "*/mlflow/server-info")
OTHER = {
    *OPEN,
    *("/report", "/api/v1/events/stream", "/v1/traces"),
    *(re.sub(r":\w+}", "}", page.path) for page in PAGES),
    *("/static/{edition}/{name}", "/live"),
    *("/graphql", "/mlflow", "/mlflow/", "/mlflow/static-files/{name}"),  # test_mlflow_graphql.py
    *(f"/mlflow/ajax-api/{path}" for path in NOTHING),
    *("/metrics", "/api/v1/alertmanager"),  # tests/http/test_watching.py, test_alerting.py
    *("/api/blobs", "/api/blobs/{digest}", "/api/blobs/{digest}/exists"),
    *("*/mlflow-artifacts/artifacts/{path}", "*/mlflow-artifacts/artifacts"),
    *("*/mlflow-artifacts/mpu/{step}/{path}", "*/mlflow-artifacts/parts/{upload}/{part}"),
    "*/mlflow-artifacts/presigned/{path}",
    *("/get-artifact", "/model-versions/get-artifact", "*/mlflow/upload-artifact"),
    *("*/mlflow/get-trace-artifact", "*/mlflow/logged-models/{model_id}/artifacts/files"),
}
"""Routes that no operation and no call of MLflow's stands behind: each has a test here."""


def test_pages(world: World) -> None:
    for who in world.secrets:
        for path in OPEN:
            for prefix in ("/api/2.0", "/api/3.0", "/ajax-api/2.0", "/ajax-api/3.0"):
                assert world.ask(who, "GET", path.replace("*", prefix)).status == 200
        assert world.ask(who, "GET", "/").refused == (who in ("nobody", "stranger"))
        pages = world.ask(who, "GET", "/mlflow/").status  # which are not installed here
        assert pages == (401 if who == "nobody" else 404)
        assert world.ask(who, "GET", "/report").refused == (who != "root")
        assert world.ask(who, "GET", "/api/v1/events/stream").refused == (who != "root")
    assert "own-project" in world.ask("viewer", "GET", "/").text


def test_every_page_shows_its_readers_own(world: World, turns: list[Frame]) -> None:
    """Another project's things look as those that are not there; World looks for their names."""
    assert world.ask("nobody", "GET", address_of("treadle.css")).status == 200
    for who in world.secrets:
        assert world.ask(who, "GET", "/live?once").refused == (who in ("nobody", "stranger"))
        for page in PAGES:
            for path, own in paths_of(page.path, world):
                answer = world.ask(who, "GET", path, accept="text/html")
                if who in ("nobody", "stranger"):
                    assert answer.refused, (who, path, answer.status)
                elif own:
                    assert answer.status in (200, 303), (who, path, answer.text[:3000])
                elif who != "root":
                    assert answer.status in (403, 404), (who, path, answer.status)
    assert turns


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[Frame]:
    """What is drawn; a page that asks what takes turns has to wait for its turn, too.

    And the reference lists what it asks.
    """
    waits = {page.template: page.turn for page in PAGES if page.path != "/runs"}
    listed = {area.area: area.shown for area in page_operations.areas()}
    shown = list[Frame]()

    def checked(template: str, facts: Mapping[str, Any], frame: Frame = BARE) -> str:
        for asked in frame.asked:
            assert turn_of(asked.operation) in ("quick", waits[template]), asked.operation.name
            assert f"{asked.stage}.{asked.operation.name}" in listed[frame.area]  # docs/reference
        shown.append(frame)
        return drawn(template, facts, frame)

    monkeypatch.setattr("treadle.ui.site.drawn", checked)
    return shown


def paths_of(path: str, world: World) -> Iterator[tuple[str, bool]]:
    """A page's path with each thing in its place, and whether that is one's own."""
    kinds = re.findall(r"{(\w+)", path)
    if not kinds:
        yield path, True
        return
    for things, own in ((world.own, True), (world.foreign, False), (world.absent, False)):
        filled = path
        for kind in kinds:
            text = event_of(things, world) if kind == "event" else text_of(kind, things)
            filled = re.sub(rf"{{{kind}(:\w+)?}}", quote(text), filled)
        yield filled, own


def event_of(things: Things, world: World) -> str:
    """The number of the newest event about an owner's project, or one that is not there."""
    project = things["project"][0]
    newest = world.home.events.history(project=project, newest_first=True, limit=1)
    return str(newest[0].number if newest else 10**9)


def text_of(kind: str, things: Things) -> str:
    """How a path names a thing of a kind."""
    return str(things[kind][0]) if kind in things else "1"


def test_single_files_are_for_those_who_may_see_what_they_belong_to(world: World) -> None:
    ajax = "/ajax-api/2.0/mlflow"
    ways = (
        ("GET", "/get-artifact?path=none&run_id={}", "run"),
        ("POST", f"{ajax}/upload-artifact?path=none&run_uuid={{}}", "run"),
        ("GET", f"{ajax}/get-trace-artifact?request_id={{}}", "trace"),
        ("GET", f"{ajax}/logged-models/{{}}/artifacts/files?artifact_file_path=n", "logged model"),
        ("GET", "/model-versions/get-artifact?path=none&version=1&name={}", "model"),
    )
    for method, path, kind in ways:
        for who in ("nobody", "stranger", "viewer"):
            foreign = world.ask(who, method, path.format(world.foreign[kind][0]))
            absent = world.ask(who, method, path.format(world.absent[kind][0]))
            assert foreign.refused, (path, who, foreign)
            assert foreign.status == absent.status, (path, who, foreign, absent)
        assert not world.ask("editor", method, path.format(world.own[kind][0])).refused, path


def test_near_misses_are_ones_own(world: World) -> None:
    """A project has a model, an experiment and an endpoint of its own name, or does not yet."""
    world.home.registry.create_model(name=f"own-projec-{CANARY}", project=f"{CANARY}-project")
    world.home.tracking.create_experiment(name=f"own-projec-{CANARY}", project=f"{CANARY}-project")
    for path in (
        "/api/v1/registry/model?name=own-project",
        "/api/v1/tracking/experiment?name=own-project",
        "/api/v1/events/why?subject=own-project-&project=own-project",
        f"{MLFLOW}/registered-models/get?name=own-project",
        f"{MLFLOW}/experiments/get-by-name?experiment_name=own-project",
    ):
        for who in ROLES:
            answer = world.ask(who, "GET", path)
            assert answer.status in (400, 404, 200), answer


def test_no_command_tells_of_another_project(world: World) -> None:
    """Each command does its work once, those that take away last, and says nothing foreign."""
    world.dry = False
    last = ("delete", "remove", "take", "revoke")
    commands = [(path, one) for path, one in OPERATIONS.items() if one.kind == "command"]
    for path, operation in sorted(commands, key=lambda pair: pair[1].name.startswith(last)):
        request = own_request(path, operation, world.own)
        for slot in [s for p in operation.parameters.values() for s in texts(p.kind, (p.name,))]:
            if slot[0] not in request.arguments:
                given = sample(operation.parameters[slot[0]].kind, world.own, slot[0])
                request = request._replace(arguments={**request.arguments, slot[0]: given})
            for kind in ("model", "run", "project", "content"):
                if operation.name.startswith(last):
                    continue
                sent = request._replace(place=slot).with_value(world.foreign[kind][0])
                answer = world.ask("admin", *sent)
                if answer.status >= 500:
                    world.say("admin", *sent, f"{answer}")
        world.ask("admin", *request.with_value(None))
    for call in sorted(
        mlflow.CALLS, key=lambda one: "delete" in one.path or "DELETE" in one.methods
    ):
        if call.role != "viewer":
            request, _ = mlflow_request(call, world.own)
            world.ask("admin", *request.with_value(None))


def test_a_refusal_takes_as_long_for_what_is_not_there(world: World) -> None:
    """The medians differ by less than a factor that tells what is looked up from what is not."""
    requests = [
        Request("GET", "/api/v1/tracking/get", {"run": ""}, ("run",)),
        Request("GET", "/api/v1/registry/model", {"name": ""}, ("name",)),
        Request("GET", f"{MLFLOW}/runs/get", {"run_id": ""}, ("run_id",)),
        Request("GET", "/api/blobs/{content}", {"content": ""}, ("content",)),
    ]
    kinds = ("run", "model", "run", "content")
    for request, kind in zip(requests, kinds, strict=True):
        taken: dict[str, list[float]] = {"foreign": [], "absent": []}
        for _ in range(25):
            for which, things in (("foreign", world.foreign), ("absent", world.absent)):
                began = time.perf_counter()
                world.ask("viewer", *request.with_value(things[kind][0]))
                taken[which].append(time.perf_counter() - began)
        medians = [statistics.median(times) for times in taken.values()]
        assert max(medians) < 5 * min(medians), (request.path, medians)
