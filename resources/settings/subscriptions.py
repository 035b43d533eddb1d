"""The section ``subscriptions``: what is told to people who subscribed to plates."""

from pydantic import Field

from resources.settings.types import Section


class Subscriptions(Section):
    """Mails with the likeliest new crystals to those who asked for them (`c4 subscribe`)."""

    least_probability: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The least probability of crystals that is told. Without: the operating point of the current "
        "model, whatever it is. A drop must reach both.",
        examples=[0.5],
    )
    days: int = Field(
        default=7,
        ge=1,
        le=365,
        description="Only inspections that were imaged within so many days are told: a backfill of history sends "
        "nothing.",
    )
    pictures: int = Field(default=12, ge=0, le=24, description="Most pictures in one mail.")
