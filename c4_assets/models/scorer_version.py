"""The two identities of a machine score: the model version that gave its numbers, and the scorer version that decided.

An operating point decides, and computes nothing. So with another one, the numbers in the archive stay what they are,
and only the rows of the database are new.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class ScorerVersion:
    """A machine that scores: two versions score side by side and never overwrite each other.

    Attributes:
        model: the model's name, the first part of the version's.
        weights_sha256: digest of all files of the SavedModel.
        preprocessing: what is done to an image before it enters the neural network.
        engine, precision: what computes, and in which number format.
        crystal_threshold: the operating point: an image is flagged as a crystal from this probability on.
    """

    model: str
    weights_sha256: str
    preprocessing: str
    engine: str
    precision: str
    crystal_threshold: float

    @cached_property
    def name(self) -> str:
        """Key of rows in the database, for example ``marco-1f3a5b7c``; equal for equal parts, on every machine."""
        return f"{self.model}-{_digest(asdict(self))}"

    @cached_property
    def model_version(self) -> str:
        """Key of probabilities in the archive, for example ``marco-openvino-fp32-5b7c1f3a``: all but the decision."""
        numbers = {name: value for name, value in asdict(self).items() if name != "crystal_threshold"}
        return f"{self.model}-{self.engine}-{self.precision}-{_digest(numbers)}"

    def as_row(self) -> dict[str, Any]:
        """The version as a row of ``c4_scorer_versions``."""
        return {"name": self.name, **asdict(self), "first_used_at": datetime.now(UTC)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "ScorerVersion":
        """The version in a row of ``c4_scorer_versions``."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


def _digest(parts: Mapping[str, Any]) -> str:
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]
