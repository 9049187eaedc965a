"""Checks the files of a home: those that are sealed, packages of endpoints, logs, spools."""

import time
from collections.abc import Iterator
from pathlib import Path

from treadle.kernel.entity import from_json
from treadle.kernel.errors import Corrupt, TreadleError
from treadle.kernel.keys import Keys
from treadle.kernel.process import is_held
from treadle.platform.seal import SEAL, Seal, is_as_sealed, read_seal
from treadle.platform.verify.contents import Contents
from treadle.platform.verify.findings import Collected
from treadle.ports.blobs import digest_of
from treadle.ports.target import EndpointSpec
from treadle.ports.tree import verify_tree
from treadle.recording.lines import Line
from treadle.recording.outbox import Sent
from treadle.recording.point_records import RECORD_BYTES, RECORDS, VOID, read_page
from treadle.serving.inference_log import SUFFIX
from treadle.serving.log_batch import gaps
from treadle.serving.log_days import DAY_SUFFIX, read_day, sources_of
from treadle.tracking.segments import unpack

SERVERS = ("endpoints", "serving")
"""The folders of a home with a folder for each model that is served."""
_AGAIN = "The server fetches it again: treadle verify --repair moves the damaged one away."

DAY_AGAIN = "The blob store has it too: treadle verify --repair moves the damaged one away."


def check_seal(home: Path, keys: Keys, found: Collected) -> None:
    """Compare each sealed file that nobody has written to since with its digest.

    Args:
        home: The home's folder.
        keys: The home's signing keys.
        found: Takes what is damaged.
    """
    try:
        seal = read_seal(home, keys)
    except (TreadleError, OSError) as error:
        found.find(SEAL, error, remedy="If all else is well: treadle verify --repair seals anew.")
        return
    if seal is None:
        found.note("This home was never sealed: values in files without checksums are not checked.")
        return
    changed = 0
    for done, (name, sealed) in enumerate(seal.files.items()):
        file = home / name
        found.progress("sealed files", done, len(seal.files))
        if is_as_sealed(file, sealed):
            found.count("sealed files")
            if digest_of(file) != sealed.digest and is_as_sealed(file, sealed):
                wrong = "It has changed though nobody has written to it since it was sealed."
                found.find(name, wrong, affects=_affected_by(name))
        elif file.exists():
            changed += 1
        elif _is_lost(home, name):
            found.find(name, "It is missing.", affects=_affected_by(name))
    if changed:
        found.note(
            f"{changed:,} files were written since the home was sealed on {seal.at:%Y-%m-%d %H:%M}:"
            " of them only the form is checked. 'treadle down' seals a home."
        )
    _note_database(seal, home, found)


def check_servers(
    home: Path, packages: dict[str, str], days: dict[tuple[str, str], str], found: Collected
) -> None:
    """Check specs and packages of endpoints, and of models that ``treadle serve`` runs.

    Args:
        home: The home's folder.
        packages: The package of each version, as the registry has it.
        days: The digest of each day of an inference log that is in the blob store too, by endpoint
            and date.
        found: Takes what is damaged.
    """
    folders = [folder for part in SERVERS for folder in sorted((home / part).glob("*/"))]
    for done, folder in enumerate(folders):
        found.progress(f"server '{folder.name}'", done, len(folders))
        for file in folder.glob("spec.json"):
            _check_spec(file, packages, found)
        for package in sorted((folder / "packages").glob("*/")):
            if package.name.startswith("."):
                continue
            found.count("packages of servers")
            try:
                verify_tree(package, package.name)
            except (TreadleError, OSError) as error:
                affects = [f"live endpoint '{folder.name}'"]
                found.find(_named(package, home), error, affects=affects, remedy=_AGAIN)
        _check_log(folder, home, days if folder.parent.name == SERVERS[0] else {}, found)


def check_cache(home: Path, contents: Contents, found: Collected) -> None:
    """Compare cached trees with the trees that they are copies of.

    Args:
        home: The home's folder.
        contents: What the blob store holds.
        found: Takes what is damaged.
    """
    for folder in sorted((home / "cache").glob("*/")):
        tree = contents.trees.get(folder.name)
        for name, file in tree.files.items() if tree else ():
            if not file.link:
                _check_copy(folder / name, file.digest, home, found)
    for copy in sorted((home / "cache" / "elements").glob("*/*")):
        _check_copy(copy, copy.parent.name, home, found)


def _check_copy(copy: Path, digest: str, home: Path, found: Collected) -> None:
    if not copy.is_file():
        return
    found.count("cached files")
    if digest_of(copy) != digest:
        wrong = "This copy is damaged."
        found.find(_named(copy, home), wrong, remedy=_AGAIN.replace("server", "next"))


def check_spools(home: Path, found: Collected) -> None:
    """Read everything that waits in spools.

    Args:
        home: The home's folder.
        found: Takes what cannot be read.
    """
    for folder in sorted((home / "spool").glob("*/")):
        found.count("spools")
        live = is_held(folder / "writing")
        run = [f"run '{folder.name.partition('.')[0]}'"]
        for part, wrong in _spool_faults(folder, live):
            found.find(_named(folder / part, home), wrong, affects=run)


