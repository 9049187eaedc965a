"""Container images without a container engine: layers, a config and a manifest after the OCI image specification 1.1.

The same contents give the same bytes, digest included: times are zero, owners are named, entries are in order.
"""

import gzip
import hashlib
import io
import json
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from treadle.kernel.entity import Entity

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_EPOCH = "1970-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_LEVEL = 3  # gzip: twice as fast as 6, a twentieth larger


@dataclass(frozen=True)
class Entry:
    """One path of a layer: a file's content, a folder (no content), or a link to another path."""

    path: str
    content: Path | bytes | None = None
    link: str | None = None
    mode: int = 0o644
    owner: int = 0


@dataclass(frozen=True)
class Layer:
    """What is laid over the layers before it; ``what`` says in the image's history what it holds."""

    what: str
    entries: Sequence[Entry]


class ImageConfig(Entity):
    """How a container of the image is started."""

    user: str
    entrypoint: list[str]
    command: list[str]
    environment: dict[str, str]
    port: int
    volumes: list[str]
    labels: dict[str, str]


class Image(Entity):
    """An image that was written. ``digest`` is its manifest's, ``bytes`` the archive's size."""

    file: str
    tag: str
    digest: str
    bytes: int
    layers: list[str]


def write_archive(
    to: Path,
    tag: str,
    layers: Sequence[Layer],
    config: ImageConfig,
    told: Callable[[str, int, int], None],
) -> Image:
    """Write an image as one file that ``podman load``, ``docker load`` and ``skopeo`` take: an OCI layout in a tar.

    It appears whole or not at all. ``told`` hears what is being done, how far it is, and how far it goes.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as folder:
        blobs = _Blobs(Path(folder))
        written: list[dict[str, Any]] = []
        contents: list[str] = []
        for place, layer in enumerate(layers):
            told(layer.what, place, len(layers))
            descriptor, content = blobs.layer(layer)
            written.append(descriptor)
            contents.append(content)
        made = blobs.document(_CONFIG, _config(config, layers, contents))
        manifest = blobs.document(
            _MANIFEST,
            {"schemaVersion": 2, "mediaType": _MANIFEST, "config": made, "layers": written},
        )
        named = {**manifest, "annotations": {"org.opencontainers.image.ref.name": tag}}
        documents = {
            "oci-layout": {"imageLayoutVersion": "1.0.0"},
            "index.json": {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [named]},
            "manifest.json": [_for_docker(tag, made, written)],
        }
        aside = Path(folder, "archive")
        told("the archive", len(layers), len(layers))
        with tarfile.open(aside, "w") as archive:
            for name, document in documents.items():
                _add(archive, Entry(name, _encoded(document)))
            for blob in sorted((Path(folder) / "blobs" / "sha256").iterdir()):
                _add(archive, Entry(f"blobs/sha256/{blob.name}", blob))
        aside.replace(to)
    size = to.stat().st_size
    return Image(
        file=str(to),
        tag=tag,
        digest=manifest["digest"],
        bytes=size,
        layers=[d["digest"] for d in written],
    )


class _Blobs:
    """An OCI layout's contents, by their SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "blobs" / "sha256"
        self._folder.mkdir(parents=True)

    def document(self, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        content = _encoded(value)
        digest = hashlib.sha256(content).hexdigest()
        (self._folder / digest).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def layer(self, layer: Layer) -> tuple[dict[str, Any], str]:
        """The layer's descriptor, and the digest of what it is unpacked."""
        aside = self._folder.parent / "layer"
        with aside.open("wb") as file:
            packed = _Hashed(file)
            with gzip.GzipFile(
                filename="", mode="wb", fileobj=packed, mtime=0, compresslevel=_LEVEL
            ) as squeezed:
                unpacked = _Hashed(squeezed)  # type: ignore[arg-type]
                with tarfile.open(
                    fileobj=unpacked, mode="w|", format=tarfile.PAX_FORMAT
                ) as archive:  # type: ignore[call-overload]
                    for entry in _with_folders(layer.entries):
                        _add(archive, entry)
        digest = packed.digest()
        shutil.move(aside, self._folder / digest)
        size = (self._folder / digest).stat().st_size
        return {
            "mediaType": _LAYER,
            "digest": f"sha256:{digest}",
            "size": size,
        }, f"sha256:{unpacked.digest()}"


class _Hashed:
    """Writes on to a file and takes the digest of what passes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self._hash.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> str:
        return self._hash.hexdigest()


def _with_folders(entries: Iterable[Entry]) -> list[Entry]:
    """The entries in order, each behind the folders it lies in."""
    found = {entry.path: entry for entry in entries}
    for path in list(found):
        for folder in Path(path).parents:
            found.setdefault(folder.as_posix(), Entry(folder.as_posix(), mode=0o755))
    found.pop(".", None)
    return [found[path] for path in sorted(found)]


def _add(archive: tarfile.TarFile, entry: Entry) -> None:
    about = tarfile.TarInfo(entry.path)
    about.mode, about.uid, about.gid = entry.mode, entry.owner, entry.owner
    if entry.link is not None:
        about.type, about.linkname, about.mode = tarfile.SYMTYPE, entry.link, 0o777
        archive.addfile(about)
    elif entry.content is None:
        about.type = tarfile.DIRTYPE
        archive.addfile(about)
    elif isinstance(entry.content, bytes):
        about.size = len(entry.content)
        archive.addfile(about, io.BytesIO(entry.content))
    else:
        with entry.content.open("rb") as file:
            about.size = entry.content.stat().st_size
            archive.addfile(about, file)


def _config(config: ImageConfig, layers: Sequence[Layer], contents: list[str]) -> dict[str, Any]:
    return {
        "created": _EPOCH,
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "User": config.user,
            "Entrypoint": config.entrypoint,
            "Cmd": config.command,
            "Env": [f"{name}={value}" for name, value in config.environment.items()],
            "ExposedPorts": {f"{config.port}/tcp": {}},
            "Volumes": {volume: {} for volume in config.volumes},
            "Labels": config.labels,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": contents},
        "history": [
            {"created": _EPOCH, "created_by": f"treadle build: {layer.what}"} for layer in layers
        ],
    }


def _for_docker(tag: str, config: dict[str, Any], layers: list[dict[str, Any]]) -> dict[str, Any]:
    """What Docker looked for before it knew OCI layouts."""
    path = "blobs/sha256/{}".format
    return {
        "Config": path(config["digest"].partition(":")[2]),
        "RepoTags": [tag],
        "Layers": [path(layer["digest"].partition(":")[2]) for layer in layers],
    }


def _encoded(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
