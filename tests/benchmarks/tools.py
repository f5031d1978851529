"""The compiled load and limit, compiled once for all tests of a process."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest

from benchmarks.building import BuildError, Tools, build, compiler

__all__ = ["tools"]


@functools.cache
def _build() -> Tools:
    folder = tempfile.mkdtemp(prefix="wsecho-tools-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build(Path(folder), "-Werror")


def tools() -> Tools:
    """The programs; the test is skipped where there is no C compiler."""
    try:
        compiler()
    except BuildError as error:
        raise SkipTest(str(error)) from error
    return _build()
