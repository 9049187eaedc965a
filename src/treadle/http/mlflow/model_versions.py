"""Serves MLflow's calls for versions of registered models."""

from typing import Any

from treadle.http.mlflow.models import model_of as logged_model_of
from treadle.http.mlflow.registry import (
    FILES_AT,
    STAGES,
    Describe,
    Name,
    Search,
    Tag,
    Version,
    model_of,
    shown_version,
    version_of,
)
from treadle.http.mlflow.sources import check_source, version_in
from treadle.http.mlflow.states import artifact_root
from treadle.http.mlflow.version_files import uri_of
from treadle.http.mlflow.wire import Call, KeyValue, page_length, paged, present
from treadle.kernel.errors import Invalid
from treadle.platform.wiring import Embedded
from treadle.registry.model import ModelVersion


class CreateVersion(Name):
    """Fields of `model-versions/create`."""

    source: str = ""
    run_id: str = ""
    model_id: str = ""
    run_link: str = ""
    description: str = ""
    tags: list[KeyValue] = []


class Transition(Version):
    """Fields of `model-versions/transition-stage`."""

    stage: str = ""
    archive_existing_versions: bool = False


def create_version(platform: Embedded, ask: CreateVersion) -> dict[str, Any]:
    """Register a version by the source it was logged to.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such model, or the logged model that is named is not there.
        Invalid: There is no source, or it names another logged model than the request.
    """
    model_of(platform, ask.name)
    if not ask.source:
        raise Invalid("Missing value for required parameter 'source'.")
    check_source(platform, ask.source, ask.run_id, ask.model_id)
    if (copied := version_in(ask.source)) is not None:
        return {"model_version": shown_version(_copy(platform, ask, *copied))}
    model = ask.model_id
    named = ask.source.removeprefix("models:/")
    if ask.source.startswith("models:/m-") and "/" not in named:
        if model and model != named:
            raise Invalid(f"The source '{ask.source}' names another model than model_id '{model}'.")
        model = named
    logged = logged_model_of(platform, model) if model else None
    run = ask.run_id or (logged.run if logged else "")
    made = platform.registry.register_source(
        model=ask.name,
        source=ask.source,
        run=run,
        logged_model=model,
        description=ask.description,
        tags={tag.key: tag.value for tag in ask.tags},
    )
    return {"model_version": shown_version(made)}


def _copy(platform: Embedded, ask: CreateVersion, name: str, number: int) -> ModelVersion:
    """Register a version of a version; its files stay where they are when the first one goes."""
    of = Version(name=name, version=str(number))
    source = version_of(platform, of)
    tags = {tag.key: tag.value for tag in ask.tags}
    return platform.registry.register_source(
        model=ask.name,
        source=ask.source,
        run=ask.run_id or source.run,
        logged_model=ask.model_id or source.logged_model,
        description=ask.description,
        tags=tags | {FILES_AT: download_uri(platform, of)["artifact_uri"]},
    )


def get_version(platform: Embedded, ask: Version) -> dict[str, Any]:
    """Return a version.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such version.
        Invalid: The version is no number.
    """
    return {"model_version": shown_version(version_of(platform, ask))}


def update_version(platform: Embedded, ask: Describe) -> dict[str, Any]:
    """Set a version's description.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such version.
        Invalid: The version is no number.
    """
    number = version_of(platform, ask).number
    changed = platform.registry.change_version(
        model=ask.name, number=number, description=ask.description
    )
    return {"model_version": shown_version(changed)}


def transition(platform: Embedded, ask: Transition) -> dict[str, Any]:
    """Move a version to another stage.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such version.
        Invalid: There is no such stage, or the version is no number.
    """
    stage = next((known for known in STAGES if known.lower() == ask.stage.lower()), None)
    if stage is None:
        raise Invalid(
            f"Invalid Model Version stage: {ask.stage}. Value must be one of {', '.join(STAGES)}."
        )
    number = version_of(platform, ask).number
    changed = platform.registry.set_stage(
        model=ask.name, number=number, stage=stage, archive_others=ask.archive_existing_versions
    )
    return {"model_version": shown_version(changed)}


def delete_version(platform: Embedded, ask: Version) -> None:
    """Delete a version.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such version.
        Invalid: The version is no number.
    """
    platform.registry.delete_version(model=ask.name, number=version_of(platform, ask).number)


def search_versions(platform: Embedded, ask: Search) -> dict[str, Any]:
    """Search versions.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        Invalid: The filter, the order or the token cannot be read.
    """
    every = platform.registry.search(filter=ask.filter, order=ask.order_by)
    page, token = paged(every, page_length(ask.max_results, 200_000), ask.page_token)
    versions = [shown_version(version) for version in page]
    return present(model_versions=versions, next_page_token=token)


def download_uri(platform: Embedded, ask: Version) -> dict[str, Any]:
    """Return the URI of a version's files.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such version, or its logged model is deleted.
        Invalid: The version is no number.
    """
    version = version_of(platform, ask)
    if FILES_AT in version.tags:
        return {"artifact_uri": version.tags[FILES_AT]}
    if version.logged_model and version.source.startswith("models:/"):
        return {"artifact_uri": artifact_root(platform, model=version.logged_model)}
    if version.package:
        return {"artifact_uri": uri_of(version.model, version.number)}
    return {"artifact_uri": shown_version(version)["source"]}


def set_version_tag(platform: Embedded, ask: Tag) -> None:
    """Set a tag of a version.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such version.
        Invalid: The version is no number.
    """
    platform.registry.change_version(
        model=ask.name, number=version_of(platform, ask).number, tags={ask.key: ask.value}
    )


def delete_version_tag(platform: Embedded, ask: Tag) -> None:
    """Delete a tag of a version.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such version.
        Invalid: The version is no number.
    """
    platform.registry.change_version(
        model=ask.name, number=version_of(platform, ask).number, tags={ask.key: None}
    )


CALLS = [
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
