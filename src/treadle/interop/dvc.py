"""Reads datasets out of DVC repositories, and writes versions into them.

A repository names what it tracks in ``*.dvc`` files and in ``dvc.lock``: by a path, and by the MD5
of a file or of a list of files (``….dir``). Contents are in the cache, ``.dvc/cache/files/md5``
(and ``.dvc/cache`` before DVC 3), or only in the working copy.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from treadle.data.model import DatasetVersion
from treadle.data.service import Data
from treadle.kernel.entity import Entity, from_json
from treadle.kernel.errors import Corrupt, Invalid, NotFound, missing_extra
from treadle.kernel.files import replacing, write_whole
from treadle.ports.blobs import Blobs, adding, portions_of
from treadle.ports.manifest import ManifestWriter, entries

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_BLOCK_BYTES = 1 << 20


class Out(NamedTuple):
    """What a repository tracks at one path.

    Attributes:
        path: The file or folder in the working copy, absolute.
        name: What the dataset is called here.
        md5: MD5 of the content; of a folder, of the list of its files, with ``.dir`` at the end.
        told_in: The file that says so.
    """

    path: Path
    name: str
    md5: str
    told_in: Path


class TakenData(Entity):
    """What was taken over of a repository.

    Attributes:
        versions: The versions of datasets.
        left: Why other paths were left, by path.
    """

    versions: list[DatasetVersion]
    left: dict[str, str]


def outs_of(repository: Path) -> list[Out]:
    """List what a repository tracks, in the order of its files.

    Args:
        repository: Its root, with the folder ``.dvc``.

    Raises:
        NotFound: It is no DVC repository.
        Invalid: One of its files is not what DVC writes.
    """
    if not (repository / ".dvc").is_dir():
        raise NotFound(f"'{repository}' is no DVC repository: it has no folder '.dvc'.")
    root = repository.resolve()
    found = []
    for file in sorted([*root.rglob("*.dvc"), *root.rglob("dvc.lock")]):
        if not file.is_file() or any(part.startswith(".") for part in file.relative_to(root).parts):
            continue
        for out in _outs_in(_yaml(file), file):
            path = (file.parent / str(out.get("wdir", ".")) / str(out.get("path"))).resolve()
            md5 = str(out.get("md5", ""))
            if not path.is_relative_to(root) or not _MD5.fullmatch(md5):
                raise Invalid(f"'{file}' tracks '{out.get('path')}' in a way that DVC does not.")
            name = _NAME.sub("-", path.relative_to(root).as_posix())
            found.append(Out(path, name, md5, file))
    return found


def import_dvc(repository: Path, project: str, data: Data, blobs: Blobs) -> TakenData:
    """Take the present content of everything that a repository tracks.

    What comes from the cache or the working copy is verified by its MD5.

    Args:
        repository: Its root.
        project: The project of the datasets.
        data: Records the versions.
        blobs: Where their contents go.

    Raises:
        NotFound: It is no DVC repository.
        Invalid: One of its files is not what DVC writes.
    """
    caches = _caches(repository)
    versions, left = [], {}
    for out in outs_of(repository):
        try:
            digest = _store(blobs, out, caches)
        except (NotFound, Corrupt, Invalid) as error:
            left[str(out.path)] = str(error)
            continue
        versions.append(data.add(project=project, name=out.name, digest=digest))
    return TakenData(versions=versions, left=left)


def write_dvc(blobs: Blobs, digest: str, repository: Path, name: str) -> Path:
    """Write a version into a repository: its contents into the cache, and ``NAME.dvc``.

    ``dvc checkout NAME.dvc`` then makes the files.

    Args:
        blobs: Where the version is stored.
        digest: Digest of its tree.
        repository: The root, with the folder ``.dvc``.
        name: Path of the dataset in the repository.

    Returns:
        The ``.dvc`` file.

    Raises:
        NotFound: It is no DVC repository, or a content is not stored.
        Invalid: The name leaves the repository, or DVC cannot hold what the version holds.
    """
    if not (repository / ".dvc").is_dir():
        raise NotFound(f"'{repository}' is no DVC repository. Make one with: dvc init")
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or not place.name:
        raise Invalid(f"'{name}' is no path within a repository.")
    cache, listed, size = _caches(repository)[0], [], 0
    for path, file in entries(blobs, digest):
        if file.link or path.endswith("/"):
            raise Invalid(f"'{path}' is a link or an empty folder, which DVC does not keep.")
        listed.append({"md5": _to_cache(blobs, file.digest, cache), "relpath": path})
        size += file.bytes
    is_file = len(listed) == 1 and listed[0]["relpath"] == place.name
    out: dict[str, Any] = {"md5": listed[0]["md5"] if is_file else "", "size": size}
    if not is_file:
        listing = _listing(listed)
        out |= {"md5": f"{_md5(listing)}.dir", "nfiles": len(listed)}
        _put(cache, out["md5"], listing)
    target = repository / f"{place}.dvc"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, _dump({"outs": [{**out, "hash": "md5", "path": place.name}]}))
    return target


def _listing(files: list[dict[str, str]]) -> bytes:
    """The list of a folder's files as DVC writes it: JSON with spaces, in ASCII."""
    import json

    return json.dumps(sorted(files, key=lambda file: file["relpath"])).encode()


