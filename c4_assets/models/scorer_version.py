"""Which scorer gave a score: everything that can change a number, hashed into one short name."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class ScorerVersion:
    """A scorer as an entity of its own: two versions score side by side and never overwrite each other.

    Attributes:
        model: the model's name, the first half of the version's.
        weights_sha256: digest of all files of the SavedModel.
        preprocessing: what is done to an image before it enters the model.
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
        """For example ``marco-1f3a5b7c``; equal for equal parts, in every process and on every machine."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return f"{self.model}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"

    def as_row(self) -> dict[str, Any]:
        """The version as a row of ``c4_scorer_versions``."""
        return {"name": self.name, **asdict(self), "first_used_at": datetime.now(UTC)}
