"""Shows a version's package as a folder of MLflow's format, so that its clients load it.

The files are those of the package, with an ``MLmodel`` and the code that loads it. Nothing is
stored: both are made of the signature.
"""

import json
from importlib import resources
from typing import Any, NamedTuple

from treadle.kernel.errors import NotFound
from treadle.platform.wiring import Embedded
from treadle.ports.runtime import Signature
from treadle.ports.tree import read_tree
from treadle.registry.signatures import signature_of
from treadle.tracking.model import OWN_STORE, Artifact

ROOT = "versions"
"""First part of the roots of versions, where those of runs have an experiment's id."""
_TYPES = {"number": "any", "text": "string"}
"""Types of columns; MLflow refuses whole numbers for "double"."""


def uri_of(model: str, number: int) -> str:
    """Where a client finds the files of a version's package.

    Args:
        model: Name of the model.
        number: Number of the version.
    """
    return f"{OWN_STORE}{ROOT}/{model}/{number}/artifacts"


def model_of(path: str) -> str | None:
    """The model whose version's files a path leads to; None for a path of another kind.

    Args:
        path: A path of the artifact routes.
    """
    first, _, rest = path.strip("/").partition("/")
    return rest.partition("/")[0] if first == ROOT else None


class Folder(NamedTuple):
    """The files at a root of artifacts.

    Attributes:
        stored: Files whose content is among the blobs.
        made: Content by path of the files that are made on reading.
    """

    stored: list[Artifact]
    made: dict[str, bytes]

    @property
    def files(self) -> list[Artifact]:
        """All files; one that is made has no digest."""
        made = self.made.items()
        return [
            *self.stored,
            *(Artifact(path=path, digest="", bytes=len(content)) for path, content in made),
        ]


def folder_at(platform: Embedded, root: str) -> Folder:
    """The files at a root, of a run, of a logged model or of a version's package.

    Args:
        platform: The services that answer.
        root: The root, which ends with the folder ``artifacts``.

    Raises:
        NotFound: There is no such version, or it has no package.
    """
    if model_of(root) is None:
        return Folder(platform.tracking.artifacts_at(root), {})
    package = _package(platform, root)
    signature = signature_of(platform.blobs, package)
    assert signature is not None, "a version's package is a model folder"
    stored = [
        Artifact(path=path, digest=file.digest, bytes=file.bytes)
        for path, file in read_tree(platform.blobs, package).files.items()
    ]
    loader = resources.files("treadle.backends.runtime") / "treadle_model.py"
    made = {
        "MLmodel": json.dumps(_described(signature, package), indent=1).encode(),
        "requirements.txt": b"numpy\nonnxruntime\npandas\n",
        "code/treadle_model.py": loader.read_bytes(),
    }
    return Folder(stored, made)


def _described(signature: Signature, package: str) -> dict[str, Any]:
    """An MLmodel, which is YAML, and JSON is YAML; only graphs are loaded by the client."""
    flavours: dict[str, Any] = {"treadle": {"runtime": signature.runtime, "package": package}}
    if signature.runtime == "onnx":
        flavours["python_function"] = {
            "loader_module": "treadle_model",
            "code": "code",
            "env": {"virtualenv": "requirements.txt"},
        }
    columns = [
        {"name": field.name, "type": _TYPES[field.kind], "required": False}
        for field in signature.inputs
    ]
    return {
        "flavors": flavours,
        "model_uuid": package[:32],
        "signature": {"inputs": json.dumps(columns), "outputs": None, "params": None},
    }


def _package(platform: Embedded, root: str) -> str:
    parts = root.split("/")
    if len(parts) != 4 or not parts[2].isascii() or not parts[2].isdigit():
        raise NotFound(f"There is no version at '{root}'.")
    version = platform.registry.get(model=parts[1], number=int(parts[2]))
    if not version.package:
        raise NotFound(f"Version '{version.ref}' has no package.")
    return version.package
