"""Sphinx's configuration. `sphinx-build -W` must pass: a warning is an error."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src")]

_project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = _project["name"]
author = "wsecho contributors"
copyright = "2026, wsecho contributors"
version = release = _project["version"]

extensions = ["myst_parser", "generated"]
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3
nitpicky = True
exclude_patterns = ["_build"]
smartquotes = False

html_theme = "furo"
html_title = f"wsecho {release}"
html_static_path = ["_static"]
html_css_files = ["wsecho.css"]
