"""The verbs for a home's signing keys: list them, and put a new one in the place of the last."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from treadle.cli.output import Home, Json, console, home_of, open_home, print_json, print_table
from treadle.cli.verbs import add_group

_HIDDEN = ("secret",)


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    add_group(app, "keys", "List a home's signing keys, and rotate them.", list_, rotate)


def list_(home: Home = None, json: Json = False) -> None:
    """List the keys with which the home has signed; the last one signs. No secret is shown."""
    from treadle.kernel.entity import fields
    from treadle.kernel.errors import NotFound
    from treadle.platform.signing import KEY, read_keys

    folder = home_of(home)
    if not (folder / KEY).exists():
        raise NotFound(f"There is no '{folder / KEY}'. Name a home with --home.")
    rows: list[dict[str, Any]] = [
        {name: value for name, value in fields(key).items() if name not in _HIDDEN}
        for key in read_keys(folder).keys
    ]
    if json:
        print_json(rows)
    else:
        shown = [
            (
                row["id"],
                row["made_at"],
                row["retired_at"],
                row["retired_by"],
                row["compromised_since"],
            )
            for row in rows
        ]
        columns = ("key", "made", "retired", "by event", "compromised since")
        print_table("", columns, shown)


def rotate(
    compromised: Annotated[
        str | None,
        typer.Option(
            "--compromised",
            metavar="MOMENT",
            show_default=False,
            help="Believe no signature of the replaced key since this moment, such as "
            "2026-03-01T12:00 (UTC unless it says another zone).",
        ),
    ] = None,
    key: Annotated[
        str,
        typer.Option(
            "--key", show_default=False, help="With --compromised: an older key that is meant."
        ),
    ] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """Sign with a new key from now on; a server may run. Older keys stay to verify with.

    Back up the home, or HOME/.signing.key, afterwards: a copy of before lacks the new key.
    """
    from treadle.kernel.entity import fields
    from treadle.platform.rotation import rotate_key

    since = None if compromised is None else _moment(compromised)
    with open_home(home) as platform:
        rotated = rotate_key(
            platform.settings.folder,
            platform.database,
            platform.events,
            platform.clock,
            since=since,
            compromised=key,
        )
        platform.note_head()
        disbelieved = []
        if since is not None:
            versions = platform.registry.find(limit=1_000_000)
            disbelieved = [one.ref for one in versions if platform.registry.approval_fault(one)]
    if json:
        print_json({**fields(rotated), "disbelieved": disbelieved})
        return
    console.print(
        f"Key {rotated.key} signs from event {rotated.event:,} on; {rotated.before} only verifies. "
        "Back up HOME/.signing.key.",
        markup=False,
        soft_wrap=True,
    )
    for ref in disbelieved:
        console.print(
            f"The approval of '{ref}' is not believed. Sign it again: treadle approve {ref}",
            markup=False,
            soft_wrap=True,
        )


def _moment(text: str) -> datetime:
    """A moment in UTC."""
    from treadle.kernel.errors import Invalid

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(
            f"'{text}' is no moment. Write --compromised 2026-03-01T12:00, for example."
        ) from error
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
