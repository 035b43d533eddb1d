"""``c4 model``: MARCO's weights."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from c4_assets.command.console import console
from c4_assets.models.classifier import Classifier
from c4_assets.models.marco.network import frozen_graph
from c4_assets.models.weights import RELEASES, fetch, fetched, locate, weights_sha256
from resources.settings import LegacyModel, Settings

app = typer.Typer(help="Fetch and list models.", no_args_is_help=True)


@app.command("fetch")
def fetch_(
    name: Annotated[str, typer.Argument(help="A published model, or a name of your own with --from.")] = "marco",
    source: Annotated[
        str | None, typer.Option("--from", help="A SavedModel's folder, a .whl or .zip that holds one, or its address.")
    ] = None,
) -> None:
    """Fetch a model's weights, check them and keep them below C4_MODELS."""
    models = Settings.from_environment().models
    folder = fetch(name, models, source)
    if find_spec("tensorflow"):  # what its engine runs is made now, and not by the first step
        frozen_graph(folder, weights_sha256(name, models), models)
    console.print(f"{name} is in {folder}.", soft_wrap=True)


@app.command("list")
def list_() -> None:
    """List the published and the fetched models."""
    from rich.table import Table

    settings = Settings.from_environment()
    model = (settings.legacy_model or LegacyModel()).model
    have = fetched(settings.models)
    table = Table("model", "weights", "folder")
    for name in sorted({*RELEASES, *have}):
        table.add_row(name, weights_sha256(name, settings.models)[:12], str(have.get(name, "not fetched")))
    console.print(table)
    console.print(f"{model} is run by {Classifier(settings).arithmetic}.", soft_wrap=True)


def model_at_hand(settings: Settings) -> Path:
    """The folder of the settings' model, which is fetched now if it is a published one and has not been.

    Raises:
        ConfigurationError, Unavailable: see :func:`c4_assets.models.weights.fetch`.
    """
    model = (settings.legacy_model or LegacyModel()).model
    if model in RELEASES and model not in fetched(settings.models):
        console.print(f"Fetching the weights of {model} (43 MB), once …")
        return fetch(model, settings.models)
    return locate(model, settings.models)
