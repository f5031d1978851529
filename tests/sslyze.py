"""``sslyze --mozilla_config intermediate`` against a server with nothing but its defaults.

    python tests/sslyze.py PYTHON

PYTHON is that of an environment of its own with sslyze, which wants an older ``cryptography`` than wsecho;
``tox run -e sslyze`` makes one. The exit status is sslyze's: 0 when it finds nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading

_START_LINE = re.compile(r"listening on wss://127\.0\.0\.1:(\d+)/")


def main(python: str) -> int:
    """Serve with a development certificate, and let sslyze judge."""
    with tempfile.TemporaryDirectory() as folder:
        wsecho = [sys.executable, "-m", "wsecho"]
        make = [*wsecho, "make-certificate", f"--directory={folder}", "localhost"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        serve = [
            *wsecho,
            "--listen-tls=tcp:0:interface=127.0.0.1",
            f"--certificate={folder}/certificate.pem",
            f"--private-key={folder}/private-key.pem",
        ]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                port = next(found[1] for line in server.stdout if (found := _START_LINE.search(line)))
                # A server whose log nobody reads would stop when the pipe is full.
                threading.Thread(target=server.stdout.read, daemon=True).start()
                judge = [python, "-m", "sslyze", "--mozilla_config", "intermediate"]
                judge += ["--certinfo_ca_file", f"{folder}/ca.pem", f"localhost:{port}"]
                return subprocess.run(judge, check=False).returncode
            finally:
                server.terminate()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
