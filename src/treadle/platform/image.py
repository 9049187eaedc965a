"""A model server as a container image: this machine's interpreter and packages, and one model.

No base image and no engine is needed, so nothing is fetched: what runs here is what runs there.
There is no shell in it, its user is nobody, and its root may be read-only.
"""

import hashlib
import importlib.metadata
import importlib.util
import marshal
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import treadle
from treadle.delivery.oci import Entry, Image, ImageConfig, Layer, write_archive
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import SIGNATURE, Signature
from treadle.registry.bom import library

PORT, USER, STATE, MODEL = 8080, 65532, "/var/lib/treadle", "opt/ml/model"
BILL = "opt/treadle/sbom.cdx.json"
_PREFIX, _PACKAGES = "usr/local", "opt/treadle/packages"
_STANDARD = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")  # where a loader looks by itself
_NOT_SERVED = {
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "__pycache__",
}
_NOT_PACKAGES = {"site-packages", "dist-packages"}
_NOT_READ = (".pyi", ".h", ".a", ".c", ".cpp", ".pxd", ".pyx", ".pyc", ".exe")
_PASSWD = f"root:x:0:0::/:/nologin\nmodel:x:{USER}:{USER}::{STATE}:/nologin\n"
_GROUP = f"root:x:0:\nmodel:x:{USER}:\n"


class Content(NamedTuple):
    """The layers of an image, and what its bill of materials names in them."""

    layers: list[Layer]
    components: list[dict[str, Any]]


def write(
    name: str, version: str, model: Path, to: Path, tag: str, told: Callable[[str, int, int], None]
) -> Image:
    """Write the image of a model folder.

    Args:
        name: The model's name.
        version: The version that answers are signed with, as in ``churn:3``.
        model: The model folder.
        to: The archive that is written.
        tag: The image's name.
        told: Called with what is done, how far it is, and how far it goes.

    Returns:
        The image: its file, tag, digest and size.

    Raises:
        Invalid: This machine's interpreter cannot run in a Linux container, an extra is missing, or
            the model is Python code.
    """
    if not sys.platform.startswith("linux") or "musl" in (
        sysconfig.get_config_var("HOST_GNU_TYPE") or ""
    ):
        raise Invalid(
            "An image is made of this machine's interpreter, "
            "and this machine is no Linux with glibc. Build on one."
        )
    told("looking at the interpreter", 0, 4)
    content = _content(version, model)
    bill = _bill(name, version, content.components)
    server = Entry(BILL, to_json(bill))
    layers = [
        *content.layers[:-1],
        Layer(content.layers[-1].what, [*content.layers[-1].entries, server]),
    ]
    config = ImageConfig(
        user=f"{USER}:{USER}",
        entrypoint=[f"/{_PREFIX}/bin/python3", "-m", "treadle"],
        command=["serve"],
        environment={
            "PATH": f"/{_PREFIX}/bin",
            "PYTHONPATH": f"/{_PACKAGES}",
            "LD_LIBRARY_PATH": f"/{_PREFIX}/lib",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "LANG": "C.UTF-8",
            "HOME": STATE,
            "TREADLE_SERVE": f"{version}=/{MODEL}",
            # Inside of a container, what reaches the server is the network's to say.
            "TREADLE_SERVE_HOST": "0.0.0.0",
            "TREADLE_SERVE_OPEN": "1",
            "TREADLE_SERVE_STATE": STATE,
        },
        port=PORT,
        volumes=[STATE],
        labels={
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": version.rpartition(":")[2],
            "org.opencontainers.image.description": f"Model {version}, served by Treadle",
            "com.amazonaws.sagemaker.capabilities.accept-bind-to-port": "true",
            "io.treadle.version": version,
            "io.treadle.sbom": f"/{BILL}",
        },
    )
    return write_archive(to, tag, layers, config, told)


def _content(version: str, model: Path) -> Content:
    runtime = from_json((model / SIGNATURE).read_bytes(), Signature).runtime
    if runtime == "python":
        raise Invalid(
            f"'{version}' is Python code, and what it needs is not known. "
            "Package it as ONNX, or build its image by hand."
        )
    ours, *others = _distributions("treadle", ["serve"] if runtime == "onnx" else ["train"])
    system, libraries = _interpreter()
    packages, shared = [], set[Path]()
    for distribution in others:
        files = list(_files(distribution))
        packages += files
        shared |= {
            entry.content
            for entry in files
            if isinstance(entry.content, Path) and _is_shared(entry.content)
        }
    libraries |= _needed(shared)
    system += [_library(path) for path in sorted(libraries)]
    # An editable install has no more metadata than these two files.
    known = {name: ours.read_text(name) for name in ("METADATA", "entry_points.txt")}
    metadata = [
        Entry(f"{_PACKAGES}/treadle.dist-info/{name}", text.encode())
        for name, text in known.items()
        if text
    ]
    source = Path(treadle.__file__).parent
    paths = [
        path
        for path in source.rglob("*")
        if path.is_file() and not _left_out(path.relative_to(source))
    ]
    server = [
        Entry(f"{_PACKAGES}/treadle/{path.relative_to(source).as_posix()}", path) for path in paths
    ]
    weights = [
        Entry(f"{MODEL}/{path.relative_to(model).as_posix()}", path)
        for path in model.rglob("*")
        if path.is_file()
    ]
    layers = [
        Layer(f"Python {sys.version.split()[0]} and its libraries", _compiled(system)),
        Layer(f"{len(others)} packages", _compiled(packages)),
        Layer(f"Treadle {ours.version}", [*_compiled(server), *metadata]),
        Layer(f"model {version}", weights),
    ]
    components = [library(each.metadata["Name"], each.version) for each in (ours, *others)]
    components += [
        _file(f"/{entry.path}", entry.content)
        for entry in system
        if entry.path.startswith(("lib", "usr/lib")) and isinstance(entry.content, Path)
    ]
    components.append(
        {
            "type": "application",
            "bom-ref": "python",
            "name": "CPython",
            "version": sys.version.split()[0],
        }
    )
    components += [
        _file(f"/{entry.path}", entry.content)
        for entry in weights
        if isinstance(entry.content, Path)
    ]
    return Content(layers, components)