def _outs_in(told: Any, file: Path) -> Iterator[dict[str, Any]]:
    """The outs of a ``.dvc`` file, or of all stages of a ``dvc.lock``."""
    stages = [told] if file.suffix == ".dvc" else list((told.get("stages") or {}).values())
    for stage in stages:
        if not isinstance(stage, dict):
            raise Invalid(f"'{file}' is not what DVC writes.")
        for out in stage.get("outs") or ():
            if not isinstance(out, dict):
                raise Invalid(f"'{file}' is not what DVC writes.")
            yield {"wdir": stage.get("wdir", "."), **out}


def _store(blobs: Blobs, out: Out, caches: list[Path]) -> str:
    """Store what an out tracks as a tree."""
    files = {out.path.name: out.md5}
    if out.md5.endswith(".dir"):
        listing = _cached(caches, out.md5)
        if listing is None:
            raise NotFound("its list of files is not in the cache. Fetch it with: dvc fetch")
        content = listing.read_bytes()
        if _md5(content) != out.md5.removesuffix(".dir"):
            raise Corrupt(f"the list of its files in the cache, {listing.name}, is damaged")
        files = {
            str(file.get("relpath")): str(file.get("md5"))
            for file in from_json(content, list[dict[str, Any]])
        }
    base = out.path if out.md5.endswith(".dir") else out.path.parent
    with tempfile.TemporaryDirectory() as folder, adding(blobs) as add:
        manifest = Path(folder, "manifest")
        with manifest.open("wb") as target:
            writer = ManifestWriter(target)
            for path, md5 in sorted(files.items()):
                source = _found(caches, base, path, md5)
                writer.add(path, add(source), source.stat().st_size)
            writer.end()
        return add(manifest)


def _found(caches: list[Path], base: Path, path: str, md5: str) -> Path:
    """The file that holds a content: in the cache, else in the working copy."""
    if not _MD5.fullmatch(md5) or ".." in PurePosixPath(path).parts or path.startswith("/"):
        raise Invalid(f"it lists '{path}' in a way that DVC does not")
    cached = _cached(caches, md5)
    if cached is not None and _md5(cached) == md5:
        return cached
    file = base / path
    if file.is_file() and _md5(file) == md5:
        return file
    if cached is not None:
        raise Corrupt(f"'{path}' is damaged in the cache. Fetch it again with: dvc fetch")
    raise NotFound(f"'{path}' is neither in the cache nor unchanged. Fetch it with: dvc fetch")


def _caches(repository: Path) -> list[Path]:
    """Where contents may be: as DVC 3 lays them out, then as earlier ones did."""
    config = ConfigParser(strict=False)
    for name in ("config", "config.local"):
        config.read(repository / ".dvc" / name)
    folder = repository / ".dvc" / config.get("cache", "dir", fallback="cache")
    return [folder / "files" / "md5", folder]


def _cached(caches: list[Path], md5: str) -> Path | None:
    for cache in caches:
        file = cache / md5[:2] / md5[2:]
        if file.is_file():
            return file
    return None


def _to_cache(blobs: Blobs, digest: str, cache: Path) -> str:
    """Copy a content into the cache; gives its MD5."""
    hasher = hashlib.md5(usedforsecurity=False)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        aside = Path(folder, "content")
        with aside.open("wb") as file:
            for portion in portions_of(blobs, digest):
                hasher.update(portion)
                file.write(portion)
        md5 = hasher.hexdigest()
        target = cache / md5[:2] / md5[2:]
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            with replacing(target) as place:
                aside.rename(place)
                place.chmod(0o444)
    return md5


def _put(cache: Path, md5: str, content: bytes) -> None:
    target = cache / md5[:2] / md5[2:]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content, mode=0o444)


def _md5(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.md5(content, usedforsecurity=False).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, _hasher).hexdigest()


def _hasher() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _yaml(file: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise missing_extra("import", "Reading and writing DVC's files") from error
    try:
        told = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"'{file}' is no YAML.") from error
    if not isinstance(told, dict):
        raise Invalid(f"'{file}' is not what DVC writes.")
    return told


def _dump(told: dict[str, Any]) -> bytes:
    try:
        import yaml
    except ImportError as error:
        raise missing_extra("import", "Reading and writing DVC's files") from error
    text: str = yaml.safe_dump(told, sort_keys=False)
    return text.encode()
