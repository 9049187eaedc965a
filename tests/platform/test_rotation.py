"""A home's signing key is rotated: older keys verify what they have signed, and sign no more."""

import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.fixtures.write_home import PROJECT
from tests.platform.conftest import opened
from treadle.cli.main import app
from treadle.events.head import head_of_events, signed_head, write_head
from treadle.events.model import KeyRotated
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Corrupt, Invalid, NotFound
from treadle.kernel.event import acting
from treadle.kernel.keys import SIGNATURE_CHARACTERS, Keys
from treadle.platform.backup.restore import restore_backup
from treadle.platform.backup.store import Store
from treadle.platform.backup.write import write_backup
from treadle.platform.rotation import Rotated, rotate_key
from treadle.platform.signing import KEY, read_keys, write_keys
from treadle.platform.verify.check import verify_home
from treadle.platform.wiring import Embedded
from treadle.registry.model import ModelVersion
from treadle.registry.tables import approvals


def rotated(platform: Embedded, **given: Any) -> Rotated:
    home = platform.settings.folder
    return rotate_key(home, platform.database, platform.events, platform.clock, **given)


def approved(platform: Embedded) -> list[ModelVersion]:
    return sorted((v for v in platform.registry.find() if v.approval), key=lambda v: v.ref)


def approve_another(platform: Embedded) -> ModelVersion:
    """Approve a version that nobody has approved yet."""
    waiting = next(v for v in platform.registry.find(model=PROJECT) if v.approval is None)
    return platform.registry.approve(model=waiting.model, number=waiting.number)


def wrong(home: Path) -> dict[str, str]:
    return {finding.thing: finding.wrong for finding in verify_home(home).findings}


def test_what_was_signed_before_keys_had_ids_verifies_after_two_rotations(home: Path) -> None:
    first = (home / KEY).read_bytes()
    with opened(home) as platform:
        signatures = [v.approval.signature for v in approved(platform) if v.approval]
        assert signatures
        assert not any(":" in signature for signature in signatures)
        one, two = rotated(platform), rotated(platform)
        assert one.before == read_keys(home).keys[0].id
        assert two.before == one.key
        assert bytes.fromhex(read_keys(home).keys[0].secret) == first
        assert all(
            platform.registry.verify_approval(model=v.model, number=v.number)
            for v in approved(platform)
        )
    assert verify_home(home).findings == []
    assert verify_home(home).checked["signing keys"] == 3
    assert (home / KEY).stat().st_mode & 0o777 == 0o600


def test_the_event_of_a_rotation_names_both_keys_and_is_signed_by_the_new_one(home: Path) -> None:
    with opened(home) as platform, acting("mara"):
        done = rotated(platform)
        (record,) = platform.events.history(type="KeyRotated")
        assert (record.number, record.actor) == (done.event, "mara")
        assert record.event() == KeyRotated(key=done.key, before=done.before, compromised={})
        head = platform.events.head()
        assert head.number == done.event
        assert head.signature.startswith(f"{done.key}:")
        assert len(head.signature) == SIGNATURE_CHARACTERS


def test_processes_that_run_sign_with_the_new_key_from_the_rotation_on(home: Path) -> None:
    over, faults = threading.Event(), []

    def work() -> None:
        try:
            with opened(home) as platform:
                while not over.is_set():
                    platform.tracking.start_run(experiment="e")
        except BaseException as error:
            faults.append(error)

    with opened(home) as server, opened(home) as operator:
        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        done = [rotated(operator) for _ in range(5)]
        version = approve_another(server)
        over.set()
        for worker in workers:
            worker.join()
        assert not faults
        assert version.approval is not None
        assert version.approval.signature.startswith(f"{done[-1].key}:")
        assert server.events.head().signature.startswith(f"{done[-1].key}:")
    assert verify_home(home).findings == []


def test_a_retired_key_that_signs_is_seen(home: Path) -> None:
    before = read_keys(home)
    with opened(home) as platform:
        rotated(platform)
        keys = read_keys(home)
        write_keys(home, before)  # somebody has kept the old key
        version = approve_another(platform)
        with platform.database.write() as transaction:
            newest = head_of_events(transaction)
            write_head(transaction, signed_head(newest.number, newest.hash, before))
        write_keys(home, keys)
        assert not platform.registry.verify_approval(model=PROJECT, number=version.number)
    said = wrong(home)
    id = before.current.id
    assert f"signed with key '{id}', which event" in said["the event log"]
    assert "had retired before" in said[f"the approval of '{version.ref}'"]
    assert len([thing for thing in said if thing.startswith("the approval of")]) == 1