def _distributions(name: str, extras: Iterable[str]) -> Iterator[Distribution]:
    """A distribution, and then all that it requires here, each once."""
    try:
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name
    except ModuleNotFoundError as error:
        raise missing_extra("serve", "Building an image of a model server") from error
    seen: set[tuple[str, str]] = set()
    given: set[str] = set()
    waiting = [(name, extra) for extra in ["", *extras]]
    while waiting:
        wanted = waiting.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        try:
            found = importlib.metadata.distribution(wanted[0])
        except importlib.metadata.PackageNotFoundError as error:
            raise missing_extra("serve", "Building an image of a model server") from error
        if wanted[0] not in given:
            given.add(wanted[0])
            yield found
        for text in found.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": wanted[1]}):
                waiting += [
                    (canonicalize_name(requirement.name), extra)
                    for extra in ["", *requirement.extras]
                ]


def _files(distribution: Distribution) -> Iterator[Entry]:
    for file in distribution.files or []:
        path = Path(str(distribution.locate_file(file)))
        if (
            not file.parts[0].startswith("..")
            and path.is_file()
            and not _left_out(Path(*file.parts))
        ):
            yield Entry(f"{_PACKAGES}/{file.as_posix()}", path)


def _interpreter() -> tuple[list[Entry], set[Path]]:
    """The interpreter with its standard library, and the shared libraries they need."""
    executable = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    home = Path(sysconfig.get_path("stdlib"))
    found = [
        Entry(f"{_PREFIX}/bin/{version}", executable, mode=0o755),
        Entry(f"{_PREFIX}/bin/python3", link=version),
        Entry("etc/passwd", _PASSWD.encode()),
        Entry("etc/group", _GROUP.encode()),
        Entry("tmp", mode=0o1777),
        Entry(STATE.lstrip("/"), mode=0o755, owner=USER),
    ]
    shared = {executable}
    for path in home.rglob("*"):
        inside = path.relative_to(home)
        aside = inside.parts[0] in _NOT_PACKAGES or inside.parts[0].startswith("config-")
        if aside or not path.is_file() or _left_out(inside):
            continue
        found.append(Entry(f"{_PREFIX}/lib/{version}/{inside.as_posix()}", path))
        if _is_shared(path):
            shared.add(path)
    return found, _needed(shared)


def _left_out(path: Path) -> bool:
    return path.suffix in _NOT_READ or any(part in _NOT_SERVED for part in path.parts)


def _is_shared(path: Path) -> bool:
    return path.suffix == ".so" or ".so." in path.name


def _needed(files: set[Path]) -> set[Path]:
    """The machine's shared libraries that files load, with the loader; not those of packages."""
    needed: set[Path] = set()
    for start in range(0, len(files), 100):
        batch = sorted(files)[start : start + 100]
        told = subprocess.run(["ldd", *map(str, batch)], capture_output=True, text=True).stdout
        for found in re.findall(r"(?:=>\s+|^\s+)(/\S+)\s+\(0x", told, re.MULTILINE):
            needed.add(Path(found))
    inside = [
        folder
        for folder in {Path(p).resolve() for p in sys.path if p}
        if folder.name in _NOT_PACKAGES
    ]
    return {
        path
        for path in needed
        if not any(path.resolve().is_relative_to(folder) for folder in inside)
    }


def _library(path: Path) -> Entry:
    """A shared library where the loader will look for it."""
    place = str(path) if str(path).startswith(_STANDARD) else f"/{_PREFIX}/lib/{path.name}"
    return Entry(place.lstrip("/"), path.resolve(), mode=0o755)


def _compiled(entries: list[Entry]) -> list[Entry]:
    """Python files with their byte code, which is used without a look at the file's time."""
    with_code = []
    for entry in entries:
        with_code.append(entry)
        if isinstance(entry.content, Path) and entry.path.endswith(".py"):
            source = entry.content.read_bytes()
            try:
                code = compile(source, f"/{entry.path}", "exec", dont_inherit=True)
            except (SyntaxError, ValueError):  # a template, or a file for another Python
                continue
            head = (
                importlib.util.MAGIC_NUMBER
                + (1).to_bytes(4, "little")
                + importlib.util.source_hash(source)
            )
            folder, _, name = entry.path.rpartition("/")
            compiled_name = f"{name.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"
            compiled = Entry(f"{folder}/__pycache__/{compiled_name}", head + marshal.dumps(code))
            with_code.append(compiled)
    return with_code


def _bill(name: str, version: str, components: list[dict[str, Any]]) -> dict[str, Any]:
    """The image's bill of materials as CycloneDX 1.6."""
    about = {
        "type": "container",
        "bom-ref": "image",
        "name": name,
        "version": version.rpartition(":")[2],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, str(to_json(components)))}",
        "version": 1,
        "metadata": {"component": about},
        "components": components,
    }


def _file(place: str, path: Path) -> dict[str, Any]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "type": "file",
        "bom-ref": place,
        "name": place,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }
