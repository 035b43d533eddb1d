"""Judges rows with Great Expectations, which is imported only when there are rows to judge (it takes 2 s)."""

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from c4_assets.checks.check import Check, Expect, Tables, Verdict
from c4_assets.checks.thresholds import Thresholds

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext

# Great Expectations reports its use to its makers unless this is set before it is imported.
os.environ["GX_ANALYTICS_ENABLED"] = "false"


@dataclass(frozen=True)
class Judgement:
    """The result of :func:`judge`: one verdict per check, in the order of the checks.

    ``pages`` are Great Expectations' Data Docs as HTML, of the tables in which a row offends.
    """

    verdicts: tuple[Verdict, ...]
    pages: dict[str, str]

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The verdicts that did not pass."""
        return tuple(verdict for verdict in self.verdicts if not verdict.passed)


def judge(checks: Sequence[Check], tables: Tables, thresholds: Thresholds) -> Judgement:
    """Judges tables by the checks about them.

    A check of an empty or missing table passes, with nothing judged.
    """
    verdicts: dict[str, Verdict] = {}
    pages: dict[str, str] = {}
    for name in dict.fromkeys(check.table for check in checks):
        about = [check for check in checks if check.table == name]
        table = tables.get(name)
        if table is None or table.empty:
            verdicts |= {check.name: Verdict(check, 0, ()) for check in about}
            continue
        table = table.reset_index(drop=True)
        validated = _validated(name, table, about, thresholds)
        for check in about:
            results = [r for r in validated.results if r.expectation_config and _check_of(r) == check.name]
            verdicts[check.name] = _verdict(check, table, results)
        if not validated.success:
            pages[name] = _page(validated)
    return Judgement(tuple(verdicts[check.name] for check in checks), pages)


def _check_of(result: "ExpectationValidationResult") -> str:
    meta = result.expectation_config.meta if result.expectation_config else None
    return str((meta or {})["check"])


def _validated(
    name: str, table: "pd.DataFrame", checks: Sequence[Check], thresholds: Thresholds
) -> "ExpectationSuiteValidationResult":
    expected = [(expect, check) for check in checks for expect in check.expectations(thresholds)]
    context = _context()
    import great_expectations as gx

    suite = gx.ExpectationSuite(name, expectations=[_expectation(expect, check) for expect, check in expected])
    table = _harmless(table[list(dict.fromkeys(column for expect, _ in expected for column in expect.columns))])
    batch = context.data_sources.pandas_default.read_dataframe(table)
    return batch.validate(suite, result_format={"result_format": "COMPLETE"})


def _harmless(table: "pd.DataFrame") -> "pd.DataFrame":
    """Escapes text from the database, which Data Docs would put on the page as HTML."""
    return table.assign(
        **{
            str(name): [
                html.escape(value).replace("$", "&#36;") if isinstance(value, str) else value for value in column
            ]
            for name, column in table.items()
            if column.dtype.kind not in "biufM"
        }
    )


@lru_cache(maxsize=1)
def _context() -> "EphemeralDataContext":
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        # Pages are written elsewhere. A site of its own would leave an empty temporary folder behind.
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _expectation(expect: Expect, check: Check) -> Any:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    meta = {"check": check.name, "notes": check.holds}
    return ExpectationConfiguration(type=expect.kind, kwargs=dict(expect.arguments), meta=meta).to_domain_obj()


def _verdict(check: Check, table: "pd.DataFrame", results: "Sequence[ExpectationValidationResult]") -> Verdict:
    offending: set[int] = set()
    judged = 0
    for result in results:
        if result.exception_info and result.exception_info.get("raised_exception"):
            raise ValueError(f"the check {check.name} cannot be evaluated: {result.exception_info}")
        judged = max(judged, int(result.result["element_count"]) - int(result.result.get("missing_count", 0)))
        offending.update(int(row) for row in result.result.get("unexpected_index_list") or ())
    return Verdict(check, judged, _records(table.iloc[sorted(offending)]))


def _records(table: "pd.DataFrame") -> tuple[dict[str, Any], ...]:
    return tuple({str(name): value for name, value in row.items()} for row in table.to_dict("records"))


def _page(validated: "ExpectationSuiteValidationResult") -> str:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    return DefaultJinjaPageView().render(ValidationResultsPageRenderer(run_info_at_end=True).render(validated))
