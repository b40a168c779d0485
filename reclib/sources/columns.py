"""Turn the columns of a file into the columns of a contract: ids, times, numbers, truth values and words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib import schema
from reclib.sources import source
from reclib.sources.manifest import TableFile

_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "t": True, "f": False, "y": True, "n": False,
          "1": True, "0": False, "1.0": True, "0.0": False}
_WHOLE = r"(?:0|-?[1-9][0-9]{0,17})"


def build(raw: pd.DataFrame, name: str, spec: TableFile) -> tuple[pd.DataFrame, list[dict]]:
    """Rename, add constants, translate words and convert each column of the contract but ids.

    Args:
        raw: the file's columns under its own names.
        name: the table.
        spec: what the source file says of it.

    Returns:
        The table, ids still as the file has them, and the faults.
    """
    frame, faults = _named(raw, name, spec)
    for column, words in spec.words.items():
        if column in frame:
            frame[column] = _as_text(frame[column]).replace(words)
    for column, known in schema.TABLES[name].columns.items():
        if column in frame and known.kind in _CONVERTERS:
            frame[column], found = _CONVERTERS[known.kind](frame[column], name, column, spec)
            faults += found
    if name in ("items", "customers"):
        frame = _plain_flags(frame)
    return _plain_objects(frame, schema.TABLES[name]), faults


def as_ids(columns: dict[str, pd.Series], is_typed: dict[str, bool]) -> dict[str, pd.Series]:
    """Give the id columns of one name one kind: whole numbers where every text of all of them is one, else texts.

    A text such as `007` or `1.0` is no whole number, so its column stays text, and so do the others.

    Args:
        columns: table: its id column.
        is_typed: table: the file itself says whether it holds texts or numbers.
    """
    plain = {table: _id_values(values) for table, values in columns.items()}
    free = {table: values for table, values in plain.items() if not is_typed[table]}
    fixed_texts = [table for table in plain if is_typed[table] and not pd.api.types.is_integer_dtype(plain[table])]
    if fixed_texts or not all(_is_whole(values) for values in free.values()):
        return plain
    return plain | {table: _to_integers(values) for table, values in free.items()}


def as_numbers(values: pd.Series) -> pd.Series:
    """Truth values as 1 and 0, texts that all say yes or no or all hold numbers as those; anything else as it is."""
    if pd.api.types.is_bool_dtype(values):
        return values.astype("float64" if values.isna().any() else "int64")
    if pd.api.types.is_numeric_dtype(values):
        return values
    texts = _as_text(values).str.strip()
    texts = texts.mask(texts == "")
    for made in (texts.str.lower().map(_TRUTH).astype("Float64"), pd.to_numeric(texts, errors="coerce")):
        if made.notna().equals(texts.notna()) and made.notna().any():
            return made.astype("float64" if made.isna().any() else "int64" if (made % 1 == 0).all() else "float64")
    return values


def _named(raw: pd.DataFrame, name: str, spec: TableFile) -> tuple[pd.DataFrame, list[dict]]:
    faults, taken = [], set(spec.columns.values())
    found = ", ".join(raw.columns)
    missing = {mine: theirs for mine, theirs in spec.columns.items() if theirs not in raw}
    faults += [source.fault(name, mine, f"is to be read from column {theirs!r}, which the file lacks; found: {found}")
               for mine, theirs in missing.items()]
    chosen = {mine: raw[theirs] for mine, theirs in spec.columns.items() if theirs in raw}
    kept = {column: raw[column] for column in raw if column not in chosen and column not in spec.constants
            and (column not in taken or column in schema.TABLES[name].columns)}
    frame = pd.DataFrame(chosen | kept, index=raw.index)
    return frame.assign(**spec.constants), faults


def _times(values: pd.Series, name: str, column: str, spec: TableFile) -> tuple[pd.Series, list[dict]]:
    if pd.api.types.is_datetime64_any_dtype(values):
        at = values.dt.tz_localize("UTC") if values.dt.tz is None else values.dt.tz_convert("UTC")
        return at.astype("datetime64[us, UTC]"), []
    if pd.api.types.is_bool_dtype(values):
        return _no_times(values), [source.fault(name, column, "is not a time but true or false", n_rows=len(values))]
    if pd.api.types.is_numeric_dtype(values) and not spec.time_format:
        return _from_numbers(values, name, column, spec)
    texts = _as_text(values).str.strip().str.removesuffix(" UTC")
    texts = texts.mask(texts == "")
    wanted = spec.time_format or "ISO8601"
    try:
        at = pd.to_datetime(texts, utc=True, format=wanted, errors="coerce")
    except (ValueError, OverflowError) as error:
        return _no_times(values), [source.fault(name, column, f"cannot be read with time_format {wanted!r}: {error}")]
    allowed = f"in the form {spec.time_format}" if spec.time_format else "ISO (2024-06-30T12:00:00Z); or name its time_format"
    problem = f"is not a time; wanted {allowed}"
    is_bad = at.isna() & texts.notna()
    faults = source.faults_where(values.to_frame(column), name, column, problem, is_bad)
    return at.astype("datetime64[us, UTC]").mask(is_bad, pd.Timestamp(0, tz="UTC")), faults


def _from_numbers(values: pd.Series, name: str, column: str, spec: TableFile) -> tuple[pd.Series, list[dict]]:
    if values.isna().all():
        return _no_times(values).mask(pd.Series(True, index=values.index)), []
    if spec.time_unit is None:
        shown = "; ".join(f"row {at}: {value}" for at, value in enumerate(values.head(schema.N_ROWS_SHOWN)))
        return _no_times(values), [source.fault(name, column, "is a number; name its time_unit: s, ms, us or ns",
                                                n_rows=len(values), first_rows=shown)]
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[spec.time_unit]
    limit = 253_402_300_800 * per_second  # the year 10000
    is_bad = values.notna() & ~values.between(-limit, limit, inclusive="neither")
    problem = f"is no time when counted in {spec.time_unit}; is time_unit right?"
    faults = source.faults_where(values.to_frame(column), name, column, problem, is_bad)
    numbers = values.mask(is_bad, 0)
    if pd.api.types.is_integer_dtype(numbers) and not numbers.isna().any():
        whole = numbers.astype("int64")
        micros = whole * (10**6 // per_second) if per_second <= 10**6 else whole // 1000
        return pd.to_datetime(micros, unit="us", utc=True).astype("datetime64[us, UTC]"), faults
    micros = (numbers.astype("float64") * (10**6 / per_second)).round()
    return pd.to_datetime(micros.astype("Int64"), unit="us", utc=True).astype("datetime64[us, UTC]"), faults


def _no_times(values: pd.Series) -> pd.Series:
    """Stand in for times that are reported already, so that no second fault is raised on them."""
    return pd.Series(pd.Timestamp(0, tz="UTC"), index=values.index, dtype="datetime64[us, UTC]")


def _numbers(values: pd.Series, name: str, column: str, spec: TableFile) -> tuple[pd.Series, list[dict]]:
    if pd.api.types.is_numeric_dtype(values):
        return values.astype("float64"), []
    texts = _as_text(values).str.strip()
    numbers = pd.to_numeric(texts.mask(texts == ""), errors="coerce")
    is_bad = numbers.isna() & texts.notna() & (texts != "")
    hint = "; for decimal commas write read: {decimal: ','}" if texts[is_bad].str.fullmatch(r"-?[\d.]*,\d+").any() else ""
    faults = source.faults_where(values.to_frame(column), name, column, f"is not a number{hint}", is_bad)
    return numbers.mask(is_bad, 0), faults


def _flags(values: pd.Series, name: str, column: str, spec: TableFile) -> tuple[pd.Series, list[dict]]:
    if pd.api.types.is_bool_dtype(values):
        return values, []
    marks = _as_text(values).str.strip().str.lower()
    truth = marks.map(_TRUTH).astype("boolean")
    is_bad = truth.isna() & marks.notna() & (marks != "")
    faults = source.faults_where(values.to_frame(column), name, column, "is neither true nor false", is_bad)
    truth = truth.mask(is_bad, False)
    return truth if truth.isna().any() else truth.astype("bool"), faults


def _words(values: pd.Series, name: str, column: str, spec: TableFile) -> tuple[pd.Series, list[dict]]:
    return _as_text(values), []


def _as_text(values: pd.Series) -> pd.Series:
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    is_missing = values.isna()
    return values.astype("str").mask(is_missing) if is_missing.any() else values.astype("str")


def _id_values(values: pd.Series) -> pd.Series:
    """Ids in a plain type: texts, or whole numbers where a file holds them as such (floats with gaps included)."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all() and (values.dropna().abs() < 2**53).all():
        return values.astype("Int64")
    if values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) in ("string", "empty"):
        return _as_text(values)
    return values