def _check_spec(file: Path, packages: dict[str, str], found: Collected) -> None:
    found.count("specs of servers")
    thing = f"{file.parent.parent.name}/{file.parent.name}/{file.name}"
    affects = [f"live endpoint '{file.parent.name}'"]
    remedy = "Remove it; the next 'treadle up' writes it anew."
    try:
        spec = from_json(file.read_bytes(), EndpointSpec)
    except (TreadleError, OSError) as error:
        found.find(thing, error, affects=affects, remedy=remedy)
        return
    if spec.name != file.parent.name:
        found.find(thing, f"It is that of '{spec.name}'.", affects=affects, remedy=remedy)
    for variant in spec.variants:
        known = packages.get(variant.version)
        if known is not None and known != variant.package:
            wrong = f"It names a package that is not that of '{variant.version}'."
            found.find(thing, wrong, affects=affects, remedy=remedy)


def _check_log(
    folder: Path, home: Path, days: dict[tuple[str, str], str], found: Collected
) -> None:
    """Check the inference log below a server's folder."""
    affects = [f"the inference log of endpoint '{folder.name}'"]
    for file in sorted((folder / "log").glob(f"*/*{SUFFIX}")):
        found.count("files of inference logs")
        for wrong in _log_faults(file):
            found.find(_named(file, home), wrong, affects=affects)
    for day in sorted((folder / "log").glob(f"*{DAY_SUFFIX}")):
        found.count("files of inference logs")
        digest = days.get((folder.name, day.stem))
        made = not day.with_suffix("").exists()  # else it is being made of its records
        if made and digest is not None and digest_of(day) != digest:
            wrong = "It is not the file that was made of the day's records."
            found.find(_named(day, home), wrong, affects=affects, remedy=DAY_AGAIN)
            continue
        try:
            sources_of(day)
            for _ in read_day(day, 0, 1 << 62):
                pass
        except Exception as error:  # what the reader of Parquet says
            found.find(_named(day, home), f"It cannot be read: {error}", affects=affects)


def _log_faults(file: Path) -> Iterator[str]:
    """What lies in a log of records and is no whole record."""
    size = -1
    while size != file.stat().st_size:  # a live server may be writing the last one
        size = file.stat().st_size
        content = file.read_bytes()
        found = list(gaps(content))
        if not found or found[-1][1] != len(content):
            break
        time.sleep(0.05)
    for start, end in found:
        yield f"Its bytes {start:,} to {end:,} of {len(content):,} are no whole record."


def _spool_faults(folder: Path, live: bool) -> Iterator[tuple[str, str]]:
    sent = folder / "sent.json"
    try:
        if sent.exists():
            from_json(sent.read_bytes(), Sent)
    except TreadleError as error:
        yield sent.name, error.message
    lines: list[Line] = []
    facts = folder / "facts.jsonl"
    for number, text in enumerate(facts.read_bytes().splitlines(keepends=True), start=1):
        try:
            if text.endswith(b"\n"):
                lines.append(from_json(text, Line))
        except TreadleError as error:
            yield facts.name, f"Line {number} cannot be read: {error.message}"
    for line in lines:
        if line.series is not None:
            try:
                unpack((folder / "series" / line.series.piece).read_bytes())
            except (TreadleError, OSError) as error:
                yield f"series/{line.series.piece}", str(error)
        if line.file is not None and not live:
            copy = folder / "files" / line.file.copy
            if not copy.exists() or copy.stat().st_size != line.file.bytes:
                yield f"files/{line.file.copy}", f"It has not the {line.file.bytes:,} bytes it had."
    keys = sum(len(line.keys) for line in lines)
    for page in sorted(folder.glob("points-*")):
        if page.stat().st_size != RECORDS * RECORD_BYTES:
            yield page.name, "It has not the size of a file of points."
            continue
        held = read_page(page)
        if (held["kind"] > VOID).any() or (not live and (held["key"] >= max(keys, 1)).any()):
            yield page.name, "A record of it is no point."


def _is_lost(home: Path, name: str) -> bool:
    """Whether a sealed file should be there still: those of logs are kept for good."""
    parts = Path(name).parts
    if parts[0] not in SERVERS or "log" not in parts:
        return name in (".signing.key", "settings.json", "treadle.db")
    day = parts[3] if len(parts) > 3 else ""
    file = home.joinpath(*parts[:3], f"{day.removesuffix(DAY_SUFFIX)}{DAY_SUFFIX}")
    try:
        return not file.exists() or parts[-1] not in (*sources_of(file), file.name)
    except Exception as error:  # what the reader of Parquet says
        raise Corrupt(f"'{file}' cannot be read: {error}") from error


def _affected_by(name: str) -> list[str]:
    """What depends on a sealed file."""
    parts = Path(name).parts
    known = {
        "treadle.db": ["every record of the home"],
        ".signing.key": ["every approval", "the head of the event log", "the seal"],
        "settings.json": ["which database, blob store and target the home has"],
    }
    if parts[0] in SERVERS and len(parts) > 2:
        part = "the inference log of " if "log" in parts else "live "
        return [f"{part}endpoint '{parts[1]}'"]
    if parts[0] == "spool" and len(parts) > 1:
        return [f"run '{parts[1].partition('.')[0]}'"]
    if parts[0] == "jobs" and len(parts) > 1:
        return [f"the log of job '{Path(name).stem}'"]
    return known.get(name, [])


def _note_database(seal: Seal, home: Path, found: Collected) -> None:
    sealed = seal.files.get("treadle.db")
    if (home / "treadle.db").exists() and (
        sealed is None or not is_as_sealed(home / "treadle.db", sealed)
    ):
        found.note(
            "The database was written since the home was sealed: its pages, indexes, series and "
            "events are checked, and its other values by their form."
        )


def _named(path: Path, home: Path) -> str:
    return path.relative_to(home).as_posix()
