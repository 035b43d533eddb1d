"""Names that imagers and their exporters give to files: a table, which a site extends in its ``c4.toml``.

A pattern is a regular expression over the end of a file's path, without its ending; case does not matter. Its named
groups say what it tells:

======================== ================================================================================
``plate``                the barcode; without it, the folder is the plate
``row``, ``column``      the well by letter (A to Z, AA to AF) and number
``row_number``           the row by number, in place of ``row``
``well_number``          the well counted along the rows, in place of row and column
``drop``, ``subwell``    the drop by number or by letter; without either it is drop 1
``inspection``           the number of the imaging (a batch, for Rock Imager)
``ymd``, ``yymmdd``,     the day of imaging, or day and time
``dmy``, ``ymdhm``
``light``                how it was lit, or by which imaging profile
``revision``             of several pictures of a drop, the highest is taken
======================== ================================================================================
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from resources.errors import ConfigurationError

GROUPS = frozenset(
    ("plate", "row", "column", "row_number", "well_number", "drop", "subwell", "inspection", "light", "revision")
) | {"ymd", "yymmdd", "dmy", "ymdhm"}

_WELL = r"(?P<row>A[A-F]|[A-Z])(?P<column>\d{1,3})"
_COLUMN_FIRST = r"(?P<column>\d{1,3})(?P<row>A[A-F]|[A-Z])"
_DROP = r"(?:(?P<subwell>[a-h])|[._-](?P<drop>\d{1,2}))"
_LIGHT = r"(?:[_-](?P<light>[a-z]{2}[^/_]*))?"


@dataclass(frozen=True)
class NamePattern:
    """One way to name an image file.

    ``plate_format`` is given where well numbers are always of one kind of plate; ``inspection_word`` is what the
    imager calls the number of an imaging.
    """

    name: str
    expression: str
    example: str
    plate_format: int | None = None
    inspection_word: str = "inspection"
    compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            compiled = re.compile(rf"(?:.*/)?(?:{self.expression})", re.IGNORECASE | re.DOTALL)
        except re.error as error:
            raise ConfigurationError(f"The pattern {self.expression!r} is no regular expression: {error}.") from error
        if unknown := compiled.groupindex.keys() - GROUPS:
            raise ConfigurationError(
                f"The pattern {self.expression!r} has the group {min(unknown)!r}; C4 knows {', '.join(sorted(GROUPS))}."
            )
        object.__setattr__(self, "compiled", compiled)


PATTERNS = (
    NamePattern(
        "Rock Imager's store",
        r"plateID_(?P<plate>\w+)/batchID_(?P<inspection>\d+)/wellNum_(?P<well_number>\d{1,4})/profileID_(?P<light>\d+)/"
        r"d(?P<drop>\d{1,2})_r(?P<revision>\d+)_ef",
        "plateID_14539/batchID_7001/wellNum_96/profileID_1/d1_r1961_ef.jpg",
        inspection_word="batch",
    ),
    NamePattern(
        "Minstrel",
        r"[^/]*_0*(?P<plate>[A-Z]{2}\d+)_(?P<inspection>\d{3,4})_(?P<yymmdd>\d{6})_(?P<column>\d{2,3})_"
        r"(?P<row_number>\d\d)_(?P<drop>\d\d)_(?P<light>[^_/]+)_[^/]*",
        "RMM3_01_222_ROBO_CI_0000CI022987_003_121121_12_08_01_HF_99_030_001_RDI.jpg",
    ),
    NamePattern(
        "CRIMS",
        r"[^_/]+_(?P<plate>[\w-]+?)_(?P<inspection>\d{1,4})_(?P<dmy>\d\d-\d\d-\d{4})_(?P<column>\d{2,3})_"
        r"(?P<row_number>\d\d)_(?P<drop>\d\d)_\d\d_\d\d_(?P<light>[^_/]+)",
        "FORMULATRIX_ZZ099999_3_04-12-2025_02_03_03_00_99_Vis.jpg",
    ),
    NamePattern(
        "1536-well plates of the High-Throughput Crystallization Center",
        r"(?P<plate>X\d{9})(?P<well_number>\d{4})(?P<ymdhm>\d{12})",
        "X0000056450155200509052032.png",
        plate_format=1536,
    ),
    NamePattern(
        "Rock Maker's exporter",
        rf"(?P<plate>[\w.-]+?)_{_WELL}{_DROP}?_(?P<light>[^/_]*[a-z][^/]*?)_[^_/]*_(?P<inspection>\d{{2,}})",
        "9z5j_A1_ImagerDefaults_1_7001.jpg",
        inspection_word="batch",
    ),
    NamePattern(
        "MARCO's samples",
        rf"(?P<plate>[\w.-]+?)_{_WELL}{_DROP}?_(?P<light>[^/_]*[a-z]{{2}}[^/]*?)_[^_/]{{0,3}}",
        "002s_C6_ImagerDefaults_9.jpg",
    ),
    NamePattern("Formulatrix", rf"(?P<plate>[\w.-]+)_{_COLUMN_FIRST}_(?P<drop>\d{{1,2}}){_LIGHT}", "90j8_01A_1.jpg"),
    NamePattern(
        "plate, well and drop", rf"(?P<plate>[\w.-]+)_{_WELL}[_-](?P<drop>\d{{1,2}}){_LIGHT}", "90j8_A01_1.jpg"
    ),
    NamePattern("plate, well and sub-well", rf"(?P<plate>[\w.-]+)_{_WELL}[_-]?(?P<subwell>[a-h])", "90j8_A01a.jpg"),
    NamePattern("well and drop", rf"{_WELL}[._-](?P<drop>\d{{1,2}}){_LIGHT}", "90j8/A01_1.jpg"),
    NamePattern("well and sub-well", rf"{_WELL}[._-]?(?P<subwell>[a-h])", "90j8/A01a.jpg"),
    NamePattern("column, row and drop", rf"{_COLUMN_FIRST}[._-](?P<drop>\d{{1,2}})", "90j8/01A_1.jpg"),
    NamePattern("a well alone", r"(?P<row>A[A-F]|[A-Z])(?P<column>\d{2,3})", "90j8/A01.jpg"),
)
"""The names that C4 knows, the ones that tell most first."""

DERIVATIVES = (
    (re.compile(r".*[_-](?:th|tn|thumb|thumbnail|preview|small)", re.IGNORECASE), "a thumbnail of another picture"),
    (re.compile(r".*[_-](?:dl|droplocation)", re.IGNORECASE), "a picture of where the drop lies"),
    (re.compile(r"d\d{1,2}_r\d+_\d{1,3}|.*[_-](?:z|slice)[_-]?\d{1,3}", re.IGNORECASE), "one slice of a focus series"),
    (re.compile(r"d\d{1,2}_r\d+", re.IGNORECASE), "a raw picture of a focus series"),
)
"""Names of pictures that were made from another one, or from which one was made: that one is scored."""

DERIVATIVE_FOLDER = re.compile(r"thumb(?:nail)?s?|previews?|slices?|z[_-]?stack", re.IGNORECASE)

OTHER_LIGHT = re.compile(
    r"(?:^|[^a-z])(?:uvf?|uv[ _-]?(?:tpef|fluorescence|epi|on|image|light)|tpef|shg|sonicc|mfi|fluo\w*|pol|"
    r"(?:cross[ _-]?)?polari[sz]\w*|trace|cy[357]|fitc|dapi|texas ?red)(?:$|[^a-z])",
    re.IGNORECASE,
)
"""Light, and imaging profiles, in which a drop looks as MARCO has never seen it."""


def patterns_of(expressions: Iterable[str]) -> tuple[NamePattern, ...]:
    """The site's own patterns, which come first, and those that C4 knows.

    Raises:
        ConfigurationError: one is no regular expression, or has a group that C4 does not know.
    """
    return (*(NamePattern("the site's own pattern", each, each) for each in expressions), *PATTERNS)
