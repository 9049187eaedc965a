"""Serves MLflow's calls for registered models and their versions."""

import re
from typing import Any

from treadle.http.mlflow.runs import millis
from treadle.http.mlflow.wire import Ask, Call, KeyValue, paged, pairs, present, saying
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.registry.model import ModelVersion, RegisteredModel, Stage

STAGES: tuple[Stage, ...] = ("None", "Staging", "Production", "Archived")


class Create(Ask):
    """Fields of `registered-models/create`."""

    name: str = ""
    description: str = ""
    tags: list[KeyValue] = []


class Name(Ask):
    """Fields of calls that name a model."""

    name: str = ""


class Rename(Name):
    """Fields of `registered-models/rename`."""

    new_name: str = ""


class Describe(Name):
    """Fields of calls that describe a model or a version."""

    description: str = ""
    version: str = ""


class Tag(Name):
    """Fields of calls that set or delete a tag of a model or a version."""

    version: str = ""
    key: str = ""
    value: str = ""


class Alias(Name):
    """Fields of calls on an alias."""

    alias: str = ""
    version: str = ""


class Latest(Name):
    """Fields of `registered-models/get-latest-versions`."""

    stages: list[str] = []


class Search(Ask):
    """Fields of searches for models and for versions."""

    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


class CreateVersion(Name):
    """Fields of `model-versions/create`."""

    source: str = ""
    run_id: str = ""
    model_id: str = ""
    run_link: str = ""
    description: str = ""
    tags: list[KeyValue] = []


class Version(Name):
    """Fields of calls that name a version."""

    version: str = ""


class Transition(Version):
    """Fields of `model-versions/transition-stage`."""

    stage: str = ""
    archive_existing_versions: bool = False


def shown_model(platform: Embedded, model: RegisteredModel) -> dict[str, Any]:
    """Return a registered model as clients read it.

    Args:
        platform: The services that answer.
        model: The model.
    """
    latest_versions = [shown(version) for version in _latest(platform, model.name)]
    aliases = [{"alias": alias, "version": str(number)} for alias, number in model.aliases.items()]
    return present(
        name=model.name,
        creation_timestamp=millis(model.created_at),
        last_updated_timestamp=millis(model.updated_at),
        description=model.description or None,
        latest_versions=latest_versions or None,
        tags=pairs(model.tags) or None,
        aliases=aliases or None,
    )


def shown(version: ModelVersion) -> dict[str, Any]:
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
        description=version.description or None,
        source=version.source or f"treadle-package:/{version.package}",
        run_id=version.run or None,
        model_id=version.logged_model or None,
        status="READY",
        tags=pairs(version.tags) or None,
        aliases=version.aliases or None,
    )


def _model(platform: Embedded, name: str) -> RegisteredModel:
    with saying(NotFound, f"Registered Model with name={name} not found"):
        return platform.registry.model(name=name)


def _version(platform: Embedded, ask: Version | Tag | Describe | Alias) -> ModelVersion:
    if not ask.version.isdecimal() or len(ask.version) > 10:
        raise Invalid(f"Model version must be an integer, got '{ask.version}'")
    with saying(NotFound, f"Model Version (name={ask.name}, version={ask.version}) not found"):
        return platform.registry.get(model=ask.name, number=int(ask.version))


def _latest(platform: Embedded, name: str) -> list[ModelVersion]:
    """The newest version in each stage."""
    newest: dict[str, ModelVersion] = {}
    for version in platform.registry.find(model=name, limit=100_000):
        newest.setdefault(version.stage, version)
    return list(newest.values())


def create(platform: Embedded, ask: Create) -> dict[str, Any]:
    """Create a registered model.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    tags = {tag.key: tag.value for tag in ask.tags}
    with saying(Conflict, f"Registered Model (name={ask.name}) already exists."):
        made = platform.registry.create_model(name=ask.name, description=ask.description, tags=tags)
    return {"registered_model": shown_model(platform, made)}


def get(platform: Embedded, ask: Name) -> dict[str, Any]:
    """Return a registered model.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    return {"registered_model": shown_model(platform, _model(platform, ask.name))}


