"""What a notebook says: computed sentences and plain tables, made for people and for the pages."""

from __future__ import annotations

import pandas as pd

TAKEAWAY = "reclib_takeaway"
N_ROWS = 12


def takeaway(sentence: str) -> None:
    """Show a computed sentence in bold; the last one of a notebook stands on the index page."""
    from IPython.display import Markdown, display

    if not sentence or "\n" in sentence:
        raise ValueError(f"sentence == {sentence!r}, must be one line of text.")
    display(Markdown(f"**{sentence}**"), metadata={TAKEAWAY: True})


def show(frame: pd.DataFrame, *, rows: int = N_ROWS, digits: int = 3) -> None:
    """Show the first rows of a table, rounded, without its index; say how many rows are left out."""
    from IPython.display import HTML, Markdown, display

    floats = frame.select_dtypes("float").columns
    shown = frame.head(rows).assign(**{name: frame[name].head(rows).round(digits) for name in floats})
    html = shown.to_html(index=False, border=0, na_rep="", float_format=lambda value: f"{value:,.{digits}f}".rstrip("0").rstrip("."))
    display({"text/html": HTML(html).data, "text/plain": shown.to_string(index=False)}, raw=True)
    if len(frame) > rows:
        display(Markdown(f"{len(frame) - rows:,} further rows."))


def number(value: float, digits: int = 3) -> str:
    """Write a number with so many significant digits and thousands separators; "not known" where it is missing."""
    if value is None or pd.isna(value):
        return "not known"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.1e}"


def percent(share: float, digits: int = 1) -> str:
    """Write a share as a percentage."""
    return "not known" if share is None or pd.isna(share) else f"{100 * share:.{digits}f} %"


def money(value: float, currency: str, digits: int = 2) -> str:
    """Write an amount with its currency."""
    return "not known" if value is None or pd.isna(value) else f"{value:,.{digits}f} {currency}"


def interval(low: float, high: float, digits: int = 3) -> str:
    """Write an interval as [low, high]."""
    return f"[{number(low, digits)}, {number(high, digits)}]"
