"""``c4 slurm``: checks whether the cluster can run C4's steps."""

from typing import Annotated

import typer

from resources.settings import Settings

app = typer.Typer(help="Look after runs on a Slurm cluster.", no_args_is_help=True)


@app.callback()
def slurm() -> None:
    """Look after runs on a Slurm cluster."""


@app.command()
def check(
    gpu: Annotated[bool, typer.Option(help="Also send a job to a GPU node.")] = True,
    patience: Annotated[int, typer.Option(help="Seconds that each of the jobs may wait and run.")] = 180,
) -> None:
    """Check what runs on Slurm need, here and on compute nodes. Each line passes or says what to fix."""
    import dagster as dg

    from resources.executors.slurm.check import check_site
    from resources.executors.slurm.site import configured_site

    settings = Settings.from_environment()
    site = configured_site(settings.slurm)
    failed = 0
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        for finding in check_site(site, settings, instance, ("cpu", "gpu") if gpu else ("cpu",), patience):
            failed += finding.fix is not None
            typer.echo(f"FIX   {finding.what}: {finding.fix}" if finding.fix else f"pass  {finding.what}")
    if failed:
        raise typer.Exit(1)