def rename(platform: Embedded, ask: Rename) -> dict[str, Any]:
    """Rename a registered model.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    _model(platform, ask.name)
    with saying(Conflict, f"Registered Model (name={ask.new_name}) already exists."):
        changed = platform.registry.change_model(name=ask.name, new_name=ask.new_name)
    return {"registered_model": shown_model(platform, changed)}


def update(platform: Embedded, ask: Describe) -> dict[str, Any]:
    """Set a registered model's description.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    _model(platform, ask.name)
    changed = platform.registry.change_model(name=ask.name, description=ask.description)
    return {"registered_model": shown_model(platform, changed)}


def delete(platform: Embedded, ask: Name) -> None:
    """Delete a registered model with its versions.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    _model(platform, ask.name)
    platform.registry.delete_model(name=ask.name)


def search(platform: Embedded, ask: Search) -> dict[str, Any]:
    """Search registered models.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    if not 1 <= ask.max_results <= 1000:
        raise Invalid(
            f"Invalid value for max_results. It must be 1 to 1000, but got value {ask.max_results}"
        )
    every = platform.registry.models(filter=ask.filter, order=ask.order_by)
    page, token = paged(every, ask.max_results, ask.page_token)
    models = [shown_model(platform, model) for model in page]
    return present(registered_models=models, next_page_token=token)


def latest(platform: Embedded, ask: Latest) -> dict[str, Any]:
    """Return the newest version in each stage.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    _model(platform, ask.name)
    stages = [stage.lower() for stage in ask.stages or STAGES]
    newest = _latest(platform, ask.name)
    versions = [shown(version) for version in newest if version.stage.lower() in stages]
    return {"model_versions": versions}


def set_tag(platform: Embedded, ask: Tag) -> None:
    """Set a tag of a model.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    _model(platform, ask.name)
    platform.registry.change_model(name=ask.name, tags={ask.key: ask.value})


def delete_tag(platform: Embedded, ask: Tag) -> None:
    """Delete a tag of a model.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    _model(platform, ask.name)
    platform.registry.change_model(name=ask.name, tags={ask.key: None})


def set_alias(platform: Embedded, ask: Alias) -> None:
    """Point an alias to a version.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    _model(platform, ask.name)
    reserved = ask.alias.lower() == "latest" or re.fullmatch(r"v\d+", ask.alias, re.I)
    if reserved or not re.fullmatch(r"[\w-]{1,100}", ask.alias):
        raise Invalid(
            f"Invalid alias name: '{ask.alias}'. 'latest' and names like 'v1' are reserved."
        )
    number = _version(platform, ask).number
    platform.registry.set_alias(model=ask.name, alias=ask.alias, number=number)


def delete_alias(platform: Embedded, ask: Alias) -> None:
    """Delete an alias.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    _model(platform, ask.name)
    platform.registry.remove_alias(model=ask.name, alias=ask.alias)


def by_alias(platform: Embedded, ask: Alias) -> dict[str, Any]:
    """Return the version that an alias points to.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    model = _model(platform, ask.name)
    if ask.alias not in model.aliases:
        raise Invalid(f"Registered model alias {ask.alias} not found.")
    version = platform.registry.get(model=ask.name, number=model.aliases[ask.alias])
    return {"model_version": shown(version)}


def create_version(platform: Embedded, ask: CreateVersion) -> dict[str, Any]:
    """Register a version by the source it was logged to.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    _model(platform, ask.name)
    if not ask.source:
        raise Invalid("Missing value for required parameter 'source'.")
    model = ask.model_id
    if ask.source.startswith("models:/m-"):
        named = ask.source.removeprefix("models:/").partition("/")[0]
        if model and model != named:
            raise Invalid(f"The source '{ask.source}' names another model than model_id '{model}'.")
        model = named
    run = ask.run_id or (platform.logged_models.get(model).run if model else "")
    made = platform.registry.register_source(
        model=ask.name,
        source=ask.source,
        run=run,
        logged_model=model,
        description=ask.description,
        tags={tag.key: tag.value for tag in ask.tags},
    )
    return {"model_version": shown(made)}


def get_version(platform: Embedded, ask: Version) -> dict[str, Any]:
    """Return a version.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    return {"model_version": shown(_version(platform, ask))}