def test_a_signature_by_an_unknown_key_is_seen(home: Path) -> None:
    with opened(home) as platform, platform.database.write() as transaction:
        version = approved(platform)[0]
        here = (approvals.c.model == version.model) & (approvals.c.number == version.number)
        transaction.execute(approvals.update().where(here).values(signature="0badc0de:" + "a" * 55))
    said = wrong(home)[f"the approval of '{version.ref}'"]
    assert "key '0badc0de', which this home does not have" in said


def test_approvals_of_a_compromised_key_count_up_to_the_moment_only(home: Path) -> None:
    with opened(home) as platform:
        believed = {version.ref for version in approved(platform)}
        platform.clock.advance(timedelta(days=1))  # type: ignore[attr-defined]
        leaked = platform.clock.now()
        platform.clock.advance(timedelta(days=1))  # type: ignore[attr-defined]
        doubted = approve_another(platform)
        done = rotated(platform, since=leaked)
        faults = {v.ref: platform.registry.approval_fault(v) for v in approved(platform)}
        assert {ref for ref, fault in faults.items() if not fault} == believed
        assert "is compromised since" in faults[doubted.ref]
        (record,) = platform.events.history(type="KeyRotated")
        assert record.body["compromised"].keys() == {done.before}
    assert list(wrong(home)) == [f"the approval of '{doubted.ref}'"]
    with opened(home) as platform:
        again = platform.registry.approve(model=doubted.model, number=doubted.number)
        assert again.approval is not None
        assert again.approval.signature.startswith(f"{done.key}:")
    assert wrong(home) == {}


def test_a_date_before_the_moment_makes_no_forged_approval_believed(home: Path) -> None:
    """Whoever has the key signs any date; the log has no event of it from before the moment."""
    before = read_keys(home)
    with opened(home) as platform:
        waiting = next(v for v in platform.registry.find(model=PROJECT) if v.approval is None)
        early = platform.clock.now() - timedelta(days=30)
        platform.clock.advance(timedelta(days=1))  # type: ignore[attr-defined]
        rotated(platform, since=platform.clock.now())
        forged = forged_approval(waiting, early, before)
        with platform.database.write() as transaction:
            transaction.execute(approvals.insert().values(**forged))
        assert not platform.registry.verify_approval(model=PROJECT, number=waiting.number)
    assert list(wrong(home)) == [f"the approval of '{waiting.ref}'"]


def forged_approval(version: ModelVersion, at: Any, keys: Keys) -> dict[str, Any]:
    from treadle.registry.service import _content, _digest

    said = {"by": "ana", "at": at, "comment": ""}
    facts = {**_content(version), **said}
    own = {"model": version.model, "number": version.number}
    own |= {"package": version.package, "verdict": version.verdict}
    return {**own, **said, "signature": keys.sign(lambda secret: _digest(facts, secret))}


def test_an_older_key_is_marked_later_and_never_from_a_later_moment_on(home: Path) -> None:
    with opened(home) as platform:
        start, first = platform.clock.now(), read_keys(home).current.id
        rotated(platform)
        platform.clock.advance(timedelta(days=1))  # type: ignore[attr-defined]
        rotated(platform, since=start, compromised=first)
        rotated(platform, since=platform.clock.now(), compromised=first)
        assert read_keys(home).named(first).compromised_since == start
        with pytest.raises(NotFound, match=r"no signing key 'absent'.*treadle keys list"):
            rotated(platform, since=start, compromised="absent")
        with pytest.raises(Invalid, match="is still to come"):
            rotated(platform, since=platform.clock.now() + timedelta(days=1))
        with pytest.raises(Invalid, match="Say from when on key"):
            rotated(platform, compromised=first)
        assert len(read_keys(home).keys) == 4


def test_a_file_of_keys_that_is_cut_or_changed_anywhere_is_refused(home: Path) -> None:
    with opened(home) as platform:
        rotated(platform)
    content = (home / KEY).read_bytes()
    for length in (0, 5, 31, 32, 33, len(content) - 1):
        (home / KEY).write_bytes(content[:length])
        with pytest.raises(Corrupt, match=r"is damaged: .* Restore it from a backup"):
            read_keys(home)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        (home / KEY).write_bytes(flipped)
        with pytest.raises(Corrupt):
            read_keys(home)
    (home / KEY).write_bytes(content[:40])
    assert list(wrong(home)) == [KEY]


