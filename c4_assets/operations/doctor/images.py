"""Checks of store and model, and of one real image that goes through database, store, decoder and model."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from c4_assets.checks.listed_files import files_of_newest
from c4_assets.models.active import ActiveModels
from c4_assets.models.classifier import Classifier
from c4_assets.models.marco.preprocessing import PREPROCESSINGS
from c4_assets.operations.doctor.databases import MIGRATIONS
from c4_assets.operations.doctor.examine import Check
from resources.clock_skew import skew
from resources.errors import C4Error, ConfigurationError
from resources.extras import naming_extras
from resources.findings import Finding, Verdict
from resources.image_store import ImageStore
from resources.image_store.ssh_clock import clock_of
from resources.imaging_database import ImagingDatabase
from resources.imaging_database.newest import newest_image
from resources.records import CATEGORIES, Image, likeliest
from resources.settings import Settings
from resources.settings.types import without_secrets

SECTION, MODEL_SECTION = "One image, from the database to the model", "Model"

NO_SUCH_IMAGE = "c4-doctor-asks-for-no-image.jpg"


@dataclass
class _Image:
    """The image on its way."""

    image: Image | None = None
    data: bytes = b""


def image_checks(
    settings: Settings, database: ImagingDatabase, store: ImageStore, models: ActiveModels, *, computes_here: bool
) -> list[Check]:
    """The checks of these sections.

    Args:
        computes_here: whether this machine decodes and classifies; elsewhere Slurm's nodes do.
    """
    one, address = _Image(), without_secrets(settings.store.url)
    ssh = settings.store.url.startswith("ssh://")
    checks = [
        Check(
            "store.answers",
            SECTION,
            f"the image store {address}",
            lambda: [_answers(store, address)],
            silence="It takes connections and says nothing, or is not reached: see whether it is up, whether a "
            "firewall lies between, and whether its own disks hang.",
        ),
        Check("image.listed", SECTION, "an image", lambda: [_listed(database, models, one)], after=(MIGRATIONS,)),
        Check("image.fetched", SECTION, "its file", lambda: _fetched(store, one), ("image.listed", "store.answers")),
        Check("store.files", SECTION, "files of the newest inspections", lambda: _files(database, store), _FILES_AFTER),
        *([_clock(settings)] if ssh else []),
    ]
    if computes_here:
        checks += [
            Check("image.decoded", SECTION, "its pixels", lambda: _decoded(models, one), ("image.fetched",)),
            Check("image.classified", SECTION, "its score", lambda: _classified(models, one), _CLASSIFIED_AFTER),
        ]
    weights = Check("model.weights", MODEL_SECTION, "the models' files", lambda: _weights(models), (MIGRATIONS,))
    engine = Check("model.engine", MODEL_SECTION, "the models", lambda: _engines(models), ("model.weights",))
    return [*checks, weights, *([engine] if computes_here else [])]


_FILES_AFTER = ("store.answers", "contract")
_CLASSIFIED_AFTER = ("image.decoded", "model.engine")


def _clock(settings: Settings) -> Check:
    def look() -> list[Finding]:
        before = monotonic()
        ahead = clock_of(settings.store.url, replace(settings.ssh, timeout=4.0))
        if ahead is None:
            return [Finding("store.clock", "the storage host runs no commands for C4, so its clock is not compared")]
        return [skew("store.clock", "the storage host", ahead - (monotonic() - before) / 2)]

    return Check("store.clock", SECTION, "the storage host's clock", look, ("store.answers",))


def _answers(store: ImageStore, address: str) -> Finding:
    try:
        with naming_extras():
            told = list(store.fetch([NO_SUCH_IMAGE]))  # a store that answers says that there is none
    except C4Error as error:
        return Finding("store.answers", f"the image store {address}", Verdict.FAILED, str(error))
    if told and told[0].error and "mount what belongs" in told[0].error:
        return Finding("store.answers", f"the image store {address}", Verdict.FAILED, told[0].error)
    return Finding("store.answers", f"the image store {address} answers")


def _listed(database: ImagingDatabase, models: ActiveModels, one: _Image) -> Finding:
    began = monotonic()
    try:
        current = models.peek()[0]
        one.image = newest_image(database, current.version.name)
    except C4Error as error:
        return Finding("image.listed", "no image could be asked for", Verdict.FAILED, str(error))
    if one.image is None:
        fix = "`c4 import FOLDER` lists some, or the LIMS does; until then nothing shows whether one comes through."
        return Finding("image.listed", "the imaging database lists no image", Verdict.WARNED, fix)
    image = one.image
    if image.unusable:
        return Finding("image.listed", "the newest image cannot be scored", Verdict.FAILED, image.unusable)
    took = monotonic() - began
    place = f"plate {image.plate}, {image.well}.{image.drop_number}"
    return Finding("image.listed", f"image {image.image_id} ({place}) is listed at {image.path}, in {took:.2f} s")


def _fetched(store: ImageStore, one: _Image) -> Iterator[Finding]:
    if one.image is None:
        return
    began = monotonic()
    try:
        (fetched,) = list(store.fetch([one.image.path]))
    except C4Error as error:
        yield Finding("image.fetched", "its file did not come", Verdict.FAILED, str(error))
        return
    if fetched.data is None:
        yield Finding("image.fetched", "its file did not come", Verdict.FAILED, f"{fetched.error}.")
        return
    one.data = fetched.data
    yield Finding("image.fetched", f"its file came: {len(one.data):,} bytes in {monotonic() - began:.2f} s")


def _files(database: ImagingDatabase, store: ImageStore) -> list[Finding]:
    return files_of_newest(database, store) or [Finding("store.files", "the files of the newest inspections are there")]


def _decoded(models: ActiveModels, one: _Image) -> Iterator[Finding]:
    if not one.data:
        return
    began = monotonic()
    try:
        with naming_extras():
            height, width, _ = PREPROCESSINGS[models.peek()[0].version.preprocessing](one.data).shape
    except C4Error as error:
        yield Finding("image.decoded", "it could not be decoded", Verdict.FAILED, str(error))
        return
    yield Finding("image.decoded", f"it was decoded to {width} × {height} pixels in {monotonic() - began:.2f} s")


def _classified(models: ActiveModels, one: _Image) -> Iterator[Finding]:
    if not one.data:
        return
    began = monotonic()
    try:
        current = models.peek()[0]
        (said,) = list(current.engine.classify([one.data]))
    except C4Error as error:
        yield Finding("image.classified", "it could not be classified", Verdict.FAILED, str(error))
        return
    if said.probabilities is None:
        yield Finding("image.classified", "it could not be classified", Verdict.FAILED, f"{said.error}.")
        return
    best = likeliest(said.probabilities)
    share = said.probabilities[CATEGORIES.index(best)]
    yield Finding("image.classified", f"{current.name} says {best} ({share:.0%}), in {monotonic() - began:.2f} s")


def _weights(models: ActiveModels) -> Iterable[Finding]:
    try:
        active = models.peek()
    except C4Error as error:
        return [Finding("model.weights", "the active models", Verdict.FAILED, str(error))]
    return [_weights_of(classifier) for classifier in active]


def _weights_of(classifier: Classifier) -> Finding:
    fetch = f"`c4 model fetch {classifier.source}` on this machine brings the published files again."
    try:
        digest = classifier.weights_on_disk()
    except ConfigurationError as error:
        return Finding("model.weights", f"the files of the model {classifier.name}", Verdict.FAILED, str(error))
    if digest != classifier.version.weights_sha256:
        what = f"the files of the model {classifier.name} are not those that it was added with (sha256 differs)"
        fix = fetch if "/" not in classifier.source else "Bring the files back, or add them as another model."
        return Finding("model.weights", what, Verdict.FAILED, fix)
    return Finding("model.weights", f"the files of the model {classifier.name} are whole (sha256 {digest[:8]})")


def _engines(models: ActiveModels) -> Iterator[Finding]:
    active: Sequence[Classifier] = models.peek()
    for classifier in active:
        began = monotonic()
        try:
            with naming_extras():
                _ = classifier.engine
        except C4Error as error:
            what = f"the model {classifier.name} cannot be loaded"
            yield Finding("model.engine", what, Verdict.FAILED, str(error))
        else:
            took = monotonic() - began
            yield Finding("model.engine", f"{classifier.name} ({classifier.arithmetic}) is loaded, in {took:.1f} s")
