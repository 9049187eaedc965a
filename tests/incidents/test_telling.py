"""People are told once for each change, by the right route, and again where it did not arrive."""

import json
import logging
import threading
from base64 import b64decode
from collections.abc import Iterator
from datetime import datetime, timedelta
from email import message_from_string
from typing import Any

import pytest
from sqlalchemy import update

from tests.incidents.conftest import START, Ward
from tests.incidents.sinks import HttpSink, http_sink, mail_sink
from tests.incidents.test_grouping import received
from treadle.incidents.local import READER
from treadle.incidents.outbox import LEASE, TRIES, pause_after
from treadle.incidents.tables import messages
from treadle.kernel.errors import Invalid, Unavailable
from treadle.platform.notifiers import open_notifier
from treadle.registry.addresses import ALLOWED
from treadle.registry.posting import signature
from treadle.scope.alerting import NotifyRoute

MINUTE = timedelta(minutes=1)


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpSink]:
    monkeypatch.setenv(ALLOWED, "127.0.0.1")
    with http_sink() as one:
        yield one


def told(sink: HttpSink) -> list[str]:
    """What a sink was told, in order: the change of each request."""
    return [json.loads(body)["change"] for _, _, body in sink.got]


def wait_for_senders() -> None:
    for thread in threading.enumerate():
        if thread.name == "notify":
            thread.join()


def pass_time(ward: Ward, **span: float) -> None:
    """Time passes; all that happened is read, and people are told."""
    ward.clock.advance(timedelta(**span))
    while ward.incidents.react():
        pass
    ward.incidents.tell()
    wait_for_senders()


def test_each_change_is_told_once(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url))
    ward.burns()
    pass_time(ward, minutes=1)
    number = ward.only().id
    ward.incidents.acknowledge(incident=number)
    for _ in range(3):
        pass_time(ward, minutes=1)
    ward.recovers()
    for _ in range(3):
        pass_time(ward, minutes=1)
    ward.burns()
    pass_time(ward, minutes=1)
    assert told(sink) == ["opened", "acknowledged", "resolved", "reopened"]
    assert len({json.loads(body)["id"] for _, _, body in sink.got}) == 4
    states = {one.state for one in ward.incidents.messages(incident=number)}
    assert states == {"sent"}


def test_a_storm_is_one_message_with_a_count(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url))
    for ten in range(10):
        for number in range(10):
            ward.happens(received(10 * ten + number))
        pass_time(ward, seconds=3)
    pass_time(ward, seconds=30)
    ((_, _, body),) = sink.got
    assert json.loads(body)["incident"]["alert_count"] == 100


def test_what_ends_within_the_wait_is_not_told(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url), wait="5m")
    ward.burns()
    pass_time(ward, minutes=2)
    ward.recovers()
    pass_time(ward, minutes=10)
    assert sink.got == []


