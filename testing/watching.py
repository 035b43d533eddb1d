"""A process that looks as the daemon's sensor does, but often, so that a test can kill it and listen.

Usage: ``python -m testing.watching HOME HEARTBEAT_URL HEARTBEAT_EVERY_S``.
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from c4_assets.deployment_home import dagster_instance
from c4_assets.runs.watch import heartbeat
from c4_assets.runs.watch.watching import deliver, watch
from resources.settings import Settings

LOOK_EVERY_S = 0.2


def main(home: str, address: str, every: str) -> None:
    """Looks until it is killed."""
    heartbeat.PING_EVERY = timedelta(seconds=float(every))
    settings = Settings(home=Path(home), alerts={"heartbeat_url": address})  # type: ignore[arg-type]
    with dagster_instance(settings) as instance:
        while True:
            watch(instance, settings, datetime.now(UTC))
            deliver(settings, datetime.now(UTC))
            time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
