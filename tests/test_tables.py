# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tables in text and HTML."""

from emsparse_hs._tables import html_table, text_table

TABLE = "Title <1>", ["Name", "B"], [["a", "1.00"], ["long & last", "-"]]


def test_columns_are_aligned():
    assert text_table(*TABLE).splitlines() == [
        "Title <1>",
        "Name            B",
        "a            1.00",
        "long & last     -",
    ]


def test_html_is_escaped():
    html = html_table(*TABLE)
    assert "Title &lt;1&gt;" in html and "long &amp; last" in html
    assert html.count("<tr>") == 3 and html.count("<td") == 2
