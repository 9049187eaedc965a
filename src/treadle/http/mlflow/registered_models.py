"""Serves MLflow's calls for registered models and their aliases."""

import re
from typing import Any

from treadle.http.mlflow.registry import (
    STAGES,
    Describe,
    Name,
    Search,
    Tag,
    Version,
    latest_versions,
    model_of,
    shown_model,
    shown_version,
    version_of,
)
from treadle.http.mlflow.wire import Ask, Call, KeyValue, page_length, paged, present, saying
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.platform.wiring import Embedded


class Create(Ask):
    """Fields of `registered-models/create`."""

    name: str = ""
    description: str = ""
    tags: list[KeyValue] = []


class Rename(Name):
    """Fields of `registered-models/rename`."""

    new_name: str = ""


class Alias(Version):
    """Fields of calls on an alias."""

    alias: str = ""


class Latest(Name):
    """Fields of `registered-models/get-latest-versions`."""

    stages: list[str] = []


def create(platform: Embedded, ask: Create) -> dict[str, Any]:
    """Create a registered model.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        Conflict: The model exists already.
        Invalid: The name or a tag cannot be stored.
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

    Raises:
        NotFound: There is no such model.
    """
    return {"registered_model": shown_model(platform, model_of(platform, ask.name))}


def rename(platform: Embedded, ask: Rename) -> dict[str, Any]:
    """Rename a registered model.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such model.
        Conflict: There is a model of the new name already.
        Invalid: The new name cannot be a name.
    """
    model_of(platform, ask.name)
    with saying(Conflict, f"Registered Model (name={ask.new_name}) already exists."):
        changed = platform.registry.change_model(name=ask.name, new_name=ask.new_name)
    return {"registered_model": shown_model(platform, changed)}


def update(platform: Embedded, ask: Describe) -> dict[str, Any]:
    """Set a registered model's description.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such model.
    """
    model_of(platform, ask.name)
    changed = platform.registry.change_model(name=ask.name, description=ask.description)
    return {"registered_model": shown_model(platform, changed)}


def delete(platform: Embedded, ask: Name) -> None:
    """Delete a registered model with its versions.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such model.
    """
    model_of(platform, ask.name)
    platform.registry.delete_model(name=ask.name)


def search(platform: Embedded, ask: Search) -> dict[str, Any]:
    """Search registered models.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        Invalid: The filter, the order or the token cannot be read, or the page has an impossible
            length.
    """
    limit = page_length(ask.max_results, 1000)
    order = ask.order_by if any(_by_name(one) for one in ask.order_by) else [*ask.order_by, "name"]
    every = platform.registry.models(filter=ask.filter, order=order)
    page, token = paged(every, limit, ask.page_token)
    models = [shown_model(platform, model) for model in page]
    return present(registered_models=models, next_page_token=token)


def _by_name(order: str) -> bool:
    return order.split() != [] and order.split()[0].strip("`") == "name"


def latest(platform: Embedded, ask: Latest) -> dict[str, Any]:
    """Return the newest version in each stage.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such model.
    """
    model_of(platform, ask.name)
    stages = [stage.lower() for stage in ask.stages or STAGES]
    newest = latest_versions(platform, ask.name)
    versions = [shown_version(version) for version in newest if version.stage.lower() in stages]
    return {"model_versions": versions}


def set_tag(platform: Embedded, ask: Tag) -> None:
    """Set a tag of a model.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such model.
        Invalid: The tag cannot be stored.
    """
    model_of(platform, ask.name)
    platform.registry.change_model(name=ask.name, tags={ask.key: ask.value})


def delete_tag(platform: Embedded, ask: Tag) -> None:
    """Delete a tag of a model.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such model.
    """
    model_of(platform, ask.name)
    platform.registry.change_model(name=ask.name, tags={ask.key: None})


def set_alias(platform: Embedded, ask: Alias) -> None:
    """Point an alias to a version.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such model or version.
        Invalid: The alias is reserved or cannot be a name, or the version is no number.
    """
    _check_alias(ask.alias)
    number = version_of(platform, ask).number
    platform.registry.set_alias(model=ask.name, alias=ask.alias, number=number)


def _check_alias(alias: str) -> None:
    reserved = alias.lower() == "latest" or re.fullmatch(r"v\d+", alias, re.I)
    if reserved or not re.fullmatch(r"[\w-]{1,100}", alias):
        raise Invalid(f"Invalid alias name: '{alias}'. 'latest' and names like 'v1' are reserved.")


def delete_alias(platform: Embedded, ask: Alias) -> None:
    """Delete an alias.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such model.
        Invalid: The alias is reserved or cannot be a name.
    """
    _check_alias(ask.alias)
    model_of(platform, ask.name)
    platform.registry.remove_alias(model=ask.name, alias=ask.alias)


def by_alias(platform: Embedded, ask: Alias) -> dict[str, Any]:
    """Return the version that an alias points to.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such model.
        Invalid: The model has no such alias.
    """
    model = model_of(platform, ask.name)
    if ask.alias == "latest":
        newest = platform.registry.find(model=ask.name, limit=1)
        if not newest:
            raise NotFound(f"Latest version not found for model {ask.name}.")
        return {"model_version": shown_version(newest[0])}
    if ask.alias not in model.aliases:
        raise Invalid(f"Registered model alias {ask.alias} not found.")
    version = platform.registry.get(model=ask.name, number=model.aliases[ask.alias])
    return {"model_version": shown_version(version)}


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
]
