"""Addresses come from options, variables and files; no password is remembered, shown or listed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.backends.sandbox.environment import ordinary
from treadle.cli.data_places import store_at
from treadle.kernel.entity import replace
from treadle.kernel.errors import Conflict, Invalid
from treadle.kernel.exits import REFUSED
from treadle.kernel.files import write_whole
from treadle.kernel.telemetry import OPT_OUTS
from treadle.platform.addresses import backend, place_of, resolved, shown
from treadle.platform.backup.store import Store
from treadle.platform.settings import (
    Settings,
    backends_of,
    from_environment,
    remember,
    settings_for,
)
from treadle.platform.verify.sources import stores_at
from treadle.platform.wiring import Embedded


def filled(home: Path, **given: str) -> Path:
    with Embedded(settings_for(home, **given)) as platform:
        platform.tracking.start_run(experiment="e")
    return home


def test_an_option_goes_before_a_variable_before_a_file_before_what_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, named = tmp_path / "home", tmp_path / "named"
    assert settings_for(home).blobs == ""
    named.write_text(f"file://{tmp_path}/of-file\n")
    monkeypatch.setenv("TREADLE_BLOBS_FILE", str(named))
    assert settings_for(home).blobs == f"@{named}"
    assert backend("blobs", settings_for(home).blobs).url == f"file://{tmp_path}/of-file"
    monkeypatch.setenv("TREADLE_BLOBS", f"file://{tmp_path}/of-variable")
    assert settings_for(home).blobs == "$TREADLE_BLOBS"
    assert backends_of(home)["blobs"] == f"file://{tmp_path}/of-variable"
    option = f"file://{tmp_path}/of-option"
    assert settings_for(home, blobs=option).blobs == option
    monkeypatch.delenv("TREADLE_BLOBS")
    monkeypatch.delenv("TREADLE_BLOBS_FILE")
    assert settings_for(home).blobs == option


@pytest.mark.parametrize(
    ("port", "url"),
    [
        ("database", "postgresql://u:hidden@h/d"),
        ("database", "postgresql://u:hid/d@en@h/d"),
        ("database", "postgresql://h/d?user=u&password=hidden"),
        ("blobs", "s3://b/p?access_key_id=a&secret_access_key=hidden"),
        ("online_store", "redis://:hidden@h/0"),
    ],
)
def test_a_password_in_an_option_is_refused_and_not_repeated(
    tmp_path: Path, port: str, url: str
) -> None:
    with pytest.raises(Invalid, match=f"holds a password.*TREADLE_{port.upper()}") as refused:
        settings_for(tmp_path / "home", **{port: url})
    assert "hid" not in refused.value.message
    assert "$NAME" in refused.value.message
    assert not (tmp_path / "home" / "settings.json").exists()


def test_a_password_by_reference_is_stored_and_shown_as_a_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_KEY", "very/hidden@")
    url = "s3://b/p?region=r&access_key_id=a&secret_access_key=$STORE_KEY"
    settings = settings_for(tmp_path / "home", blobs=url)
    assert resolved(url).endswith("=very%2Fhidden%40")
    store = backend("blobs", settings.blobs)
    assert store.url == "s3://b/p?region=r&access_key_id=***&secret_access_key=$STORE_KEY"
    assert settings.variables() == {"STORE_KEY": "very/hidden@"}
    for told in (
        (tmp_path / "home" / "settings.json").read_text(),
        json.dumps(settings.environment()),
        json.dumps(backends_of(tmp_path / "home")),
    ):
        assert "hidden" not in told
    monkeypatch.delenv("STORE_KEY")
    with pytest.raises(Invalid, match="The environment variable 'STORE_KEY' is not set"):
        backend("blobs", settings_for(tmp_path / "home").blobs)


def test_a_password_in_a_variable_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_ONLINE_STORE", "redis://:hidden@h:6379/0")
    settings = settings_for(tmp_path / "home")
    assert settings.online_store == "$TREADLE_ONLINE_STORE"
    assert backends_of(tmp_path / "home")["online_store"] == "redis://:***@h:6379/0"
    assert "hidden" not in (tmp_path / "home" / "settings.json").read_text()
    monkeypatch.delenv("TREADLE_ONLINE_STORE")
    assert backends_of(tmp_path / "home")["online_store"] == "$TREADLE_ONLINE_STORE"


def test_an_older_home_with_a_password_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    url = "s3://b/p?secret_access_key=hidden"
    settings_for(home)
    remember(Settings(home=str(home), blobs=url))
    before = (home / "settings.json").read_bytes()
    settings = settings_for(home)
    assert resolved(settings.blobs) == url
    assert shown(settings.blobs) == "s3://b/p?secret_access_key=***"
    assert (home / "settings.json").read_bytes() == before
    settings_for(home, blobs=f"file://{tmp_path}/other")
    assert b"hidden" not in (home / "settings.json").read_bytes()


def test_a_step_knows_no_address() -> None:
    known = {"TREADLE_DATABASE": "x", "TREADLE_BLOBS_FILE": "y", "STORE_KEY": "z", "PATH": "/bin"}
    assert ordinary(known) == {"PATH": "/bin", **OPT_OUTS}


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
def test_any_password_comes_back_from_the_url_that_it_was_put_into(password: str) -> None:
    from sqlalchemy import make_url

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("A_PASSWORD", password)
        for reference in ("$A_PASSWORD", "${A_PASSWORD}"):
            address = f"postgresql://u:{reference}@h:5432/d"
            assert make_url(resolved(address)).password == password
            assert shown(address) == address
            assert place_of(address) == "postgresql://h/d"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        (
            "postgresql://u:$P@DB:5432/d?sslmode=require&connect_timeout=3&application_name=a",
            "postgresql://db/d",
        ),
        (
            "postgresql:///d?port=5432&host=/run/pg&sslkey=k&service=s",
            "postgresql:///d?host=%2Frun%2Fpg&service=s",
        ),
        (
            "postgresql://h/d?options=-c%20statement_timeout=5%20-csearch_path%3Dours",
            "postgresql://h/d?search_path=ours",
        ),
        ("s3://b/p/?region=r&skip_signature=true&sse_bucket_key_enabled=true", "s3://b/p"),
        (
            "s3://b/p?endpoint=HTTP://Minio:80/&access_key_id=a&virtual_hosted_style_request=true",
            "s3://b/p?endpoint=http%3A%2F%2Fminio",
        ),
        (
            "s3://b?aws_endpoint_url=https://u:$P@m:9000/x/",
            "s3://b?endpoint=https%3A%2F%2Fm%3A9000%2Fx",
        ),
        ("other://h/d?part=1&token=$P", "other://h/d?part=1"),
    ],
)
def test_a_place_is_where_a_backend_is_and_not_how_it_is_reached(address: str, place: str) -> None:
    assert place_of(address) == place
    assert place_of(place) == place


@pytest.mark.parametrize(
    "parameter", ["skip_signature=true", "sse_bucket_key_enabled=true", "sse_kms_key_id=k"]
)
def test_a_parameter_that_only_sounds_like_a_secret_is_taken(
    tmp_path: Path, parameter: str
) -> None:
    url = f"s3://b/p?region=r&{parameter}"
    assert settings_for(tmp_path / "home", blobs=url).blobs == url


def test_a_filled_home_is_opened_with_other_options(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    home = filled(tmp_path / "home", database=url)
    there = {"blobs": "s3://b/p?region=r", "database": url}
    # As earlier versions noted places:
    remember(Settings(home=str(home), database=url, blobs=there["blobs"], places=there))
    other = "s3://b/p/?region=q&virtual_hosted_style_request=true"
    assert settings_for(home, blobs=other).blobs == other


def test_a_filled_home_is_not_opened_over_other_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = filled(tmp_path / "home")
    before = (home / "settings.json").read_bytes()
    for port, url in (
        ("database", f"sqlite:///{tmp_path}/other.db"),
        ("blobs", f"file://{tmp_path}/other"),
    ):
        named = f"treadle move --home {home} --to-{port} {url}"
        with pytest.raises(Conflict, match=named) as refused:
            settings_for(home, **{port: url})
        assert "events" in refused.value.message
        monkeypatch.setenv(f"TREADLE_{port.upper()}", url)
        with pytest.raises(Conflict, match=f"leave the option out, and TREADLE_{port.upper()} too"):
            settings_for(home)
        monkeypatch.delenv(f"TREADLE_{port.upper()}")
    assert (home / "settings.json").read_bytes() == before
    assert not (tmp_path / "other.db").exists()
    # The places that it has, said in another way, are no others.
    assert settings_for(
        home, database=f"sqlite:///{home}/../home/treadle.db", blobs=f"file://{home}/blobs/"
    )


def test_records_that_no_copy_of_the_head_tells_of_are_found(tmp_path: Path) -> None:
    home = filled(tmp_path / "home")
    (home / "event.head").unlink()
    with pytest.raises(Conflict, match=r"holds \d+ events"):
        settings_for(home, database=f"sqlite:///{tmp_path}/other.db")


def test_a_variable_that_has_come_to_name_another_database_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_DATABASE", f"sqlite:///{tmp_path}/one.db")
    home = filled(tmp_path / "home")
    monkeypatch.setenv("TREADLE_DATABASE", f"sqlite:///{tmp_path}/two.db")
    with pytest.raises(Conflict, match=r"one\.db.*two\.db"):
        settings_for(home)
    (home / "event.head").unlink()
    with pytest.raises(Conflict, match=r"holds \d+ events"):
        settings_for(home)


def test_an_empty_home_takes_any_url(tmp_path: Path) -> None:
    Embedded(settings_for(tmp_path / "home")).close()
    url = f"sqlite:///{tmp_path}/other.db"
    filled(tmp_path / "home", database=url)
    assert settings_for(tmp_path / "home").database == url


@pytest.mark.parametrize("is_opened", [True, False])
@pytest.mark.parametrize("url", ["sqlite:///{}/{}.db", "postgresql://u@{}/{}"])
def test_an_empty_home_follows_a_variable_to_another_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_opened: bool, url: str
) -> None:
    home = tmp_path / "home"
    if is_opened:
        Embedded(settings_for(home)).close()
    one, two = (url.format(str(tmp_path) if "sqlite" in url else "h", n) for n in ("one", "two"))
    monkeypatch.setenv("TREADLE_DATABASE", one)
    if is_opened and "sqlite" in url:
        Embedded(settings_for(home)).close()
    assert settings_for(home).place("database") == place_of(one)
    monkeypatch.setenv("TREADLE_DATABASE", two)
    assert settings_for(home).place("database") == place_of(two)
    (home / "event.head").unlink(missing_ok=True)
    if is_opened and "sqlite" not in url:  # nobody can tell what it holds
        monkeypatch.setenv("TREADLE_DATABASE", one)
        with pytest.raises(Conflict, match="holds records"):
            settings_for(home)


def test_two_homes_share_no_sqlite_file(tmp_path: Path) -> None:
    first = filled(tmp_path / "first")
    with pytest.raises(Conflict, match=f"is the database of the home '{first}'"):
        settings_for(tmp_path / "second", database=f"sqlite:///{first}/treadle.db")
    shared = f"sqlite:///{tmp_path}/shared.db"
    third = filled(tmp_path / "third", database=shared)
    with pytest.raises(Conflict, match=f"is the database of the home '{third}'"):
        settings_for(tmp_path / "second", database=shared)
    third.rename(tmp_path / "fourth")
    assert settings_for(tmp_path / "fourth").database == shared
    write_whole(tmp_path / "shared.db.home", str(tmp_path / "gone").encode())
    assert settings_for(tmp_path / "fourth").database == shared


def test_a_relative_path_means_the_same_file_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_for(tmp_path / "home", database="sqlite:///records.db")
    assert settings.database == f"sqlite:///{tmp_path}/records.db"


def test_postgresql_is_opened_with_a_password_that_nothing_repeats(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_DATABASE_PASSWORD", "hid/den@")
    url = postgres_url.replace("postgres:@", "postgres:$TREADLE_DATABASE_PASSWORD@")
    assert url != postgres_url
    home = filled(tmp_path / "home", database=url)
    with Embedded(settings_for(home)) as platform:
        assert platform.database.url == url
        assert platform.address["TREADLE_DATABASE_PASSWORD"] == "hid/den@"
        assert "hid" not in json.dumps(platform.settings.environment())
    assert "hid" not in (home / "settings.json").read_text()
    monkeypatch.setenv("TREADLE_DATABASE", postgres_url.replace("postgres:@", "another:x@"))
    assert settings_for(home).database == "$TREADLE_DATABASE"  # the same place, another user


@pytest.mark.parametrize("open_store", [Store, stores_at, store_at])
def test_a_password_in_an_argument_is_refused(open_store: Callable[[str], Any]) -> None:
    with pytest.raises(Invalid, match="holds a password") as refused:
        open_store("s3://b/p?secret_access_key=hidden")
    assert "hidden" not in refused.value.message


def test_a_child_whose_variable_names_another_place_does_not_open_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_BLOBS", f"file://{tmp_path}/one")
    settings = settings_for(tmp_path / "home")
    monkeypatch.setenv("TREADLE_SETTINGS", settings.environment()["TREADLE_SETTINGS"])
    assert from_environment() == settings
    monkeypatch.setenv("TREADLE_BLOBS", f"file://{tmp_path}/two")
    with pytest.raises(Conflict, match="Start 'treadle up' again"):
        from_environment()


@pytest.mark.parametrize("process", ["treadle.platform.worker", "treadle.cli.server"])
def test_a_process_that_is_refused_says_why_in_one_line(tmp_path: Path, process: str) -> None:
    home = tmp_path / "home"
    settings = settings_for(home, blobs=f"file://{tmp_path}/one")
    moved = replace(settings, blobs="$TREADLE_BLOBS")
    environment = {**os.environ, **moved.environment(), "TREADLE_BLOBS": f"file://{tmp_path}/two"}
    ended = subprocess.run(
        [sys.executable, "-m", process, "127.0.0.1", "0"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == REFUSED
    (line,) = ended.stderr.splitlines()
    assert "refused: The home's blobs is " in line and "Start 'treadle up' again" in line
