"""Checks a folder that is an export or holds backups."""

from pathlib import Path

from treadle.interop.archive import MANIFEST, damage_in
from treadle.kernel.errors import Invalid, NotFound, TreadleError
from treadle.platform.backup.store import MANIFESTS, Store, with_scheme
from treadle.platform.verify.findings import Collected, Progress, Verification

_EXPORT_AGAIN = "Export it again: treadle export DIR."
_BACK_UP_AGAIN = "Remove it, and back the home up again: treadle backup URL."


def verify_path(
    path: str, key_file: Path | None = None, progress: Progress = lambda *_: None
) -> Verification:
    """Check an export, or all backups at a place.

    Args:
        path: A folder, or the URL of backups.
        key_file: The key file of encrypted backups.
        progress: Called with what is checked, how many are done and how many there are.

    Raises:
        NotFound: There is neither.
    """
    found = Collected(progress)
    local = with_scheme(path).startswith("file://")
    folder = Path(path.removeprefix("file://"))
    if local and (folder / MANIFEST).exists():
        _check_archive(folder, found)
    elif not local or (folder / MANIFESTS).is_dir():
        _check_backups(Store(path, key_file), found)
    else:
        raise NotFound(f"There is no export and no backup at '{path}'.")
    return found.result()


def _check_archive(folder: Path, found: Collected) -> None:
    found.count("exports")
    try:
        for file, wrong in damage_in(folder, found.progress):
            found.find(str(file), wrong, affects=["the export"], remedy=_EXPORT_AGAIN)
    except (TreadleError, OSError) as error:
        file = folder / MANIFEST
        found.find(str(file), error, affects=["the export"], remedy=_EXPORT_AGAIN)


def _check_backups(store: Store, found: Collected) -> None:
    """Check each manifest, and everything that one of them names."""
    users: dict[str, list[str]] = {}
    count = 0
    for name in store.manifests.digests():
        count += 1
        try:
            manifest = store.read(name)
        except Invalid as error:
            if "--key-file" not in error.message:
                found.find(f"backup {name[:12]}", error, affects=["that backup"])
            else:
                found.note(f"Backup {name[:12]} is encrypted: what it names was not looked for.")
            continue
        except (TreadleError, OSError) as error:
            found.find(f"backup {name[:12]}", error, affects=["that backup"], remedy=_BACK_UP_AGAIN)
            continue
        told = f"the backup of {manifest.at:%Y-%m-%d %H:%M} (event {manifest.head.number})"
        for stored in manifest.stored():
            users.setdefault(stored, []).append(told)
    found.count("backups", count)
    if not count:
        found.note("No backup here is complete: there is no manifest.")
    there = sorted(store.contents.digests())
    for done, digest in enumerate(there, start=1):
        found.count("stored contents")
        found.progress("stored contents", done, len(there))
        try:
            store.contents.get(digest)
        except (TreadleError, OSError) as error:
            affects = users.get(digest, ["no backup that can be read"])
            found.find(f"stored content {digest}", error, affects=affects, remedy=_BACK_UP_AGAIN)
    for digest in sorted(users.keys() - set(there)):
        found.find(f"stored content {digest}", "It is missing.", affects=users[digest])
