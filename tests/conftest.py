"""What all tiers share: the test kit on the import path, and the hypothesis profiles."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# So that `from support.samples import endpoint` works in every import mode of pytest.
_HERE = str(Path(__file__).parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)

# No deadlines: a slow machine is not a failure. What takes long is seen in the tier's time.
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# dev explores a little anew at each run; ci always does the same, and prints what replays a
# failure; deep is for a night.
settings.register_profile("dev", _COMMON, max_examples=50)
settings.register_profile("ci", _COMMON, max_examples=100, derandomize=True, print_blob=True)
settings.register_profile("deep", _COMMON, max_examples=5000, print_blob=True)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") == "true" else "dev")
)
