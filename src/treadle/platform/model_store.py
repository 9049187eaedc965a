"""Puts models where model servers follow them: a folder each, with a spec and packages."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid, NotFound, Unavailable
from treadle.kernel.escaping import shell
from treadle.kernel.files import write_whole
from treadle.ports.blobs import Blobs
from treadle.ports.runtime import GRAPH, SIGNATURE
from treadle.ports.target import EndpointSpec, Variant
from treadle.ports.tree import CONTENT, fetch_tree, files_digest, made_whole, tree_digest

SPEC = "spec.json"


class Asked(NamedTuple):
    """A model to be served: its name here, its version, its content's digest and its source."""

    name: str
    version: str
    package: str
    files: Path | None = None  # None: the package is in the blob store


def in_files(path: Path) -> Asked:
    """Return the model that a folder or an ``.onnx`` file holds.

    Args:
        path: The model folder or the file.

    Raises:
        NotFound: There is nothing at the path.
        Invalid: The folder is no model folder.
    """
    bare = path.suffix == ".onnx" and path.is_file()
    if bare or (path / SIGNATURE).is_file():
        name, digest = path.stem if bare else path.resolve().name, tree_digest(path)
        return Asked(name, f"{name}:{digest[:12]}", digest, path)
    if not path.exists():
        raise NotFound(
            f"There is no '{path}'. Name a model folder, an .onnx file, "
            "or a version: NAME:NUMBER or NAME@ALIAS."
        )
    raise Invalid(
        f"'{path}' is no model folder: there is no '{SIGNATURE}' in it. "
        f"Make one with: {shell('treadle', 'package', path)}"
    )


def place(asked: Asked, state: Path, blobs: Callable[[], Blobs]) -> Path:
    """Put a model where a server follows it. Returns the folder, with its spec and its packages.

    A new version is a new generation.

    Args:
        asked: The model.
        state: The folder that holds a folder for each model.
        blobs: Opens the blob store, where the model's files come from it.
    """
    folder = state / asked.name
    put(asked, folder / "packages" / asked.package, blobs)
    variant = Variant(version=asked.version, package=asked.package)
    file = folder / SPEC
    before = from_json(file.read_bytes(), EndpointSpec) if file.exists() else None
    if before is None or before.variants != [variant]:
        generation = before.generation + 1 if before else 1
        spec = EndpointSpec(name=asked.name, generation=generation, variants=[variant])
        write_whole(file, to_json(spec))
    return folder


def put(asked: Asked, folder: Path, blobs: Callable[[], Blobs]) -> None:
    """Make a model's folder be there, whole.

    Args:
        asked: The model.
        folder: Where its files go; nothing is done if it exists.
        blobs: Opens the blob store, where the model's files come from it.
    """
    bare = asked.files is not None and asked.files.is_file()
    if (folder / CONTENT if bare else folder).exists():
        return
    shutil.rmtree(folder, ignore_errors=True)  # an older version left it without its digest
    with made_whole(folder) as aside:
        if asked.files is None:
            fetch_tree(blobs(), asked.package, aside)
        elif bare:
            signature = OnnxRuntime().describe(asked.files)
            aside.mkdir()
            shutil.copyfile(asked.files, aside / GRAPH)
            (aside / SIGNATURE).write_bytes(to_json(signature))
            digest = files_digest({name: aside / name for name in (GRAPH, SIGNATURE)})
            (aside / CONTENT).write_text(digest, encoding="ascii")
        else:
            shutil.copytree(asked.files, aside)


def no_blobs() -> Blobs:
    """Stand in for a blob store where there is none.

    Raises:
        Unavailable: Always.
    """
    raise Unavailable("There is no blob store here.")


class Repository:
    """Model folders that a server loads and unloads while it runs.

    Args:
        folder: The folder that holds a folder for each model.
        state: The folder where each loaded model has a folder with a spec.
    """

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder, self.state = folder, state

    def names(self) -> list[str]:
        """Return the names of all models, loaded or not."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{SIGNATURE}"))

    def loaded(self) -> list[str]:
        """Return the names of the models that are loaded."""
        return sorted(path.parent.name for path in self.state.glob(f"*/{SPEC}"))

    def load(self, name: str) -> None:
        """Load a model, or load it again when its files are others now.

        Args:
            name: The model's name, which is its folder's.

        Raises:
            NotFound: There is no such model in the repository.
        """
        if name not in self.names():
            known = ", ".join(self.names()) or "none"
            raise NotFound(f"There is no model '{name[:80]}' in the repository. It has {known}.")
        place(in_files(self.folder / name), self.state, no_blobs)

    def unload(self, name: str) -> None:
        """Unload a model.

        Args:
            name: The model's name.

        Raises:
            NotFound: The model is not loaded.
        """
        if name not in self.loaded():
            raise NotFound(f"Model '{name[:80]}' is not loaded.")
        (self.state / name / SPEC).unlink(missing_ok=True)
