"""Real Qt peers: PySide6's QWebSocket against our server, our WebSocket against its QWebSocketServer.

They need the extra ``test-qt``, and libraries that PySide6 does not bring. Where one is missing the tests are
skipped, with a line that names both; in CI a skip is a failure.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

__all__ = ["missing_qt"]


@cache
def missing_qt() -> str:
    """Why Qt cannot be used; empty when it can."""
    probe = [sys.executable, "-c", "from PySide6 import QtWebSockets"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    problem = done.stderr.strip().rpartition("\n")[2]
    return f"no Qt ({problem}): pip install '.[test-qt]', apt-get install libglib2.0-0 libgssapi-krb5-2"
