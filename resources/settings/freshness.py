"""The section ``freshness``: by when Dagster expects its assets to be made again."""

from datetime import timedelta

from pydantic import Field, model_validator

from resources.settings.types import Section

SETTLES_AT_HOUR = 6
"""When ``settle_yesterday`` starts (UTC), whose run makes ``db_scores`` on days without images as well."""


class Freshness(Section):
    """By when assets are to be made again: Dagster's page of an asset warns, and then fails, if they are not."""

    inspections_warn_hours: int = Field(
        default=72,
        ge=1,
        description="Hours without a newer inspection after which that is a warning. The default bears a weekend "
        "(Friday evening to Monday morning); `c4 doctor` suggests what suits this facility.",
    )
    inspections_fail_hours: int = Field(
        default=168, ge=2, description="The same, after which it is a failure. The default bears a week of holidays."
    )
    scores_hour: int = Field(
        default=8,
        gt=SETTLES_AT_HOUR,
        le=23,
        description="Hour of the day (UTC) by which db_scores must have been made since 6, when the day before is "
        "settled.",
    )
    disagreements_warn_days: int = Field(
        default=8, ge=1, description="Days after which ashes_disagreements, made each Monday, is late."
    )
    disagreements_fail_days: int = Field(default=15, ge=2, description="Days after which it has failed.")
    backlog_warn_hours: int = Field(
        default=26, ge=1, description="Hours after which backlog_coverage, made each morning, is late."
    )
    backlog_fail_hours: int = Field(default=50, ge=2, description="Hours after which it has failed.")

    @model_validator(mode="after")
    def _warn_before_fail(self) -> "Freshness":
        for warn, fail, name in (
            (self.inspections_warn_hours, self.inspections_fail_hours, "inspections"),
            (self.disagreements_warn_days, self.disagreements_fail_days, "disagreements"),
            (self.backlog_warn_hours, self.backlog_fail_hours, "backlog"),
        ):
            if warn >= fail:
                raise ValueError(f"the warning of {name} must come before the failure")
        return self

    @property
    def inspections_fail_window(self) -> timedelta:
        """How long there may be no newer inspection."""
        return timedelta(hours=self.inspections_fail_hours)
