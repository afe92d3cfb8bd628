# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Settings of the documentation; it builds without a network."""

import warnings

# Other packages' notes to their own developers.
warnings.filterwarnings("ignore", message=".*(is deprecated|internal use only)")

import emsparse_hs  # noqa: E402

project = "emsparse_hs"
author = "The emsparse_hs developers"
copyright = "2026, the emsparse_hs developers, GPL-3.0-or-later"
version = release = emsparse_hs.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
# Names in single backticks are looked up here, and left as they are if they are elsewhere.
default_role = "autolink"
numpydoc_show_class_members = False

html_theme = "sphinx_book_theme"
html_title = f"emsparse_hs {version}"
html_show_sourcelink = False
html_theme_options = {
    "show_navbar_depth": 1,
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    # The side bar has a search field already.
    "navbar_persistent": [],
}


def skip_what_others_document(app, what, name, member, skip, options):
    """Leave out methods that signals inherit from HyperSpy or pyxem."""
    function = getattr(member, "fget", member)
    home = getattr(function, "__module__", None) or ""
    return skip or not home.startswith("emsparse_hs")


def setup(app):
    app.connect("autodoc-skip-member", skip_what_others_document)
