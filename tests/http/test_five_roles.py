"""Five roles at once attack a server with two projects; nothing breaks, and nothing is told.

Nobody of them holds a role in project B. ``TREADLE_FUZZ_SECONDS=600`` attacks for ten minutes.
"""

import json
import os
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.http.attack import Attacker, Judge
from tests.http.canaries import FOREIGN, OWN, ROLES, told, words, wrong
from tests.http.planted import Things, planted, planted_webhook
from tests.platform.test_up import up
from treadle.kernel import operation
from treadle.platform.settings import settings_for
from treadle.platform.stages import stages, tables_of
from treadle.platform.wiring import Embedded

ROOT = Path(__file__).parents[2]
SECONDS = int(os.environ.get("TREADLE_FUZZ_SECONDS", "40"))
UNSAID = f"{FOREIGN}unsaid"
"""A second set of things in B, of which no attacker sends a name."""


class Target:
    """A home with both projects, and the tokens of the attackers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with Embedded(settings_for(folder)) as home:
            home.tracking.ensure_default()
            self.own = planted(home, OWN)
            self.foreign = planted(home, FOREIGN)
            planted(home, UNSAID)
            planted_webhook(home, UNSAID)
            create = home.access.create_token
            self.root = create(name="root", role="admin").secret
            self.secrets: dict[str, str | None] = {"nobody": None}
            for role in operation.ROLES:
                token = create(name=f"the-{role}", role=role, project=f"{OWN}-project")
                self.secrets[role] = token.secret
            self.rows = rows_of_b(home)

    @property
    def guesses(self) -> list[str]:
        """Each way to name each thing of both projects."""
        things: list[Things] = [self.own, self.foreign]
        return sorted({str(way) for one in things for ways in one.values() for way in ways})


SELF_MADE = (
    *("events", "event_links", "event_cursors", "event_heads", "jobs", "loop_decisions"),
    *("slo_alerts", "slo_cursors", "slo_counts"),
)
"""Tables that the server itself goes on writing."""


def rows_of_b(home: Embedded) -> dict[str, set[str]]:
    """Every row with a word of B that no attacker can have said, by table."""
    found: dict[str, set[str]] = {}
    with home.database.read() as connection:
        for table in tables_of(stages()):
            rows = {str(dict(row)) for row in connection.execute(select(table)).mappings()}
            found[table.name] = {row for row in rows if UNSAID in row}
    return found


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREADLE_WEBHOOK_HOSTS", "127.0.0.1")
        yield Target(tmp_path_factory.mktemp("roles") / "home")


WITHOUT = {
    "access_grants": "who holds roles in B is made by tokens; it is read by admins of all",
    "access_tokens": "the same",
    "access_identities": "people whom an identity provider vouches for, in no project",
    "event_cursors": "how far each reader of the log has come",
    "event_heads": "the log's last number and hash",
    "run_streams": "numbers of batches, by random names",
    "step_cache": "digests only",
}
"""Tables without a canary, and why."""


def test_every_table_holds_words_of_b(target: Target) -> None:
    assert {name for name, rows in target.rows.items() if not rows} == set(WITHOUT)


def test_a_leak_is_seen() -> None:
    assert told("viewer", f'{{"a":"{UNSAID}-run"}}', [f"{FOREIGN}-run"]) == {f"{UNSAID}-run"}
    assert told("viewer", f"{FOREIGN}-run {OWN}-run", [f"{FOREIGN}-run"]) == set()
    assert told("nobody", f"{OWN}-tag", []) == {f"{OWN}-tag"}
    assert "500" in wrong("viewer", 500, {}, "", [])
    assert "503" in wrong("viewer", 503, {}, "", [])
    assert not wrong("viewer", 503, {"retry-after": "1"}, "", [])


def openapi_attack(url: str, target: Target, role: str, report: Path) -> "subprocess.Popen[str]":
    """Schemathesis as a role, with our names and our judgement."""
    secret = target.secrets[role]
    command = [str(ROOT / ".clients" / "openapi" / "bin" / "schemathesis"), "run"]
    command += [f"{url}/api/openapi.json", "-c", "is_safe", "--max-time", str(SECONDS)]
    command += ["--exclude-path-regex", "revoke|access/take|delete|remove"]
    command += ["--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"]
    command += ["-H", f"Authorization: Bearer {secret}"] if secret else []
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.http.openapi_hooks",
        "ATTACK_ROLE": role,
        "ATTACK_GUESSES": json.dumps(target.guesses),
        "ATTACK_REPORT": str(report),
    }
    return subprocess.Popen(
        command,
        env=environment,
        cwd=report.parent,
        text=True,
        stdout=report.with_suffix(".out").open("w"),
        stderr=subprocess.STDOUT,
    )


def table_of(counts: Counter[tuple[str, int]]) -> str:
    """How many answers each role got, by status."""
    lines = []
    for role in ROLES:
        answers = sorted((status, n) for (who, status), n in counts.items() if who == role)
        total = sum(n for _, n in answers)
        by_status = " ".join(f"{status}:{n:,}" for status, n in answers)
        lines.append(f"{role:<9}{total:>8,} requests  {by_status}")
    return "\n".join(lines)


def tracebacks(log: str) -> list[str]:
    """The defects that a server's log tells of, each once."""
    found = re.findall(r"Traceback.*?\n\w[\w.]*(?:Error|Exception)[^\n]*", log, re.DOTALL)
    return sorted({one.splitlines()[-1] + " at " + one.splitlines()[-2].strip() for one in found})


