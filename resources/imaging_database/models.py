"""Which models score: decided once for the deployment, and the same on every machine that asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select

from resources.errors import ConfigurationError
from resources.imaging_database.database import ImagingDatabase
from resources.imaging_database.schema import c4_models, c4_scorer_versions, scores
from resources.imaging_database.statements import insert_absent

NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class RegisteredModel:
    """A model of the deployment.

    Attributes:
        name: what operators call it.
        source: a published model, or the path of a SavedModel.
        scorer_version: the row of ``c4_scorer_versions`` that its scores belong to, by column.
        active: whether images are scored by it.
        current: whether it is the one of the active models whose scores people see first.
    """

    name: str
    source: str
    scorer_version: Mapping[str, Any]
    active: bool
    current: bool


def registered_models(database: ImagingDatabase) -> list[RegisteredModel]:
    """Every model of the deployment: the current one first, then the active ones, then the others.

    Raises:
        Unavailable, ConfigurationError: the database cannot be asked.
    """
    query = (
        select(c4_models, c4_scorer_versions)
        .join(c4_scorer_versions, c4_scorer_versions.c.name == c4_models.c.scorer_version)
        .order_by(c4_models.c.active.desc(), c4_models.c.made_current_at.desc(), c4_models.c.name)
    )
    with database.reading("models") as connection:
        rows = connection.execute(query).mappings().all()
    return [
        RegisteredModel(
            row[c4_models.c.name],
            row[c4_models.c.source],
            {column.name: row[column] for column in c4_scorer_versions.c},
            row[c4_models.c.active],
            row[c4_models.c.active] and number == 0,
        )
        for number, row in enumerate(rows)
    ]


def known_versions(database: ImagingDatabase) -> list[dict[str, Any]]:
    """The rows of ``c4_scorer_versions`` with the time of the newest score, ``scored_last``, in the order of it."""
    newest = (
        select(func.max(scores.c.scored_at))
        .where(scores.c.scorer_version == c4_scorer_versions.c.name)
        .scalar_subquery()
        .label("scored_last")
    )
    query = select(c4_scorer_versions, newest).order_by(c4_scorer_versions.c.first_used_at)
    with database.reading("models") as connection:
        rows = [{str(name): value for name, value in row.items()} for row in connection.execute(query).mappings()]
    return sorted(rows, key=lambda row: row["scored_last"] or NEVER)


def register_model(database: ImagingDatabase, name: str, source: str, scorer_version: Mapping[str, Any]) -> bool:
    """Adds an active model. Of two machines that add one of the same name at once, one is heard.

    Args:
        scorer_version: the row of ``c4_scorer_versions``.

    Returns:
        Whether it was added; ``False`` where there is a model of that name.
    """
    now = datetime.now(UTC)
    row = {
        "name": name,
        "source": source,
        "scorer_version": scorer_version["name"],
        "active": True,
        "made_current_at": now if not registered_models(database) else NEVER,
    }
    with database.writing("models") as connection:
        insert_absent(connection, c4_scorer_versions, [dict(scorer_version)])
        return bool(insert_absent(connection, c4_models, [row]))


def change_model(
    database: ImagingDatabase,
    name: str,
    *,
    scorer_version: Mapping[str, Any] | None = None,
    active: bool | None = None,
    current: bool = False,
) -> None:
    """Gives a model another operating point, activates or deactivates it, or makes it the current one.

    Raises:
        ConfigurationError: there is no such model, or it is the only active one and would be deactivated.
    """
    models = registered_models(database)
    _refuse(models, name, active)
    values: dict[str, Any] = {}
    if scorer_version is not None:
        values["scorer_version"] = scorer_version["name"]
    if active is not None or current:
        values["active"] = bool(active or current)
    if current:
        values["made_current_at"] = datetime.now(UTC)
    with database.writing("models") as connection:
        if scorer_version is not None:
            insert_absent(connection, c4_scorer_versions, [dict(scorer_version)])
        connection.execute(c4_models.update().where(c4_models.c.name == name).values(values))


def _refuse(models: Sequence[RegisteredModel], name: str, active: bool | None) -> None:
    if name not in {model.name for model in models}:
        known = ", ".join(sorted(model.name for model in models)) or "none"
        raise ConfigurationError(f"There is no model {name!r}; there is {known}. `c4 model add {name}` adds it.")
    if active is False and {model.name for model in models if model.active} == {name}:
        raise ConfigurationError(f"{name} is the only active model: activate another one first.")