def test_a_request_is_signed(ward: Ward, sink: HttpSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_NOTIFY_KEY", "a-secret-key")
    ward.declare(NotifyRoute(to=f"webhook+{sink.url}/hook", secret="$TREADLE_NOTIFY_KEY"))
    ward.burns()
    pass_time(ward, minutes=1)
    ((path, headers, body),) = sink.got
    delivery, moment = headers["X-Treadle-Delivery-Id"], headers["X-Treadle-Timestamp"]
    assert path == "/hook" and delivery == json.loads(body)["id"]
    expected = signature("a-secret-key", delivery, moment, body.decode())
    assert headers["X-Treadle-Signature"] == expected


@pytest.mark.parametrize("scheme", ["http", "webhook+http", "alertmanager+http"])
def test_who_an_address_names_is_sent_along(
    ward: Ward, sink: HttpSink, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("TREADLE_NOTIFY_KEY", "p%C3%A4ss%40word")
    ward.declare(NotifyRoute(to=f"{scheme}://ada:$TREADLE_NOTIFY_KEY@127.0.0.1:{sink.port}/hook"))
    (outcome,) = ward.incidents.test_routes(project="p")
    ((path, headers, _),) = sink.got
    user = b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
    assert (outcome.sent, user, "@" in path) == (True, "ada:päss@word", False)
    assert headers["Host"] == f"127.0.0.1:{sink.port}"


def test_alertmanager_hears_of_incidents_in_its_own_words(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=f"alertmanager+{sink.url}"), severity={"drift": "ticket"})
    ward.happens(ward.drift(START))
    pass_time(ward, minutes=1)
    ward.burns()
    pass_time(ward, minutes=1)
    ward.incidents.resolve(incident=ward.only().id)
    pass_time(ward, minutes=1)
    assert {path for path, _, _ in sink.got} == {"/api/v2/alerts"}
    firing: list[set[str]] = []
    for _, headers, body in sink.got:
        sent = {alert["labels"]["severity"]: alert for alert in json.loads(body)}
        now = (START + (len(firing) + 1) * MINUTE).isoformat().replace("+00:00", "Z")
        firing.append({name for name, alert in sent.items() if alert["endsAt"] > now})
        assert all(alert["startsAt"] <= alert["endsAt"] for alert in sent.values())
        assert headers["Content-Type"] == "application/json"
    assert firing == [{"ticket"}, {"page"}, set()]


def test_alertmanager_takes_it_for_open_until_it_is_resolved(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=f"alertmanager+{sink.url}"))
    ward.burns()
    pass_time(ward, minutes=1)
    ward.incidents.acknowledge(incident=ward.only().id)
    for _ in range(16):
        pass_time(ward, days=1)
        now = ward.clock.now().isoformat()
        assert max(alert["endsAt"] for alert in json.loads(sink.got[-1][2])) > now


def test_a_test_is_over_in_alertmanager_after_a_minute(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=f"alertmanager+{sink.url}"))
    assert [one.sent for one in ward.incidents.test_routes(project="p")] == [True]
    ((_, _, body),) = sink.got
    (alert,) = json.loads(body)
    ends = datetime.fromisoformat(alert["endsAt"])
    assert ends - datetime.fromisoformat(alert["startsAt"]) == MINUTE


def test_apprise_sends_json_and_mail(ward: Ward, sink: HttpSink) -> None:
    with mail_sink() as (port, mails):
        ward.declare(
            NotifyRoute(to=f"json://127.0.0.1:{sink.port}/x"),
            NotifyRoute(to=f"mailto://127.0.0.1:{port}?from=t@example.com&to=a@example.com"),
        )
        ward.burns()
        pass_time(ward, minutes=1)
        ((path, _, body),) = sink.got
        (mail,) = mails
    sent = json.loads(body)
    assert path == "/x" and sent["type"] == "failure"
    assert sent["title"].startswith("[page] Opened: p: UP: availability burns 20 times too fast")
    number = ward.only().id
    assert f"treadle incident ack {number}" in sent["message"]
    read: Any = message_from_string(mail)
    parts = [
        part.get_payload(decode=True).decode()
        for part in read.walk()
        if part.get_payload(decode=True)
    ]
    assert any(f"Incident {number}, open since 2026-03-02 00:00 UTC." in part for part in parts)


def test_what_is_not_public_is_not_reached(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOWED, raising=False)
    with http_sink() as sink:
        ward.declare(
            *(
                NotifyRoute(to=f"{scheme}://127.0.0.1:{sink.port}/")
                for scheme in ("http", "alertmanager+http", "json")
            ),
            NotifyRoute(to="mailto://a@example.com?smtp=127.0.0.1&to=b@example.com"),
            NotifyRoute(to="syslog://"),
        )
        outcomes = ward.incidents.test_routes(project="p")
        assert sink.got == []
    assert [one.sent for one in outcomes] == [False] * 5
    errors = [one.error for one in outcomes]
    assert [error for error in errors[:4] if "the address is not public" not in error] == []
    assert "would act on the server itself" in outcomes[4].error


