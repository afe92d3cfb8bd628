# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Results as tables, in plain text and for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def text_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of which the first one begins, and the others end, at one place.

    Parameters
    ----------
    title : str
        The first line.
    header : sequence of str
        Names of the columns.
    rows : sequence of sequences of str
        As long as the header.

    Returns
    -------
    str
        One line a row.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]
    return "\n".join([title, *lines])


def html_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same table for notebooks.

    Parameters
    ----------
    title, header, rows
        As for `text_table`.

    Returns
    -------
    str
        An element of HTML.
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr><th>{escape(first)}</th>"
        + "".join(f'<td style="text-align: right">{escape(cell)}</td>' for cell in others)
        + "</tr>"
        for first, *others in rows
    )
    caption = f'<caption style="text-align: left">{escape(title)}</caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
