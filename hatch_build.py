"""Builds the compiled part of wsecho, ``wsecho.wire._lane``, when there is a compiler; without one, the wheel
is pure.

``WSECHO_REQUIRE_LANE=1`` makes a failed build an error, which otherwise passes for a pure one;
``WSECHO_PURE=1`` builds none.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PACKAGE = Path("src", "wsecho", "wire")


class LaneBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled part to a wheel, or puts it beside its source for an editable install."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files; ``version`` is "standard" or "editable"."""
        if self.target_name != "wheel" or os.environ.get("WSECHO_PURE") == "1":
            return
        self._work = Path(tempfile.mkdtemp(prefix="wsecho-lane-"))
        try:
            built = self._build()
        except BaseException as error:  # distutils raises SystemExit, too
            if os.environ.get("WSECHO_REQUIRE_LANE") == "1" or isinstance(error, KeyboardInterrupt):
                raise
            self.app.display_warning(f"no compiled part ({error}); wsecho will be pure Python")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if version == "editable":
            shutil.copy2(built, Path(self.root, _PACKAGE, built.name))
        else:
            build_data["force_include"][str(built)] = f"wsecho/wire/{built.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called by hatchling when the wheel is written."""
        work = getattr(self, "_work", None)
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)

    def _build(self) -> Path:
        # Imported here: a pure build needs neither.
        from Cython.Build import cythonize
        from setuptools import Distribution, Extension  # type: ignore[import-untyped]

        folder = Path(self.root, _PACKAGE)
        extension = Extension(
            "wsecho.wire._lane",
            [str(folder / "_lane.pyx")],
            include_dirs=[str(folder)],
            extra_compile_args=["-O3"],
        )
        # Never into the checkout: what a build leaves there would be packed by the next.
        compile_modules: Any = cythonize
        modules = compile_modules([extension], build_dir=str(self._work), language_level=3, quiet=True)
        command: Any = Distribution({"name": "wsecho", "ext_modules": modules}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(self._work / "lib"), str(self._work / "tmp")
        command.ensure_finalized()
        command.run()
        return Path(command.get_outputs()[0])