def test_a_process_that_runs_refuses_a_key_that_was_damaged_meanwhile(home: Path) -> None:
    with opened(home) as platform:
        number = platform.events.last_number()
        content = (home / KEY).read_bytes()
        (home / KEY).write_bytes(b"")
        with pytest.raises(Corrupt, match="it has 0 of 32 bytes"):
            platform.tracking.start_run(experiment="e")
        (home / KEY).write_bytes(content)
        assert platform.events.last_number() == number


def test_a_rotation_that_was_stopped_is_told_when_the_home_is_opened(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    with opened(home) as platform:
        monkeypatch.setattr(platform.events, "append", stop)
        with pytest.raises(Stopped):
            rotated(platform)
    assert len(read_keys(home).keys) == 2
    with opened(home) as platform:
        (record,) = platform.events.history(type="KeyRotated")
        assert record.body["key"] == read_keys(home).current.id
    with opened(home) as platform:
        assert len(platform.events.history(type="KeyRotated")) == 1
    assert wrong(home) == {}


def test_a_seal_is_signed_again_so_that_a_compromised_key_unseals_nothing(home: Path) -> None:
    assert wrong(home) == {}  # which seals it
    with opened(home) as platform:
        rotated(platform, since=platform.clock.now())
    result = verify_home(home)
    assert result.findings == []
    assert result.checked["sealed files"] > 1


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_backup_is_restored_with_all_keys(home: Path, tmp_path: Path, encrypted: bool) -> None:
    key_file = tmp_path / "key" if encrypted else None
    if key_file:
        key_file.write_bytes(bytes(range(32)))
    store = Store(str(tmp_path / "backup"), key_file, make=True)
    with opened(home) as platform:
        rotated(platform)
        approve_another(platform)
        refs = [version.ref for version in approved(platform)]
        write_backup(platform, store)
    given = None if encrypted else home / KEY
    assert restore_backup(store, tmp_path / "new", key=given).authentic
    assert read_keys(tmp_path / "new") == read_keys(home)
    assert (tmp_path / "new" / KEY).stat().st_mode & 0o777 == 0o600
    with opened(tmp_path / "new") as again:
        assert [v.ref for v in approved(again) if not again.registry.approval_fault(v)] == refs


def test_a_backup_from_before_a_rotation_is_restored_with_the_keys_of_today(
    home: Path, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "backup"), None, make=True)
    with opened(home) as platform:
        write_backup(platform, store)
        platform.tracking.start_run(experiment="later")
        platform.clock.advance(timedelta(days=1))  # type: ignore[attr-defined]
        leaked = platform.clock.now()
        platform.tracking.start_run(experiment="later")
        write_backup(platform, store)
        last = platform.events.last_number()
        rotated(platform, since=leaked)
    with pytest.raises(Corrupt, match=r"is compromised since .* Restore an earlier one"):
        restore_backup(store, tmp_path / "doubted", key=home / KEY)
    assert restore_backup(store, tmp_path / "new", until=last - 1, key=home / KEY).authentic
    assert wrong(tmp_path / "new") == {}
    cut = tmp_path / "cut"
    cut.write_bytes((home / KEY).read_bytes()[:-9])
    with pytest.raises(Invalid, match="is no signing key"):
        restore_backup(store, tmp_path / "none", key=cut)


def test_the_command_lists_keys_without_secrets_and_rotates_them(home: Path) -> None:
    runner = CliRunner()

    def asked(*arguments: str) -> Any:
        ran = runner.invoke(app, ["keys", *arguments, "--home", str(home), "--json"])
        assert ran.exit_code == 0, ran.output
        return json.loads(ran.stdout)

    done = asked("rotate")
    secrets = [key.secret for key in read_keys(home).keys]
    listed = asked("list")
    assert [key["id"] for key in listed] == [done["before"], done["key"]]
    assert not [secret for secret in secrets if secret in to_json(listed).decode()]
    assert not [secret for secret in secrets if secret in repr(read_keys(home))]
    with opened(home) as platform:
        refs = [version.ref for version in approved(platform)]
    marked = asked("rotate", "--compromised", "2001-01-01T02:00+02:00", "--key", done["before"])
    assert sorted(marked["disbelieved"]) == refs
    assert asked("list")[0]["compromised_since"] == "2001-01-01T00:00:00Z"
    shown = runner.invoke(app, ["keys", "--home", str(home)])
    assert "compromised since" in shown.stdout
    for arguments, error in (
        (["rotate", "--compromised", "soon"], "'soon' is no moment"),
        (["list", "--home", str(home / "absent")], "Name a home with --home"),
    ):
        ran = runner.invoke(app, ["keys", *arguments])
        assert error in str(ran.exception)