def update_version(platform: Embedded, ask: Describe) -> dict[str, Any]:
    """Set a version's description.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    number = _version(platform, ask).number
    changed = platform.registry.change_version(
        model=ask.name, number=number, description=ask.description
    )
    return {"model_version": shown(changed)}


def transition(platform: Embedded, ask: Transition) -> dict[str, Any]:
    """Move a version to another stage.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    stage = next((known for known in STAGES if known.lower() == ask.stage.lower()), None)
    if stage is None:
        raise Invalid(
            f"Invalid Model Version stage: {ask.stage}. Value must be one of {', '.join(STAGES)}."
        )
    number = _version(platform, ask).number
    changed = platform.registry.set_stage(
        model=ask.name, number=number, stage=stage, archive_others=ask.archive_existing_versions
    )
    return {"model_version": shown(changed)}


def delete_version(platform: Embedded, ask: Version) -> None:
    """Delete a version.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    platform.registry.delete_version(model=ask.name, number=_version(platform, ask).number)


def search_versions(platform: Embedded, ask: Search) -> dict[str, Any]:
    """Search versions.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    every = platform.registry.search(filter=ask.filter, order=ask.order_by)
    page, token = paged(every, max(1, min(ask.max_results, 200_000)), ask.page_token)
    versions = [shown(version) for version in page]
    return present(model_versions=versions, next_page_token=token)


def download_uri(platform: Embedded, ask: Version) -> dict[str, Any]:
    """Return the URI of a version's files.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    version = _version(platform, ask)
    if version.logged_model:
        model = platform.logged_models.get(version.logged_model)
        root = platform.tracking.experiment(id=model.experiment).artifacts_at
        return {"artifact_uri": f"{root}/models/{model.id}/artifacts"}
    return {"artifact_uri": shown(version)["source"]}


def set_version_tag(platform: Embedded, ask: Tag) -> None:
    """Set a tag of a version.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    platform.registry.change_version(
        model=ask.name, number=_version(platform, ask).number, tags={ask.key: ask.value}
    )


def delete_version_tag(platform: Embedded, ask: Tag) -> None:
    """Delete a tag of a version.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    platform.registry.change_version(
        model=ask.name, number=_version(platform, ask).number, tags={ask.key: None}
    )


CALLS = [
    Call(("POST",), "registered-models/create", Create, "editor", create),
    Call(("GET",), "registered-models/get", Name, "viewer", get),
    Call(("POST",), "registered-models/rename", Rename, "editor", rename),
    Call(("PATCH",), "registered-models/update", Describe, "editor", update),
    Call(("DELETE",), "registered-models/delete", Name, "editor", delete),
    Call(("GET", "POST"), "registered-models/search", Search, "viewer", search),
    Call(("GET", "POST"), "registered-models/get-latest-versions", Latest, "viewer", latest),
    Call(("POST",), "registered-models/set-tag", Tag, "editor", set_tag),
    Call(("DELETE",), "registered-models/delete-tag", Tag, "editor", delete_tag),
    Call(("POST",), "registered-models/alias", Alias, "editor", set_alias),
    Call(("DELETE",), "registered-models/alias", Alias, "editor", delete_alias),
    Call(("GET",), "registered-models/alias", Alias, "viewer", by_alias),
    Call(("POST",), "model-versions/create", CreateVersion, "editor", create_version),
    Call(("GET",), "model-versions/get", Version, "viewer", get_version),
    Call(("PATCH",), "model-versions/update", Describe, "editor", update_version),
    Call(("POST",), "model-versions/transition-stage", Transition, "editor", transition),
    Call(("DELETE",), "model-versions/delete", Version, "editor", delete_version),
    Call(("GET", "POST"), "model-versions/search", Search, "viewer", search_versions),
    Call(("GET",), "model-versions/get-download-uri", Version, "viewer", download_uri),
    Call(("POST",), "model-versions/set-tag", Tag, "editor", set_version_tag),
    Call(("DELETE",), "model-versions/delete-tag", Tag, "editor", delete_version_tag),
]
