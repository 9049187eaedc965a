"""Runs all checks of a home, each for itself: what one cannot read stops no other."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from treadle.kernel.errors import TreadleError
from treadle.kernel.keys import Keys
from treadle.platform.addresses import backend
from treadle.platform.seal import write_seal
from treadle.platform.settings import FILE, Settings, settings_for
from treadle.platform.signing import KEY, read_keys
from treadle.platform.supervisor import running
from treadle.platform.verify.contents import (
    Contents,
    affected_by,
    check_contents,
    check_names,
    read_contents,
)
from treadle.platform.verify.files import check_cache, check_seal, check_servers, check_spools
from treadle.platform.verify.findings import Collected, Progress, Verification
from treadle.platform.verify.records import (
    EVERYTHING,
    check_entities,
    check_events,
    check_pages,
    check_rows,
)
from treadle.platform.verify.repair import Repair
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import Blobs
from treadle.ports.content import NamedContent

T = TypeVar("T")
Names = dict[str, list[NamedContent]]


def verify_home(
    home: Path,
    *,
    repair: bool = False,
    sources: list[Blobs] | None = None,
    progress: Progress = lambda *_: None,
) -> Verification:
    """Check everything that a home holds.

    Nothing is locked: a server may go on meanwhile. A home on which nothing runs and which is sound
    is sealed.

    Args:
        home: The home's folder.
        repair: Whether to restore what another copy has.
        sources: Blob stores that may have what is damaged.
        progress: Called with what is checked, how many are done and how many there are.
    """
    found = Collected(progress)
    keys = _keys(home, found)
    if keys:
        check_seal(home, keys, found)
    settings = _settings(home, found)
    platform = _platform(settings, found)
    names: Names = {}
    packages: dict[str, str] = {}
    days: dict[tuple[str, str], str] = {}
    if platform is not None:
        _records(platform, keys, found)
        names = check_names(platform, found)
        versions = platform.registry.find
        known = _tried(lambda: versions(limit=EVERYTHING), "versions", found) or []
        packages = {version.ref: version.package for version in known}
        opened = platform
        days = _tried(lambda: _days(opened), "days of inference logs", found) or {}
    blobs = _tried(lambda: _blobs(settings), "the blob store", found)
    contents = Contents(set(), {}, {})
    if blobs is not None:
        contents = _tried(lambda: read_contents(blobs, found), "the blob store", found) or contents
        check_contents(contents, names, found)
    _tried(lambda: check_servers(home, packages, days, found), "servers", found)
    _tried(lambda: check_cache(home, contents, found), "the cache", found)
    _tried(lambda: check_spools(home, found), "spools", found)
    _name_affected(found, contents, names)
    if repair and blobs is not None:
        mend = Repair(home, blobs, sources or [])
        mend.contents(contents, found)
        mend.packages(found)
    result = found.result()
    if platform is not None:
        if not result.failed and keys:
            platform.note_head()
        platform.close()
        if not result.failed and keys and running(home) is None:
            write_seal(home, keys)
    return result


def _records(platform: Embedded, keys: Keys | None, found: Collected) -> None:
    database = platform.database
    _tried(lambda: check_pages(database, found), "the database", found)
    _tried(lambda: check_rows(database, found), "the database", found)
    _tried(lambda: check_entities(platform, found), "the database", found)
    if keys:
        _tried(lambda: check_events(platform, keys, found), "the event log", found)


def _days(platform: Embedded) -> dict[tuple[str, str], str]:
    """The days of inference logs that are in the blob store."""
    return {
        (endpoint.name, kept.day): kept.digest
        for endpoint in platform.delivery.endpoints()
        for kept in platform.monitoring.log_files(endpoint=endpoint.name, limit=EVERYTHING)
    }


def _keys(home: Path, found: Collected) -> Keys | None:
    """The signing keys; None where they cannot be had."""
    try:
        keys = read_keys(home)
        found.count("signing keys", len(keys.keys))
        return keys
    except FileNotFoundError:
        if (home / "treadle.db").exists() or (home / FILE).exists():
            found.find(
                KEY,
                "It is missing.",
                affects=["every approval", "the head of the event log", "the seal"],
                remedy="Put the key back that was kept apart from the backups.",
            )
    except (TreadleError, OSError) as error:
        found.find(KEY, error, affects=["every approval"])
    return None


def _settings(home: Path, found: Collected) -> Settings:
    found.count("settings")
    try:
        return settings_for(home)
    except (TreadleError, OSError) as error:
        found.find(FILE, error, affects=["which database, blob store and target the home has"])
        return Settings(home=str(home))


def _platform(settings: Settings, found: Collected) -> Embedded | None:
    """The home, opened; None where it cannot be opened, or would be made anew."""
    file = settings.folder / "treadle.db"
    if not settings.database and not file.exists():
        found.find("treadle.db", "It is missing.", affects=["every record of the home"])
        return None
    if any(finding.thing == KEY for finding in found.findings):
        found.note("Without its key the home is not opened: its records were not checked.")
        return None
    try:
        return Embedded(settings)
    except Exception as error:  # whatever the driver says of a damaged file
        found.find("the database", f"It cannot be opened: {error}")
        return None


def _blobs(settings: Settings) -> Blobs:
    store: Blobs = backend("blobs", settings.address("blobs"))
    return store


def _name_affected(found: Collected, contents: Contents, names: Names) -> None:
    """Say of damaged packages which versions they are."""
    for place, finding in enumerate(found.findings):
        path = Path(finding.thing)
        if "packages" in path.parts and names:
            others = affected_by(path.name, contents, names)
            affects = [*finding.affects, *(by for by in others if "version" in by)]
            found.findings[place] = type(finding)(
                thing=finding.thing, wrong=finding.wrong, affects=affects, remedy=finding.remedy
            )


def _tried(check: Callable[[], T], what: str, found: Collected) -> T | None:
    """Run a check; where it fails itself, that is a finding."""
    try:
        return check()
    except Exception as error:
        found.find(what, f"It cannot be read: {error}")
        return None
