"""``c4 config``: the settings in effect, and what settings there are."""

from typing import Annotated

import typer

from resources.settings.reference import effective, example, schema
from resources.settings.settings import Settings


def config(
    show_sources: Annotated[
        bool, typer.Option("--show-sources", help="Say behind each value where it comes from.")
    ] = False,
    example_file: Annotated[
        bool, typer.Option("--example", help="Print a commented file with every setting instead.")
    ] = False,
    json_schema: Annotated[
        bool, typer.Option("--schema", help="Print the file's JSON Schema instead, for editors.")
    ] = False,
    dagster_yaml: Annotated[
        bool, typer.Option("--dagster-yaml", help="Print the dagster.yaml that C4 has for these settings instead.")
    ] = False,
) -> None:
    """Print the settings in effect as a file c4.toml. Secrets are hidden."""
    if example_file:
        typer.echo(example(), nl=False)
    elif json_schema:
        typer.echo(schema(), nl=False)
    elif dagster_yaml:
        from c4_assets.deployment_home import shipped_dagster_yaml

        typer.echo(shipped_dagster_yaml(Settings.from_environment()), nl=False)
    else:
        typer.echo(effective(Settings.from_environment(), show_sources), nl=False)
