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


def show(frame: pd.DataFrame, *, rows: int = N_ROWS, digits: int = 3, labels: dict[str, str] | None = None,
         shares: tuple[str, ...] = (), empty: str = "Nothing to list.") -> None:
    """Show the first rows of a table, rounded, without its index; say how many rows are left out.

    Args:
        frame: the table.
        rows: rows shown at most; one more where only that one would be left out.
        digits: decimals of numbers that are not whole.
        labels: words for people in place of column names.
        shares: columns that are written as percentages, with two decimals less.
        empty: what is said of a table without rows; an empty text says nothing.
    """
    from IPython.display import HTML, Markdown, display

    if frame.empty:
        if empty:
            display(Markdown(empty))
        return
    rows += len(frame) == rows + 1
    shown = pd.DataFrame({name: _percents(frame[name].head(rows), digits - 2) if name in shares
                          else _cells(frame[name].head(rows), digits) for name in frame.columns})
    shown = shown.rename(columns=labels or {})
    display({"text/html": HTML(shown.to_html(index=False, border=0)).data, "text/plain": shown.to_string(index=False)},
            raw=True)
    if len(frame) > rows:
        display(Markdown(f"{len(frame) - rows:,} further rows."))


def _cells(values: pd.Series, digits: int) -> list[str]:
    """Write the cells of a column; p-values that would read 0 are given as a bound."""
    name = str(values.name)
    if name.startswith("p_value") or name == "p_adjusted":
        bound = 10.0**-digits
        return ["" if pd.isna(p) else f"<\u00a0{bound:g}" if p < bound else f"{p:.{digits}f}" for p in values]
    if not pd.api.types.is_float_dtype(values):
        is_id = name.endswith("_id") or not pd.api.types.is_integer_dtype(values)
        return ["" if _is_missing(value) else str(value) if is_id else f"{value:,}" for value in values]
    return ["" if pd.isna(value) else _trimmed(value, digits) for value in values]


def _percents(values: pd.Series, digits: int) -> list[str]:
    return ["" if pd.isna(value) else percent(value, digits) for value in values]


def _is_missing(value: object) -> bool:
    return pd.api.types.is_scalar(value) and bool(pd.isna(value))


def _trimmed(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


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
