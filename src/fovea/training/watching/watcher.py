"""What is shown a run's rows after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

# It receives all rows, the newest last: after a resume a watcher writes all of them anew, and none stands there twice.
Watcher = Callable[[Sequence[dict[str, Any]]], None]