@pytest.mark.timeout(SECONDS + 400)
def test_five_roles_at_once_break_nothing_and_learn_nothing(
    target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = Judge(target.guesses)
    with up(target.folder) as url:
        attackers = [
            Attacker(url, role, secret, target.own, target.guesses, seed)
            for seed, (role, secret) in enumerate(target.secrets.items())
        ]
        threads = [
            threading.Thread(target=one.attack, args=(judge,), kwargs={"seconds": SECONDS})
            for one in attackers
        ]
        reports = {role: tmp_path / f"{role}.json" for role in ROLES}
        fuzzers = [openapi_attack(url, target, role, file) for role, file in reports.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for fuzzer in fuzzers:
            fuzzer.wait(timeout=SECONDS + 200)
    read_reports(judge, reports)
    with capsys.disabled():
        print(f"\n{table_of(judge.counts)}")
    log = (target.folder / "logs" / "server.log").read_text(errors="replace")
    assert not judge.wrong, (
        f"{len(judge.wrong)} wrong:\n" + "\n".join(judge.wrong[:20]) + said_last(target.folder)
    )
    assert not tracebacks(log), "\n".join(tracebacks(log))
    check_that_it_was_an_attack(judge)
    with Embedded(settings_for(target.folder)) as home:
        for table, rows in rows_of_b(home).items():
            assert table in SELF_MADE or target.rows[table] == rows, table


def said_last(home: Path) -> str:
    """The ends of the logs of a home's processes, without the requests: why a server was gone."""
    ends = []
    for file in sorted((home / "logs").glob("*.log")):
        lines = file.read_text(errors="replace").splitlines()
        told = [line[:300] for line in lines if " treadle.access: " not in line]
        ends.append(f"\n{file.name} ends:\n" + "\n".join(told[-40:]))
    return "".join(ends)


def read_reports(judge: Judge, reports: dict[str, Path]) -> None:
    """Add what schemathesis has counted and found wrong."""
    for role, file in reports.items():
        assert file.exists(), file.with_suffix(".out").read_text()[-3000:]
        found: dict[str, Any] = json.loads(file.read_text())
        assert found["counts"], file.with_suffix(".out").read_text()[-3000:]
        for status, n in found["counts"].items():
            judge.counts[role, int(status)] += n
        judge.wrong += found["wrong"]


def check_that_it_was_an_attack(judge: Judge) -> None:
    """Everybody was answered, and who holds a role was let in."""
    for role in ROLES:
        statuses = {status: n for (who, status), n in judge.counts.items() if who == role}
        assert sum(statuses.values()) > 5 * SECONDS, (role, statuses)
        assert statuses[200] > SECONDS if role != "nobody" else statuses[401] > SECONDS
        if role != "nobody":
            assert statuses[403] > SECONDS / 2, (role, statuses)


def test_words_are_found() -> None:
    assert words(f'"{UNSAID}-run":tr-{FOREIGN}', FOREIGN) == {f"{UNSAID}-run", f"tr-{FOREIGN}"}
