"""Several servers on one PostgreSQL: one leads, the others stand by and take over."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from treadle.backends.database.postgres import PostgreSQL
from treadle.kernel.errors import Conflict, Unavailable
from treadle.kernel.stage import RECONCILE
from treadle.platform.signing import KEY
from treadle.platform.wiring import Embedded

HAND_OVER_SECONDS = 5.0
LEADS = """
import sys, time
from treadle.backends.database.postgres import PostgreSQL

database = PostgreSQL(sys.argv[1])
with database.leading() as leads:
    print(leads, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def databases(postgres_url: str) -> Iterator[list[PostgreSQL]]:
    opened = [PostgreSQL(postgres_url) for _ in range(3)]
    yield opened
    for one in opened:
        one.close()


def leads(database: PostgreSQL) -> bool:
    with database.leading() as found:
        return found


def test_one_leads_until_it_closes(databases: list[PostgreSQL]) -> None:
    first, second, third = databases
    assert [leads(one) for one in (first, second, third, first, second)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    first.close()
    assert [leads(one) for one in (third, second)] == [True, False]


def test_a_leader_that_has_lost_its_connection_writes_nothing(
    databases: list[PostgreSQL],
) -> None:
    first, second, _ = databases
    with first.leading() as led:
        assert led
        with first.write() as connection:  # a leader writes
            connection.execute(text("CREATE TABLE acts (who text)"))
        _end_leader(second)
        assert leads(second)
        with pytest.raises(Unavailable, match="another process may lead now"), first.write() as one:
            one.execute(text("INSERT INTO acts VALUES ('first')"))
    with pytest.raises(Unavailable):
        leads(first)  # it notices that its connection is gone,
    assert not leads(first)  # and stands by
    with first.write() as connection:  # what is no act of a leader is written as before
        connection.execute(text("INSERT INTO acts VALUES ('a request')"))
    with second.read() as connection:
        assert connection.scalars(text("SELECT who FROM acts")).all() == ["a request"]


def _end_leader(database: PostgreSQL) -> None:
    with database.read() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks "
                "WHERE locktype = 'advisory' AND objid = 1818583396 AND granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )


def test_a_new_leader_waits_for_what_the_old_one_is_writing(
    databases: list[PostgreSQL],
) -> None:
    first, second, _ = databases
    with first.leading() as led:
        assert led
        with first.write() as connection:
            connection.execute(text("CREATE TABLE acts (who text)"))
            _end_leader(second)
            second.bound(0.5)
            with pytest.raises(Unavailable):  # it waits for the writer, and gives up here
                leads(second)
    assert leads(second)


@pytest.mark.parametrize("frozen", [False, True], ids=["killed", "frozen"])
def test_the_lead_of_a_killed_process_is_taken_over_and_that_of_a_frozen_one_is_not(
    databases: list[PostgreSQL], frozen: bool
) -> None:
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADS, databases[0].url], stdout=subprocess.PIPE, text=True
    )
    try:
        assert leader.stdout is not None and leader.stdout.readline() == "True\n"
        assert not leads(databases[0])
        os.kill(leader.pid, signal.SIGSTOP if frozen else signal.SIGKILL)
        until = time.monotonic() + HAND_OVER_SECONDS / (5 if frozen else 1)
        taken = False
        while not taken and time.monotonic() < until:
            taken = leads(databases[0])
            time.sleep(0.05)
        assert taken is not frozen
    finally:
        leader.kill()
        leader.wait()


def test_servers_that_stand_by_let_no_stage_act(
    open_home: Callable[..., Embedded],
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    homes = [open_home("a", database=postgres_url)]
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / KEY, tmp_path / "b" / KEY)
    homes.append(open_home("b", database=postgres_url))
    acted: list[str] = []
    for home in homes:

        def answers(kind: object, home: Embedded = home) -> list[object]:
            assert kind is RECONCILE
            acted.append(home.settings.home)
            return []

        monkeypatch.setattr(home.assembly, "answers", answers)
    for home in homes * 2:
        home.reconcile()
    assert acted == [homes[0].settings.home] * 2
    homes[0].close()
    homes[1].reconcile()
    assert acted[2:] == [homes[1].settings.home]


def test_a_home_that_cannot_verify_what_a_database_holds_is_refused(
    open_home: Callable[..., Embedded], postgres_url: str
) -> None:
    open_home("a", database=postgres_url)
    with pytest.raises(Conflict, match=r"copy '\.signing\.key' of that home to '.*/b'") as error:
        open_home("b", database=postgres_url)
    assert "password" not in str(error.value)