def _is_whole(values: pd.Series) -> bool:
    if pd.api.types.is_integer_dtype(values):
        return True
    if not isinstance(values.dtype, pd.StringDtype):
        return False
    known = pd.Series(values.dropna().unique(), dtype="str")
    return len(known) > 0 and bool(known.str.fullmatch(_WHOLE).all())


def _to_integers(values: pd.Series) -> pd.Series:
    if pd.api.types.is_integer_dtype(values):
        return values
    codes, known = pd.factorize(values)
    whole = np.asarray(pd.Series(known, dtype="str").astype("int64"))
    numbers = whole[codes]
    if (codes >= 0).all():
        return pd.Series(numbers, index=values.index)
    return pd.Series(pd.arrays.IntegerArray(numbers, codes < 0), index=values.index)


def _plain_flags(frame: pd.DataFrame) -> pd.DataFrame:
    """Make further columns named `is_*` or `has_*` truth values where each of their words says yes or no."""
    made = {}
    for column in frame:
        if str(column).startswith(("is_", "has_")) and not pd.api.types.is_bool_dtype(frame[column]):
            truth = _as_text(frame[column]).str.strip().str.lower().map(_TRUTH)
            if truth.notna().equals(frame[column].notna()) and truth.notna().any():
                made[column] = truth.astype("boolean" if truth.isna().any() else "bool")
    return frame.assign(**made)


def _plain_objects(frame: pd.DataFrame, table: schema.Table) -> pd.DataFrame:
    """Make further columns of mixed values texts, so that every table can be written."""
    mixed = [column for column in frame if frame[column].dtype == object and column not in table.columns]
    flags = [column for column in mixed if pd.api.types.infer_dtype(frame[column], skipna=True) == "boolean"]
    plain = {column: frame[column].astype("boolean") if column in flags else _as_text(frame[column]) for column in mixed}
    return frame.assign(**plain)


_CONVERTERS = {
    schema.TIME: _times, schema.NUMBER: _numbers, schema.COUNT: _numbers, schema.FLAG: _flags,
    schema.WORD: _words, schema.TEXT: _words,
}
