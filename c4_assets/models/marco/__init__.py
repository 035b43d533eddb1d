"""MARCO: its network, what it sees of an image, and the engines that compute it."""

import sys
from typing import Any, cast

# OpenVINO tells its makers of every import, and writes a number for this account into its home, unless the package that
# does so is missing. There is no other switch.
cast("dict[str, Any]", sys.modules)["openvino_telemetry"] = None
