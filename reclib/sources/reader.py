"""Read one file as it is: which columns it has, ids and words as texts, and what is wrong with it in words."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pandas.errors import EmptyDataError, ParserError, ParserWarning

from reclib import schema
from reclib.sources import source
from reclib.sources.manifest import TableFile

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")
_AS_TEXT = (schema.ID, schema.WORD, schema.TEXT)
_NOT_THERE = ["", "#N/A", "#NA", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "<NA>"]


def kind_of(path: Path) -> str:
    """The ending that says how a file is read, a `.gz` apart."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else suffixes[-1] if suffixes else ""


def read(path: Path, name: str, spec: TableFile) -> tuple[pd.DataFrame | None, list[dict]]:
    """Read the file of a table; ids and words stay the texts that they are.

    Args:
        path: where it is.
        name: the table.
        spec: what the source file says of it.

    Returns:
        The columns under the names of the file (None where it cannot be read), and the faults.
    """
    if not path.is_file():
        return None, [source.fault(name, "", f"has no file: {path} not found")]
    if kind_of(path) not in (*SEPARATORS, *PARQUET) and not {"sep", "delimiter"} & set(spec.read):
        return None, [source.fault(name, "", f"has a file of unknown kind, {path.name}; allowed: csv, csv.gz, tsv, parquet, "
                                             "or any text with a sep under read")]
    try:
        raw = _parquet(path, spec) if kind_of(path) in PARQUET else _text(path, name, spec)
    except (OSError, EOFError, zlib.error, ValueError, TypeError, LookupError, ParserWarning, pa.ArrowException) as error:
        return None, [source.fault(name, "", f"cannot be read from {path.name}: {_reason(error)}")]
    raw.columns = raw.columns.map(str)
    if raw.shape[1] == 1 and kind_of(path) not in PARQUET:
        other = _other_separator(str(raw.columns[0]))
        if other:
            return None, [source.fault(name, "", f"has one column only, {str(raw.columns[0])!r}, in {path.name}: the separator "
                                                 f"is wrong; write read: {{sep: {other!r}}}")]
    if raw.empty:
        return None, [source.fault(name, "", f"is empty: {path.name} has no rows")]
    return raw.drop(columns=[column for column in raw if column.startswith("Unnamed: ")]), []


def _parquet(path: Path, spec: TableFile) -> pd.DataFrame:
    if spec.read:
        raise ValueError(f"read options {sorted(spec.read)} belong to text files")
    frame = pd.read_parquet(path)
    return frame.reset_index(drop=frame.index.name is None)


def _text(path: Path, name: str, spec: TableFile) -> pd.DataFrame:
    options = {"sep": SEPARATORS.get(kind_of(path), ","), "encoding": "utf-8-sig", **spec.read}
    if "delimiter" in options:
        options.pop("sep")
    separator = str(options.get("sep") or options.get("delimiter"))
    is_slow = len(separator) > 1 and separator != r"\s+" or bool(options.get("skipfooter")) or options.get("engine") == "python"
    options |= {"engine": "python"} if is_slow else {"engine": "c", "low_memory": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ParserWarning)
        _refuse_repeated(path, options)
        header = pd.read_csv(path, **{**options, "nrows": 0, "skipfooter": 0}, index_col=False).columns
        texts = _text_columns(header, name, spec)
        if not {"na_values", "keep_default_na"} & set(options):
            options |= {"keep_default_na": False,
                        "na_values": {column: [""] if column in texts else _NOT_THERE for column in header}}
        return pd.read_csv(path, **options, index_col=False, dtype={column: "str" for column in texts})


def _refuse_repeated(path: Path, options: dict) -> None:
    """Raise where the header names a column twice: the reader would give the second another name and say nothing."""
    if {"header", "names"} & set(options):
        return
    top = pd.read_csv(path, **{**options, "nrows": 1, "skipfooter": 0}, header=None, index_col=False, dtype="str")
    names = top.iloc[0].dropna()
    repeated = sorted(set(names[names.duplicated()]))
    if repeated:
        raise ValueError(f"its header names {', '.join(map(repr, repeated))} twice")


def _text_columns(header: pd.Index, name: str, spec: TableFile) -> list:
    """The columns of the file that hold ids or words, and times that have a format of their own."""
    ours = {theirs: mine for mine, theirs in spec.columns.items()}
    kinds = {column: known.kind for column, known in schema.TABLES[name].columns.items()}
    wanted = _AS_TEXT + ((schema.TIME,) if spec.time_format else ())
    return [column for column in header
            if kinds.get(ours.get(str(column), str(column))) in wanted or ours.get(str(column), str(column)) in spec.words]


def _other_separator(header: str) -> str:
    counts = {separator: header.count(separator) for separator in (";", "\t", "|", ",")}
    best = max(counts, key=counts.get)
    return best if counts[best] else ""


def _reason(error: Exception) -> str:
    if isinstance(error, EmptyDataError):
        return "it is empty"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not {error.encoding} text (byte {error.start}); name its encoding, such as read: {{encoding: latin-1}}"
    if isinstance(error, ParserWarning):
        return "its rows have more fields than its header"
    text = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
    hint = "; perhaps the separator is another" if isinstance(error, ParserError) else ""
    return f"{text[:200].rstrip('.')}{hint}" or type(error).__name__
