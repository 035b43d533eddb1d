"""``c4 slurm``: checks whether the cluster can run C4's steps."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from c4_assets.command.console import console
from c4_assets.command.findings import print_findings
from resources.findings import Finding, Verdict
from resources.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from resources.settings import Site

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
    from c4_assets.operations.doctor.render import exit_status
    from resources.executors.slurm.check import check_site
    from resources.executors.slurm.site import configured_site

    settings = Settings.from_environment()
    site = configured_site(settings.slurm)
    findings: list[Finding] = []
    with _instance(settings) as instance:
        kinds = ("cpu", "gpu") if gpu else ("cpu",)
        for finding in check_site(site, settings, instance, kinds, patience, used_on_nodes(site)):
            findings.append(finding)
            print_findings(console, [finding])
    if status := exit_status(findings):
        raise typer.Exit(status)


def _instance(settings: Settings) -> "dg.DagsterInstance":
    from c4_assets.deployment_home import dagster_instance

    try:
        return dagster_instance(settings)
    except Exception as error:  # its storages raise whatever their drivers do
        why = str(error).strip().splitlines() or [type(error).__name__]
        what = f"the Dagster instance in {settings.dagster_home}"
        print_findings(
            console, [Finding("dagster.storage", what, Verdict.FAILED, f"{why[0]} See runs.dagster_storage.")]
        )
        raise typer.Exit(1) from error


def used_on_nodes(site: "Site") -> Mapping[str, Collection[str]]:
    """Of each kind of node, what the steps that run there talk to: ``image_store``, ``imaging_database``."""
    import dagster as dg

    from c4_assets.definitions import defs
    from resources.executors.slurm.check import SERVICES
    from resources.executors.slurm.site import plan_step
    from resources.executors.step_resources import StepResources

    used: dict[str, set[str]] = defaultdict(set)
    for asset in defs.assets or ():
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            name = asset.op.name
            asked = StepResources.from_tags(asset.op.tags, name)
            if plan_step(site, name, asked)[0].where == "cluster":
                used[asked.kind] |= asset.required_resource_keys & SERVICES.keys()
    return used
