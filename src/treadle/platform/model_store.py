"""Puts models where model servers follow them: a folder each, with a spec and packages."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid, NotFound, Unavailable
from treadle.ports.blobs import Blobs
from treadle.ports.runtime import GRAPH, SIGNATURE
from treadle.ports.target import EndpointSpec, Variant
from treadle.ports.tree import fetch_tree, made_whole, tree_digest

SPEC = "spec.json"


class Asked(NamedTuple):
    """A model to be served, as somebody named it: what it is called here, its content's digest, and where that comes from."""

    name: str
    version: str
    package: str
    files: Path | None = None  # None: the package is in the blob store


def in_files(path: Path) -> Asked:
    """The model that a folder or an ``.onnx`` file holds."""
    bare = path.suffix == ".onnx" and path.is_file()
    if bare or (path / SIGNATURE).is_file():
        name, digest = path.stem if bare else path.resolve().name, tree_digest(path)
        return Asked(name, f"{name}:{digest[:12]}", digest, path)
    if not path.exists():
        raise NotFound(
            f"There is no '{path}'. Name a model folder, an .onnx file, or a version: NAME:NUMBER or NAME@ALIAS."
        )
    raise Invalid(
        f"'{path}' is no model folder: there is no '{SIGNATURE}' in it. Make one with: treadle package {path}"
    )


def place(asked: Asked, state: Path, blobs: Callable[[], Blobs]) -> Path:
    """Put a model where a server follows it: a folder with its spec and its packages. A new version is a new generation."""
    folder = state / asked.name
    put(asked, folder / "packages" / asked.package, blobs)
    variant = Variant(version=asked.version, package=asked.package)
    file = folder / SPEC
    before = from_json(file.read_bytes(), EndpointSpec) if file.exists() else None
    if before is None or before.variants != [variant]:
        generation = before.generation + 1 if before else 1
        aside = file.with_suffix(f".{os.getpid()}")
        aside.write_bytes(
            to_json(EndpointSpec(name=asked.name, generation=generation, variants=[variant]))
        )
        aside.replace(file)
    return folder


def put(asked: Asked, folder: Path, blobs: Callable[[], Blobs]) -> None:
    """Make a model's folder be there, whole."""
    if folder.exists():
        return
    with made_whole(folder) as aside:
        if asked.files is None:
            fetch_tree(blobs(), asked.package, aside)
        elif asked.files.is_file():
            signature = OnnxRuntime().describe(asked.files)
            aside.mkdir()
            shutil.copyfile(asked.files, aside / GRAPH)
            (aside / SIGNATURE).write_bytes(to_json(signature))
        else:
            shutil.copytree(asked.files, aside)


def no_blobs() -> Blobs:
    raise Unavailable("There is no blob store here.")


class Repository:
    """Model folders below one folder, that a server loads and unloads while it runs. What is loaded has a spec below ``state``."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder, self.state = folder, state

    def names(self) -> list[str]:
        """The models that there are, loaded or not."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{SIGNATURE}"))

    def loaded(self) -> list[str]:
        return sorted(path.parent.name for path in self.state.glob(f"*/{SPEC}"))

    def load(self, name: str) -> None:
        """Load a model, or load it again when its files are others now. Raises NotFound for one that is not there."""
        if name not in self.names():
            raise NotFound(
                f"There is no model '{name[:80]}' in the repository. It has {', '.join(self.names()) or 'none'}."
            )
        place(in_files(self.folder / name), self.state, no_blobs)

    def unload(self, name: str) -> None:
        if name not in self.loaded():
            raise NotFound(f"Model '{name[:80]}' is not loaded.")
        (self.state / name / SPEC).unlink(missing_ok=True)
