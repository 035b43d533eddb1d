"""The section ``checks``: thresholds of the data quality checks, with the reason for each default."""

from pydantic import Field

from resources.settings.types import Section, Texts


class ImageThresholds(Section):
    """Files and their number."""

    plate_format: int = Field(
        default=24,
        ge=1,
        description="Inspections have as many images or a multiple: one a well, or several drops a well. 24 divides "
        "all the usual plate formats (24, 48, 96, 192, 288, 384). 1 accepts any number.",
    )
    settling_hours: float = Field(
        default=2,
        ge=0,
        description="Hours after imaging in which images may still be missing: the imager uploads while it "
        "photographs, and a plate takes up to an hour on a slow one. Younger inspections are not judged; later runs "
        "of the day judge them.",
    )
    least_kilobytes: float = Field(
        default=2,
        ge=0,
        description="The smallest file that can be a photograph of a drop, in kilobytes. Real ones have 100 to "
        "2,000; a JPEG header 0.6.",
    )
    least_of_median: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="The smallest file in relation to the median of its inspection. One camera makes files of one "
        "size (0.89 to 1.31 of the median on two real plates); a quarter is a picture that was cut off or shows "
        "nothing.",
    )
    hours_from_inspection: float = Field(
        default=26,
        gt=0,
        description="An image may have been taken so many hours before or after the time of its inspection. EXIF "
        "times mostly lack a time zone, which makes up to 14; an inspection takes some hours more.",
    )
    one_frame_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The inspection is withheld when more than this share of its images is one and the same file: "
        "the imager sent one frame again and again, and at least half of the scores belong to another drop. 1 "
        "switches this off.",
    )


class ExposureThresholds(Section):
    """What the pixels show."""

    black_share: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="An image counts as black when so large a share of its pixels is darker than level 16 of 255. "
        "Drops photographed with polarisers or with the well's rim in view reach 0.25 on real plates.",
    )
    saturated_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="An image counts as saturated when so large a share of its pixels is brighter than level 250. "
        "Reflections in drops reach 0.04.",
    )
    unexposed_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The inspection is withheld when more than this share of its images is black or saturated: a "
        "lamp or shutter has failed, and what MARCO calls clear was not seen. 1 switches this off.",
    )


class ProbabilityThresholds(Section):
    """What the neural network says."""

    sum_tolerance: float = Field(
        default=0.00001,
        gt=0,
        lt=1,
        description="Four probabilities sum to 1 within this. They are float32, whose own error is below 1e-6.",
    )
    same_vector_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="More than this share of different images with one and the same vector is a network that does "
        "not look at its input. Images of empty wells differ in their noise, and so in the digits behind the fourth. "
        "1 switches this off.",
    )
    least_images: int = Field(
        default=8,
        ge=2,
        description="Fewer different images than this, in an inspection or a day, say nothing about the network.",
    )


class PredictionThresholds(Section):
    """What a day looks like."""

    stability_index: float = Field(
        default=0.25,
        gt=0,
        description="Population stability index of the day's categories against those of the days before. Below 0.1 "
        "there is no change to speak of, up to 0.25 a moderate one, beyond it a major one (Siddiqi, Credit Risk "
        "Scorecards, 2006, after Lewis).",
    )
    trailing_days: int = Field(default=30, ge=1, description="Days before that the day is compared with.")
    least_images: int = Field(
        default=200,
        ge=1,
        description="Images that the day and the days before must each have: with fewer, one plate makes the index "
        "jump.",
    )
    most_crystals: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="The share of a day's images whose category is crystals may reach this. Facilities see 1 to 10 "
        "%; half a day of crystals is a plate of salt, or a wrong model.",
    )


class RowThresholds(Section):
    """What the database holds."""

    probability_tolerance: float = Field(
        default=0.0001,
        gt=0,
        lt=1,
        description="Probabilities read back from the database differ from the written ones by no more than this. A "
        "LIMS column with four decimals still passes.",
    )


class LabelThresholds(Section):
    """What people say."""

    scorers: Texts = Field(
        default=(),
        description="Names (as in scores.scorer) that may label. Empty: every name but those of scorer versions.",
        examples=[["ana", "ben"]],
    )
    least_kappa: float = Field(
        default=0.4,
        ge=-1,
        le=1,
        description="Kappa (Cohen's for two, Fleiss' for more) from which on agreement counts as enough. Above 0.4 "
        "it is moderate (Landis and Koch, Biometrics 33, 1977). Experts agree on fewer than 85 % of such images "
        "(C4's 2019 paper).",
    )
    least_images: int = Field(
        default=20,
        ge=2,
        description="Images in common without which two scorers, or people and the machine, are not compared.",
    )
    below_other_scorers: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="Somebody labels unlike everybody else whose agreement with the majority of the others lies so "
        "far below the median scorer's.",
    )
    least_category_share: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="A category with a smaller share of the week's labels cannot be learnt from them.",
    )
    near_duplicate_bits: int = Field(
        default=10,
        ge=0,
        le=256,
        description="Two images are near-duplicates when their perceptual hashes (256 bits) differ in no more bits. "
        "Different drops of one plate differ in at least 12 (two real plates), the same image re-compressed as JPEG "
        "of quality 50 to 90 or as PNG in up to 6 (16 images of them).",
    )
    compared_weeks: int = Field(
        default=12,
        ge=1,
        description="Weeks whose labels the new ones are compared with for near-duplicates, and that the labels "
        "report shows.",
    )
    held_out_plates: Texts = Field(
        default=(),
        description='Barcodes of the plates that are held out from training, as patterns ("HELD-*"). Empty: nothing '
        "is held out yet.",
        examples=[["HELD-*"]],
    )


class Thresholds(Section):
    """The thresholds of all data quality checks."""

    images: ImageThresholds = ImageThresholds()
    exposure: ExposureThresholds = ExposureThresholds()
    probabilities: ProbabilityThresholds = ProbabilityThresholds()
    predictions: PredictionThresholds = PredictionThresholds()
    rows: RowThresholds = RowThresholds()
    labels: LabelThresholds = LabelThresholds()
