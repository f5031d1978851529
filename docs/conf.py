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

extensions = ["myst_parser", "pages", "commands", "generated", "reference", "qt_members", "own_site"]
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3
nitpicky = True
# What a program imports from wsecho must be on a page. For the names of others there is no inventory, which
# would need the network, and the inner modules are nobody's concern.
nitpick_ignore_regex = [("py:.*", r"(?!wsecho\.[A-Z]).*")]
default_role = "code"
exclude_patterns = ["_build"]
smartquotes = False

html_theme = "furo"
html_title = f"wsecho {release}"
html_static_path = ["_static"]
html_css_files = ["wsecho.css"]
# What a page is written in has marks where generated parts stand: nothing for readers.
html_copy_source = False
html_show_sourcelink = False
