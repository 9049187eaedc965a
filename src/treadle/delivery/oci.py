"""Writes container images without a container engine, after the OCI image specification 1.1.

The same contents give the same bytes, digest included: times are zero, owners are fixed and
entries are in order.
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
from treadle.kernel.files import replacing

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_FORMAT = tarfile.PAX_FORMAT
_EPOCH = "1970-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_LEVEL = 3  # of gzip: twice as fast as 6, with files a twentieth larger


@dataclass(frozen=True)
class Entry:
    """One path of a layer: a file, a folder, or a link to another path.

    Attributes:
        path: The path in the image, without a leading slash.
        content: A file's content, or the file that holds it; None for a folder or a link.
        link: The path that a link points to; None for files and folders.
        mode: The permissions; those of a link are fixed.
        owner: The number of the owning user and group.
    """

    path: str
    content: Path | bytes | None = None
    link: str | None = None
    mode: int = 0o644
    owner: int = 0


@dataclass(frozen=True)
class Layer:
    """Files that are laid over the layers before.

    Attributes:
        what: What the layer holds, for the image's history.
        entries: The layer's paths; folders above them are added.
    """

    what: str
    entries: Sequence[Entry]


class ImageConfig(Entity):
    """How a container of the image starts.

    Attributes:
        user: The user that the process runs as.
        entrypoint: The command's fixed part.
        command: The arguments that whoever starts a container may replace.
        environment: Environment variables.
        port: The TCP port that the process answers on.
        volumes: Paths that hold state.
        labels: The image's labels.
    """

    user: str
    entrypoint: list[str]
    command: list[str]
    environment: dict[str, str]
    port: int
    volumes: list[str]
    labels: dict[str, str]


class Image(Entity):
    """An image that was written.

    Attributes:
        file: The archive.
        tag: The image's name and tag.
        digest: The digest of its manifest.
        bytes: The archive's size, in bytes.
        layers: The layers' digests.
    """

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
    """Write an image as one file that `podman load`, `docker load` and `skopeo` read.

    The file is an OCI layout in a tar archive. It appears whole or not at all.

    Args:
        to: The file to write.
        tag: The image's name and tag.
        layers: The layers, the lowest first.
        config: How a container starts.
        told: Called with what is written, how many steps are done and how many there are.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as folder:
        blobs = _Blobs(Path(folder))
        written: list[dict[str, Any]] = []
        contents: list[str] = []
        for done, layer in enumerate(layers):
            told(layer.what, done, len(layers))
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
        told("the archive", len(layers), len(layers))
        with replacing(to) as aside, tarfile.open(aside, "w") as archive:
            for name, document in documents.items():
                _add(archive, Entry(name, _encoded(document)))
            for blob in sorted((Path(folder) / "blobs" / "sha256").iterdir()):
                _add(archive, Entry(f"blobs/sha256/{blob.name}", blob))
    size = to.stat().st_size
    return Image(
        file=str(to),
        tag=tag,
        digest=manifest["digest"],
        bytes=size,
        layers=[descriptor["digest"] for descriptor in written],
    )


class _Blobs:
    """An OCI layout's contents by their SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "blobs" / "sha256"
        self._folder.mkdir(parents=True)

    def document(self, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        content = _encoded(value)
        digest = hashlib.sha256(content).hexdigest()
        (self._folder / digest).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    def layer(self, layer: Layer) -> tuple[dict[str, Any], str]:
        """Write a layer. Returns its descriptor, and the digest of its unpacked content."""
        aside = self._folder.parent / "layer"
        with aside.open("wb") as file:
            packed = _Hashed(file)
            with gzip.GzipFile(
                filename="", mode="wb", fileobj=packed, mtime=0, compresslevel=_LEVEL
            ) as squeezed:
                unpacked: Any = _Hashed(squeezed)  # type: ignore[arg-type]
                with tarfile.open(fileobj=unpacked, mode="w|", format=_FORMAT) as archive:
                    for entry in _with_folders(layer.entries):
                        _add(archive, entry)
        digest = packed.digest()
        shutil.move(aside, self._folder / digest)
        size = (self._folder / digest).stat().st_size
        descriptor = {"mediaType": _LAYER, "digest": f"sha256:{digest}", "size": size}
        return descriptor, f"sha256:{unpacked.digest()}"


class _Hashed:
    """Writes to a file and takes the digest of what was written."""

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
    by_path = {entry.path: entry for entry in entries}
    for path in list(by_path):
        for folder in Path(path).parents:
            by_path.setdefault(folder.as_posix(), Entry(folder.as_posix(), mode=0o755))
    by_path.pop(".", None)
    return [by_path[path] for path in sorted(by_path)]


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
    """The manifest that Docker reads where it does not know OCI layouts."""
    path = "blobs/sha256/{}".format
    return {
        "Config": path(config["digest"].partition(":")[2]),
        "RepoTags": [tag],
        "Layers": [path(layer["digest"].partition(":")[2]) for layer in layers],
    }


def _encoded(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
