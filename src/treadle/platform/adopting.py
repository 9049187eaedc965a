"""Brings models that were made elsewhere into the registry: ``treadle register NAME SOURCE``."""

import re
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from treadle.kernel.entity import Entity, from_json
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.kernel.escaping import shell
from treadle.platform import packaging
from treadle.ports.runtime import SIGNATURE, Signature
from treadle.ports.tree import put_tree
from treadle.registry.model import ModelVersion
from treadle.scope.model import About, ProjectSpec
from treadle.tracking.model import Artifact

if TYPE_CHECKING:
    from treadle.platform.stages import Services

_RUN = re.compile(r"runs:/+([^/]+)/(.+)")
_LOGGED = re.compile(r"models:/+(m-[0-9a-zA-Z]+|model_[0-9a-z]+)")
_VERSION = re.compile(r"(?:models:/+)?([^/:@]+)(?:[/:](\d+)|@([^/:@]+))")
_PROXIED = re.compile(r"mlflow-artifacts:(?://[^/]*)?/.*?([^/]+)/artifacts/(.+)")


class Registered(Entity):
    """A model that came into the registry.

    Attributes:
        version: The version that was made of it.
        project: The project that it belongs to.
        adopted: Whether the project was declared for it.
        runtime: What runs it.
        inputs: Number of its inputs.
        output: What it gives.
    """

    version: ModelVersion
    project: str
    adopted: bool
    runtime: str
    inputs: int
    output: str


class _Origin(NamedTuple):
    """Where a model lies, and what made it as far as that is known."""

    folder: Path
    run: str = ""
    logged_model: str = ""
    version: ModelVersion | None = None


def register(
    services: "Services",
    name: str,
    source: str,
    *,
    project: str = "",
    example: Path | None = None,
    trusted: bool = False,
    classes: tuple[str, ...] = (),
) -> Registered:
    """Make a version of a model, with a package, from what another tool has saved or registered.

    It is the next version, or the source where that is a version of this model without a package.

    Args:
        services: The home or server.
        name: Name of the model; it is made if there is none.
        source: A model folder, whatever ``treadle package`` reads, ``runs:/RUN/PATH``,
            ``models:/NAME/NUMBER``, ``models:/m-…`` or ``NAME@ALIAS``.
        project: Project that a new model belongs to; the one of its own name if none is given.
        example: A Parquet or CSV file of rows as the model takes them.
        trusted: Whether code that the source holds may run here, while it is packaged.
        classes: What each output is the probability of, in order.

    Returns:
        The version, which can be approved and deployed like any other.

    Raises:
        NotFound: There is no such source.
        Conflict: The source has a package already, or the model belongs to another project.
        Invalid: The source cannot be packaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        origin = _fetched(services, source, Path(folder, "source"))
        packed = origin.folder
        if not (packed / SIGNATURE).is_file():
            packed = Path(folder, "package")
            given = str(origin.folder) if origin.run or origin.logged_model else source
            packaging.package(given, packed, example=example, trusted=trusted, classes=classes)
        signature = from_json((packed / SIGNATURE).read_bytes(), Signature)
        digest = put_tree(services.blobs, packed)
    belongs, adopted = _adopted(services, name, project)
    if origin.version is not None and origin.version.model == name:
        version = services.registry.add_package(
            model=name, number=origin.version.number, package=digest
        )
    else:
        version = services.registry.register_package(
            model=name,
            package=digest,
            project=belongs,
            source=source,
            run=origin.run,
            logged_model=origin.logged_model,
        )
    return Registered(
        version=version,
        project=version.project,
        adopted=adopted,
        runtime=signature.runtime,
        inputs=len(signature.inputs),
        output=signature.output,
    )


def _adopted(services: "Services", name: str, project: str) -> tuple[str, bool]:
    """The project that a model belongs to; one of its name is declared where there is none."""
    try:
        wanted = services.registry.model(name=name).project
    except NotFound:
        wanted = project or name
    try:
        services.scope.project(name=wanted)
    except NotFound:
        about = About(name=wanted, problem=f"Adopted for the model '{name}'")
        services.scope.declare(spec=ProjectSpec(project=about))
        return wanted, True
    return wanted, False


def _fetched(services: "Services", source: str, to: Path) -> _Origin:
    """The source as a folder of this machine."""
    if Path(source.partition(".py:")[0]).exists() or ".py:" in source:
        return _Origin(Path(source))
    if match := _LOGGED.fullmatch(source):
        return _logged(services, match[1], to)
    if match := _RUN.fullmatch(source):
        return _of_run(services, match[1], match[2], to)
    if match := _PROXIED.fullmatch(source):
        if match[1].startswith(("m-", "model_")):
            return _logged(services, match[1], to)
        return _of_run(services, match[1], match[2], to)
    if match := _VERSION.fullmatch(source):
        found = services.registry.resolve(ref=source.removeprefix("models:/").replace("/", ":"))
        if found.package:
            raise Conflict(
                f"Version '{found.ref}' has a package already: "
                f"{shell('treadle', 'deploy', found.ref)}"
            )
        if found.logged_model:
            return _logged(services, found.logged_model, to)._replace(version=found)
        return _fetched(services, found.source, to)._replace(version=found)
    raise NotFound(
        f"There is no '{source}'. Name a file or folder, runs:/RUN/PATH, models:/NAME/NUMBER or "
        "NAME@ALIAS."
    )


def _logged(services: "Services", id: str, to: Path) -> _Origin:
    found = services.logged_models.get(id=id)
    files = services.logged_models.artifacts(id=id)
    return _Origin(_written(services, files, "", to), found.run, id)


def _of_run(services: "Services", run: str, path: str, to: Path) -> _Origin:
    files = services.tracking.artifacts(run=run)
    prefix = f"{path.strip('/')}/"
    if any(file.path.startswith(prefix) for file in files):
        return _Origin(_written(services, files, prefix, to), run)
    experiment = services.tracking.get(run=run).experiment
    for model in services.logged_models.find(experiments=[experiment]):
        if model.run == run and model.name == path:  # newer clients log a model beside its run
            return _logged(services, model.id, to)
    raise NotFound(f"Run '{run}' has nothing at '{path}'.")


def _written(services: "Services", files: list[Artifact], prefix: str, to: Path) -> Path:
    """Write files of an artifact root whose path begins with a prefix into a folder."""
    for file in files:
        if file.path.startswith(prefix):
            inside = PurePosixPath(file.path.removeprefix(prefix))
            if inside.is_absolute() or ".." in inside.parts:
                raise Invalid(f"The file '{file.path}' would leave its folder; it was not written.")
            target = to / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            services.blobs.fetch(file.digest, target)
    if not to.exists():
        raise NotFound("There are no files of that model here.")
    return to
