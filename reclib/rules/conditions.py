"""Conditions as data: `{field, op, value}` under `all`, `any` and `not`, never an expression that is evaluated.

A condition is held against columns in three values: true, false, or not known where the data is missing. What
"not known" means is the rule's to say (`on_missing`), so a missing flag can fail closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Scalar = bool | int | float | str
OPS = ("==", "!=", ">=", ">", "<=", "<", "in", "not_in", "is_null")
_ORDER = {">=": np.greater_equal, ">": np.greater, "<=": np.less_equal, "<": np.less}
_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def utc(moment: str | pd.Timestamp) -> pd.Timestamp:
    """A moment in UTC; one without a zone is in UTC already."""
    at = pd.Timestamp(moment)
    return at.tz_localize("UTC") if at.tzinfo is None else at.tz_convert("UTC")


class Test(BaseModel):
    """One column held against a value."""

    model_config = _STRICT
    __test__ = False
    field: str
    op: Literal["==", "!=", ">=", ">", "<=", "<", "in", "not_in", "is_null"]
    value: Scalar | list[Scalar] | None = None

    @model_validator(mode="after")
    def _check(self) -> Test:
        if self.op in ("in", "not_in") and not isinstance(self.value, list):
            raise ValueError(f"op {self.op!r} needs a list as value, got {self.value!r}")
        if self.op == "is_null" and not isinstance(self.value, bool):
            raise ValueError(f"op 'is_null' needs true or false as value, got {self.value!r}")
        if self.op not in ("in", "not_in", "is_null") and not isinstance(self.value, Scalar):
            raise ValueError(f"op {self.op!r} needs a single value, got {self.value!r}")
        return self


class All(BaseModel):
    """True where every part is."""

    model_config = _STRICT
    all: Annotated[list[Condition], Field(min_length=1)]


class Any_(BaseModel):
    """True where some part is."""

    model_config = _STRICT
    any: Annotated[list[Condition], Field(min_length=1)]


class Not(BaseModel):
    """True where its part is false."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    not_: Condition = Field(alias="not")


def _shape(raw: Any) -> str:
    """Which of the four shapes a condition has, by its keys."""
    keys = raw.keys() if isinstance(raw, dict) else type(raw).model_fields if isinstance(raw, BaseModel) else ()
    return next((f"<{word}>" for word in ("all", "any", "not") if word in keys or f"{word}_" in keys), "<test>")


Condition = Annotated[
    Annotated[Test, Tag("<test>")] | Annotated[All, Tag("<all>")] | Annotated[Any_, Tag("<any>")]
    | Annotated[Not, Tag("<not>")], Discriminator(_shape)]
for _model in (All, Any_, Not):
    _model.model_rebuild()


class Truth:
    """What is known to be true and what is known at all, one entry a row."""

    def __init__(self, is_true: np.ndarray, is_known: np.ndarray) -> None:
        self.is_true = is_true & is_known
        self.is_known = is_known

    @property
    def is_false(self) -> np.ndarray:
        """Known, and not true."""
        return self.is_known & ~self.is_true


def hold(condition: Condition, column: Callable[[str], pd.Series | np.ndarray]) -> Truth:
    """Hold a condition against columns.

    Args:
        condition: what is asked.
        column: gives the values of a field, one a row; raises `KeyError` where there is no such column.

    Returns:
        Truth in three values; `all` is false as soon as one part is, `any` true as soon as one part is.
    """
    if isinstance(condition, Test):
        return _held(condition, column(condition.field))
    if isinstance(condition, Not):
        part = hold(condition.not_, column)
        return Truth(part.is_false, part.is_known)
    parts = [hold(part, column) for part in _parts(condition)]
    some_true = np.logical_or.reduce([part.is_true for part in parts])
    some_false = np.logical_or.reduce([part.is_false for part in parts])
    all_known = np.logical_and.reduce([part.is_known for part in parts])
    if isinstance(condition, All):
        return Truth(~some_false, all_known | some_false)
    return Truth(some_true, all_known | some_true)


def fields(condition: Condition | None) -> Iterator[str]:
    """Name the fields that a condition asks for."""
    if condition is None:
        return
    if isinstance(condition, Test):
        yield condition.field
    elif isinstance(condition, Not):
        yield from fields(condition.not_)
    else:
        for part in _parts(condition):
            yield from fields(part)


def words(condition: Condition) -> str:
    """Say a condition in one line."""
    if isinstance(condition, Test):
        if condition.op == "is_null":
            return f"{condition.field} is {'missing' if condition.value else 'there'}"
        return f"{condition.field} {condition.op.replace('_', ' ')} {_said(condition.value)}"
    if isinstance(condition, Not):
        return f"not ({words(condition.not_)})"
    parts, link = _parts(condition), " and " if isinstance(condition, All) else " or "
    return "(" + link.join(words(part) for part in parts) + ")" if len(parts) > 1 else words(parts[0])


def _parts(condition: All | Any_) -> list[Condition]:
    return condition.all if isinstance(condition, All) else condition.any


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "[" + ", ".join(map(_said, value)) + "]" if isinstance(value, list) else str(value)


def _held(test: Test, values: pd.Series | np.ndarray) -> Truth:
    values = pd.Series(values).reset_index(drop=True)
    is_there = values.notna().to_numpy()
    if test.op == "is_null":
        return Truth(is_there != test.value, np.ones(len(values), dtype=bool))
    wanted = [_like(value, values, test) for value in (test.value if isinstance(test.value, list) else [test.value])]
    if pd.api.types.is_datetime64_any_dtype(values):
        values = pd.Series(values.to_numpy(dtype="datetime64[us]"))
    if test.op in _ORDER:
        return Truth(_ordered(test, values, wanted[0]), is_there)
    is_equal = values.isin(wanted).to_numpy(dtype=bool)
    return Truth(is_equal if test.op in ("==", "in") else ~is_equal, is_there)


def _ordered(test: Test, values: pd.Series, limit: Scalar | np.datetime64) -> np.ndarray:
    if isinstance(limit, np.datetime64):
        return _ORDER[test.op](values.to_numpy(), limit)
    if isinstance(limit, str) or not pd.api.types.is_numeric_dtype(values):
        raise ValueError(f"condition on {test.field!r}: {test.op} {test.value!r} needs numbers or times, "
                         f"the column holds {values.dtype}.")
    return _ORDER[test.op](values.to_numpy(dtype="float64", na_value=np.nan), float(limit))


def _like(value: Scalar, values: pd.Series, test: Test) -> Scalar | np.datetime64:
    """Compare ids and times in the column's own type: YAML reads `12` as a number where a column holds texts."""
    if pd.api.types.is_datetime64_any_dtype(values):
        if not isinstance(value, str):
            raise ValueError(f"condition on {test.field!r}: {test.op} {value!r}, the column holds times; write one as \"2026-03-01\".")
        return utc(value).tz_convert(None).to_datetime64().astype("datetime64[us]")
    is_text = isinstance(values.dtype, pd.StringDtype) or values.dtype == object or isinstance(values.dtype, pd.CategoricalDtype)
    if is_text and not isinstance(value, (str, bool)):
        return str(value)
    if isinstance(value, str) and pd.api.types.is_numeric_dtype(values):
        number = pd.to_numeric(value, errors="coerce")
        return value if pd.isna(number) else number
    return value