READ_BY_THE_SERVER = (
    "fcm://project/device?mode=oauth2&keyfile=http://169.254.169.254/latest",
    "fcm://project/device?mode=oauth2&%6BeyFile=/etc/passwd",
    "vapid://a@example.com/b@example.com?subfile=/etc/passwd",
    "mailto://example.com?to=a@example.com;pgppub=/etc/passwd",
    "mailto://example.com?to=a@example.com&pgpprv=key&pgp=sign",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#c?template=/etc/passwd",
)


@pytest.mark.parametrize("to", READ_BY_THE_SERVER)
def test_an_address_lets_the_server_read_nothing(
    ward: Ward, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Invalid, match=r"notify\[0\].to': Option '.*' names a file or URL"):
        ward.declare(NotifyRoute(to=to))
    monkeypatch.setenv("TREADLE_NOTIFY_ALL", to)  # of which the declaration knows nothing
    ward.declare(NotifyRoute(to="$TREADLE_NOTIFY_ALL"))
    (outcome,) = ward.incidents.test_routes(project="p")
    assert "names a file or URL that the server would read" in outcome.error


@pytest.mark.parametrize(
    ("to", "error"),
    [
        (f"{READ_BY_THE_SERVER[-1].rpartition('=')[0]}=secret", "lets the server read a file"),
        ("vapid://a@example.com/b@example.com", "lets the server read a file"),
        (f"nostr://{1:064}?relay=ws://127.0.0.1:1", "the address is not public"),
        ("acs://a@example.com/YWJjZA==/nobody.invalid/b@example.com", "The host is not known"),
    ],
)
def test_services_read_no_file_and_ask_no_private_relay(
    ward: Ward, to: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ALLOWED, raising=False)
    ward.declare(NotifyRoute(to=to))
    (outcome,) = ward.incidents.test_routes(project="p")
    assert error in outcome.error


def test_queries_of_receivers_are_their_own(ward: Ward) -> None:
    ward.declare(
        NotifyRoute(to="https://example.com/hook?keyfile=a&template=b.c"),
        NotifyRoute(to="json://example.com/hook?template=plain"),
    )


def test_what_was_not_taken_is_sent_again_with_longer_pauses(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url))
    sink.status = 503
    ward.burns()
    pass_time(ward, minutes=1)
    for attempt in range(1, TRIES):
        assert len(sink.got) == attempt
        almost = pause_after(attempt) - timedelta(seconds=1)
        pass_time(ward, seconds=almost.total_seconds())
        assert len(sink.got) == attempt
        pass_time(ward, seconds=1)
    number = ward.only().id
    (message,) = ward.incidents.messages(incident=number)
    assert (message.state, message.attempts) == ("dead", TRIES) and "503" in message.error
    assert len({json.loads(body)["id"] for _, _, body in sink.got}) == 1
    pass_time(ward, days=1)
    assert len(sink.got) == TRIES
    assert "not told" in {entry.what for entry in ward.incidents.timeline(incident=number)}


def test_a_refusal_is_a_dead_letter_at_once(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url))
    sink.status = 404
    ward.burns()
    pass_time(ward, minutes=1)
    (message,) = ward.incidents.messages(incident=ward.only().id)
    assert (message.state, message.attempts) == ("dead", 1)


def test_who_stops_between_sending_and_writing_sends_again(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url))
    ward.burns()
    pass_time(ward, minutes=1)
    claimed = {"state": "waiting", "next_at": ward.clock.now() + LEASE, "sent_at": None}
    with ward.platform.database.write() as transaction:  # as if it had not been written
        transaction.execute(update(messages).values(claimed))
    pass_time(ward, seconds=60)
    assert len(sink.got) == 1  # its sender may be at it still
    pass_time(ward, seconds=60)
    assert [json.loads(body)["id"] for _, _, body in sink.got] == [
        json.loads(sink.got[0][2])["id"]
    ] * 2


