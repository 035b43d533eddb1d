"""``c4 model``: the models that score in this deployment, and their weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from c4_assets.command.console import console
from c4_assets.command.site import open_site
from c4_assets.models.active import ActiveModels
from c4_assets.models.classifier import Classifier, ModelChoice, scorer_version_of
from c4_assets.models.weights import RELEASES, fetch, fetched, weights_sha256
from resources.errors import ConfigurationError
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.models import RegisteredModel, change_model, register_model, registered_models
from resources.settings import Settings

app = typer.Typer(help="Say which models score, and fetch their weights.", no_args_is_help=True)

Threshold = Annotated[
    float, typer.Option(min=1e-9, max=1.0, help="The operating point: flag crystals from this probability on.")
]


@app.command("fetch")
def fetch_(
    name: Annotated[str, typer.Argument(help="A published model, or a name of your own with --from.")] = "marco",
    source: Annotated[
        str | None, typer.Option("--from", help="A SavedModel's folder, a .whl or .zip that holds one, or its address.")
    ] = None,
) -> None:
    """Fetch a model's weights, check them and keep them among C4's models."""
    models = Settings.from_environment().models
    folder = fetch(name, models, source)
    console.print(f"{name} is in {folder}.", soft_wrap=True)


@app.command("list")
def list_() -> None:
    """List the models of this deployment, and the weights that are published or fetched."""
    from rich.table import Table

    settings, database, models = open_site()
    active = models.read()  # a new deployment gets its first model
    table = Table("model", "weights", "computed by", "operating point", "scorer version", "state")
    if settings.legacy_model is not None:
        table.add_row(*_row(active[0].name, active[0], "current, by old variables"))
    for model in registered_models(database):
        states = "current" if model.current else "active" if model.active else "not active"
        table.add_row(*_row(model.name, models.classifier(model), states))
    console.print(table)
    have = fetched(settings.models)
    weights = Table("weights", "digest", "folder")
    for name in sorted({*RELEASES, *have}):
        weights.add_row(name, weights_sha256(name, settings.models)[:12], str(have.get(name, "not fetched")))
    console.print(weights)


def _row(name: str, model: Classifier, state: str) -> tuple[str, ...]:
    version = model.version
    return name, model.source, model.arithmetic, f"{version.crystal_threshold:g}", version.name, state


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call the model, for example marco-bf16.")],
    weights: Annotated[str, typer.Option(help="Fetched weights, or the path of a SavedModel.")] = "marco",
    engine: Annotated[str, typer.Option(help="auto, tensorflow or openvino.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, bf16 (CPUs that have it) or fp16 (GPUs).")] = "fp32",
    threshold: Threshold = 0.25,
) -> None:
    """Add a model that scores beside the others: each has its own numbers in the archive and its own rows."""
    settings, database, models = open_site()
    models.read()
    if "/" in weights:  # steps run in other folders
        weights = str(Path(weights).expanduser().absolute())
    version = scorer_version_of(
        ModelChoice(weights, engine, precision, threshold), settings.models, settings.runs.executor
    )
    if not register_model(database, name, weights, version.as_row()):
        raise ConfigurationError(f"There is a model {name} already: `c4 model list` shows it. Choose another name.")
    console.print(f"{name} scores from the next run on, as {version.name} ({version.engine} in {version.precision}).")


@app.command()
def threshold(
    name: Annotated[str, typer.Argument(help="The model.")],
    probability: Annotated[float, typer.Argument(min=1e-9, max=1.0, help="Flag crystals from this probability on.")],
) -> None:
    """Give a model another operating point. Its numbers stay: nothing is fetched or classified again."""
    _, database, models = open_site()
    model = models.classifier(_registered(database, models, name))
    version = model.with_threshold(probability)
    change_model(database, name, scorer_version=version.as_row())
    console.print(
        f"{name} decides at {probability:g} from the next run on, as {version.name}. For images scored before, write "
        "its rows from the archive: `c4 run --pending`, or `c4 backlog start` for years of them.",
        soft_wrap=True,
    )


@app.command()
def current(name: Annotated[str, typer.Argument(help="The model.")]) -> None:
    """Make a model the current one: its scores are ranked, compared with people's, and shown first."""
    _, database, _models = open_site()
    change_model(database, name, current=True)
    console.print(f"{name} is the current model.")


@app.command()
def activate(name: Annotated[str, typer.Argument(help="The model.")]) -> None:
    """Have images scored by a model again, beside the others."""
    _, database, _models = open_site()
    change_model(database, name, active=True)
    console.print(f"{name} scores from the next run on.")


@app.command()
def deactivate(name: Annotated[str, typer.Argument(help="The model.")]) -> None:
    """Have no more images scored by a model. What it has scored stays."""
    _, database, _models = open_site()
    change_model(database, name, active=False)
    console.print(f"{name} scores no more images.")


def models_at_hand(settings: Settings, models: Sequence[Classifier]) -> None:
    """Fetches the weights of published models that are needed and not there.

    Raises:
        ConfigurationError, Unavailable: see :func:`c4_assets.models.weights.fetch`.
    """
    for source in sorted({model.source for model in models} & set(RELEASES) - set(fetched(settings.models))):
        console.print(f"Fetching the weights of {source} (43 MB), once …")
        fetch(source, settings.models)


def _registered(database: ImagingDatabase, models: ActiveModels, name: str) -> RegisteredModel:
    models.read()
    known = {model.name: model for model in registered_models(database)}
    if name not in known:
        raise ConfigurationError(f"There is no model {name!r}; there is {', '.join(sorted(known))}.")
    return known[name]
