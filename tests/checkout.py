"""Where the checkout is, and clean copies of it: for tests that are about the project and not its code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

#: The top of the checkout (or of an unpacked sdist) that these tests belong to.
CHECKOUT = Path(__file__).resolve().parent.parent

_NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", ".tox", ".*cache", ".hypothesis", "__pycache__", "_build", "_trial_temp*", "dist"
)


def copy_checkout(folder: Path) -> Path:
    """Copy the sources to `folder`, which must not exist yet, and return it.

    The copy has no version control: then hatchling goes by pyproject.toml alone, which is where a wrong
    `exclude` shows.
    """
    shutil.copytree(CHECKOUT, folder, ignore=_NOT_SOURCE)
    return folder


def build(kind: str, checkout: Path, folder: Path, **variables: str) -> Path:
    """Build `wheel` or `sdist` of `checkout` into `folder` with hatchling and return the file.

    `variables` are set in the environment of the build.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = f"import hatchling.build, sys; print(hatchling.build.build_{kind}(sys.argv[1]))"
    command = [sys.executable, "-c", script, str(folder.resolve())]
    environment = os.environ | variables
    done = subprocess.run(
        command, cwd=checkout, env=environment, check=True, text=True, stdout=subprocess.PIPE
    )
    return folder / done.stdout.splitlines()[-1]
