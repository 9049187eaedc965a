"""Restores what another copy has. What is damaged is moved to ``HOME/damaged``, never deleted."""

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from treadle.kernel.entity import replace
from treadle.kernel.errors import TreadleError
from treadle.platform.seal import DAMAGED, HEAD, SEAL
from treadle.platform.verify.contents import Contents
from treadle.platform.verify.files import DAY_AGAIN, SERVERS
from treadle.platform.verify.findings import Collected, Finding
from treadle.ports.blobs import Blobs, digest_of
from treadle.ports.damage import Mendable
from treadle.ports.tree import fetch_tree, made_whole

_CONTENT = "content "


class Repair:
    """Restores contents from other copies, and copies from contents.

    Args:
        home: The home's folder.
        blobs: The home's blob store.
        sources: Other blob stores, asked in this order before the home's own copies.
    """

    def __init__(self, home: Path, blobs: Blobs, sources: list[Blobs]) -> None:
        self._home, self._blobs, self._sources = home, blobs, sources
        self._aside = home / DAMAGED / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}"

    def contents(self, contents: Contents, found: Collected) -> None:
        """Restore damaged and missing contents.

        Args:
            contents: What the store holds.
            found: Has what is damaged, and takes what was repaired.
        """
        wanted = {
            finding.thing.removeprefix(_CONTENT)
            for finding in found.findings
            if finding.thing.startswith(_CONTENT)
        }
        copies = self._copies(wanted, found)
        for place, finding in enumerate(found.findings):
            digest = finding.thing.removeprefix(_CONTENT)
            if digest not in wanted:
                continue
            with tempfile.TemporaryDirectory(dir=self._home, prefix=".") as folder:
                copy = self._copy(digest, copies, Path(folder, "copy"))
                if copy is not None and self._replace(digest, copy, digest in contents.damaged):
                    found.findings[place] = _repaired(finding)
                    contents.damaged.pop(digest, None)
                    contents.whole.add(digest)

    def packages(self, found: Collected) -> None:
        """Fetch damaged packages of servers anew, and move damaged copies in the cache away.

        Args:
            found: Has what is damaged, and takes what was repaired.
        """
        for place, finding in enumerate(found.findings):
            path = self._home / finding.thing
            parts = Path(finding.thing).parts
            try:
                if parts[0] in SERVERS and "packages" in parts and path.is_dir():
                    with tempfile.TemporaryDirectory() as folder:
                        fetch_tree(self._blobs, path.name, Path(folder, "trial"))
                    self.move_aside(path)
                    with made_whole(path) as aside:
                        fetch_tree(self._blobs, path.name, aside)
                elif _is_made_anew(finding) and path.exists():
                    self.move_aside(path)
                else:
                    continue
            except (TreadleError, OSError):
                continue
            found.findings[place] = _repaired(finding)

    def move_aside(self, path: Path) -> None:
        """Move a file or a folder of the home to the damaged ones.

        Args:
            path: The file or folder.
        """
        to = self._place(path.relative_to(self._home))
        shutil.move(path, to)

    def _place(self, name: Path) -> Path:
        to = self._aside / name
        to.parent.mkdir(parents=True, exist_ok=True)
        (self._home / DAMAGED).chmod(0o700)
        return to

    def _copy(self, digest: str, copies: dict[str, Path], to: Path) -> Path | None:
        """A whole copy of a content, from wherever there is one."""
        for source in self._sources:
            try:
                if source.has(digest):
                    source.fetch(digest, to)
                    return to
            except (TreadleError, OSError):
                continue
        return copies.get(digest)

    def _replace(self, digest: str, copy: Path, damaged: bool) -> bool:
        if damaged:
            if not isinstance(self._blobs, Mendable):
                return False
            self._blobs.move_aside(digest, self._place(Path("blobs", digest)))
        return self._blobs.put(copy) == digest

    def _copies(self, wanted: set[str], found: Collected) -> dict[str, Path]:
        """Files of packages and cached trees that have wanted contents."""
        copies: dict[str, Path] = {}
        for file in self._own_files() if wanted else ():
            found.progress("copies of contents", len(copies), len(wanted))
            digest = digest_of(file)
            if digest in wanted:
                copies.setdefault(digest, file)
        return copies

    def _own_files(self) -> Iterator[Path]:
        for folder in [*(f"{part}/*/packages" for part in SERVERS), "cache"]:
            yield from (file for file in self._home.glob(f"{folder}/**/*") if file.is_file())


def _is_made_anew(finding: Finding) -> bool:
    """Whether what is damaged is made again by itself once it is away."""
    cached = Path(finding.thing).parts[0] == "cache"
    return cached or finding.thing in (HEAD, SEAL) or finding.remedy == DAY_AGAIN


def _repaired(finding: Finding) -> Finding:
    return replace(finding, repaired=True, remedy="It was restored from another copy.")