def test_a_silence_holds_people_off_and_ends_by_the_clock(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url))
    hour = ward.clock.now() + timedelta(hours=1)
    silence = ward.incidents.silence(project="p", kind="burning budget", until=hour)
    ward.burns()
    pass_time(ward, minutes=30)
    assert ward.only().silenced_until == hour and sink.got == []
    ward.happens(ward.drift(START))  # another alert, which no silence is about
    pass_time(ward, minutes=5)
    assert told(sink) == ["opened"]
    ward.incidents.resolve(incident=ward.only().id)
    pass_time(ward, minutes=5)
    ward.incidents.end_silence(silence=silence.id)
    assert ward.incidents.silences() == []


def test_who_is_silenced_is_told_afterwards(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url))
    ward.incidents.silence(project="p", until=ward.clock.now() + timedelta(hours=1))
    ward.burns()
    pass_time(ward, minutes=59)
    assert sink.got == []
    pass_time(ward, minutes=1)
    assert told(sink) == ["opened"]


def test_secrets_are_told_to_nobody(
    ward: Ward,
    sink: HttpSink,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "s3cr3t-t0ken-of-the-chat"
    monkeypatch.setenv("TREADLE_NOTIFY_CHAT", secret)
    monkeypatch.setenv("TREADLE_NOTIFY_ALL", f"json://127.0.0.1:{sink.port}/{secret}/?x={secret}")
    ward.declare(
        NotifyRoute(to=f"{sink.url}/${{TREADLE_NOTIFY_CHAT}}"),
        NotifyRoute(to=f"json://127.0.0.1:{sink.port}/$TREADLE_NOTIFY_CHAT"),
        NotifyRoute(to="$TREADLE_NOTIFY_ALL"),
        NotifyRoute(to="https://nobody.invalid/$TREADLE_NOTIFY_CHAT"),
        NotifyRoute(to="slack://$TREADLE_NOTIFY_CHAT"),
        NotifyRoute(to="https://nobody.invalid/$TREADLE_NOTIFY_UNSET"),
    )
    sink.status = 500
    ward.burns()
    pass_time(ward, minutes=1)
    number = ward.only().id
    outcomes = ward.incidents.test_routes(project="p")
    shown = f"{ward.incidents.messages(incident=number)} {outcomes} {caplog.text}"
    shown += str(ward.platform.events.history(limit=1000))
    assert len(sink.got) == 6 and any(secret in path for path, _, _ in sink.got)
    assert secret not in shown
    assert "Variable 'TREADLE_NOTIFY_UNSET' is not set" in shown


def test_an_unset_variable_and_an_unknown_scheme_are_told(ward: Ward) -> None:
    with pytest.raises(Unavailable, match="'TREADLE_NOTIFY_NOT' is not set"):
        open_notifier("https://example.com/$TREADLE_NOTIFY_NOT")
    with pytest.raises(Invalid, match="Apprise takes no such 'nonsense:' URL"):
        open_notifier("nonsense://x")


def test_hostile_text_stays_text(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=f"json://127.0.0.1:{sink.port}"))
    text = "<!channel> @everyone \x1b[2J\u202e<script>\r\nBcc: x@example.com"
    from treadle.training.model import TrainingFailed

    ward.happens(TrainingFailed(run="run_a", project="p", error=text))
    pass_time(ward, minutes=1)
    sent = json.loads(sink.got[0][2])
    for shown in (sent["title"], sent["message"]):
        assert "\x1b" not in shown and "\u202e" not in shown and "\r" not in shown
        assert "@everyone" not in shown and "<!channel" not in shown
    assert "\n" not in sent["title"]


def test_the_reader_is_known() -> None:
    assert READER == "incidents"  # the migration begins its cursor behind old events
