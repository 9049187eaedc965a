"""What calls for registered models and for their versions share.

Fields, lookups, and how clients read both.
"""

from typing import Any

from treadle.http.mlflow.wire import Ask, millis, pairs, present, saying
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.registry.model import ModelVersion, RegisteredModel, Stage

FILES_AT = "treadle.files_at"
"""A tag, not shown, of a version made from a version: where the files are."""
STAGES: tuple[Stage, ...] = ("None", "Staging", "Production", "Archived")


class Name(Ask):
    """Fields of calls that name a model."""

    name: str = ""


class Version(Name):
    """Fields of calls that name a version."""

    version: str = ""


class Describe(Name):
    """Fields of calls that describe a model or a version."""

    description: str = ""
    version: str = ""


class Tag(Name):
    """Fields of calls that set or delete a tag of a model or a version."""

    version: str = ""
    key: str = ""
    value: str = ""


class Search(Ask):
    """Fields of searches for models and for versions."""

    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


def shown_version(version: ModelVersion) -> dict[str, Any]:
    """Return a version as clients read it.

    Args:
        version: The version.
    """
    return present(
        name=version.model,
        version=str(version.number),
        creation_timestamp=millis(version.created_at),
        last_updated_timestamp=millis(version.updated_at or version.created_at),
        user_id=version.created_by or None,
        current_stage=version.stage,
        description=version.description,
        source=version.source or f"treadle-package:/{version.package}",
        run_id=version.run,
        model_id=version.logged_model or None,
        status="READY",
        run_link="",
        tags=pairs({k: v for k, v in version.tags.items() if k != FILES_AT}) or None,
        aliases=version.aliases or None,
    )


def shown_model(platform: Embedded, model: RegisteredModel) -> dict[str, Any]:
    """Return a registered model as clients read it.

    Args:
        platform: The services that answer.
        model: The model.
    """
    latest = [shown_version(version) for version in latest_versions(platform, model.name)]
    for version in latest:
        version.pop("aliases", None)
    aliases = [{"alias": alias, "version": str(number)} for alias, number in model.aliases.items()]
    return present(
        name=model.name,
        creation_timestamp=millis(model.created_at),
        last_updated_timestamp=millis(model.updated_at),
        description=model.description or None,
        latest_versions=latest or None,
        tags=pairs(model.tags) or None,
        aliases=aliases or None,
    )


def model_of(platform: Embedded, name: str) -> RegisteredModel:
    """Return a registered model.

    Args:
        platform: The services that answer.
        name: The model's name.

    Raises:
        NotFound: There is no such model.
    """
    if not name:
        raise Invalid("Missing value for required parameter 'name'.")
    with saying(NotFound, f"Registered Model with name={name} not found"):
        return platform.registry.model(name=name)


def version_of(platform: Embedded, ask: Version | Describe | Tag) -> ModelVersion:
    """Return the version that a request names.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        Invalid: The version is no number.
        NotFound: There is no such version.
    """
    if not ask.name:
        raise Invalid("Missing value for required parameter 'name'.")
    if not ask.version.isdecimal() or len(ask.version) > 10:
        raise Invalid(f"Parameter 'version' must be an integer, got '{ask.version}'.")
    with saying(NotFound, f"Model Version (name={ask.name}, version={ask.version}) not found"):
        return platform.registry.get(model=ask.name, number=int(ask.version))


def latest_versions(platform: Embedded, name: str) -> list[ModelVersion]:
    """Return the newest version in each stage.

    Args:
        platform: The services that answer.
        name: The model's name.
    """
    newest: dict[str, ModelVersion] = {}
    for version in platform.registry.find(model=name, limit=100_000):
        newest.setdefault(version.stage, version)
    return list(newest.values())
