"""The source file: YAML that says which files hold which tables. Every mistake in it is reported at once, with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from reclib import schema
from reclib.sources import source

READ_OPTIONS = (
    "comment", "compression", "decimal", "delimiter", "doublequote", "encoding", "engine", "escapechar", "header",
    "keep_default_na", "na_values", "names", "nrows", "on_bad_lines", "quotechar", "quoting", "sep", "skipfooter",
    "skipinitialspace", "skiprows", "thousands", "usecols",
)
_TEXT_OPTIONS = ("comment", "decimal", "delimiter", "encoding", "escapechar", "quotechar", "sep", "thousands")
FILE = "source file"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, frozen=True)


class TableFile(_Model):
    """One table: its file, how to read it, and which of its columns are ours.

    Attributes:
        path: relative to the source file, or absolute.
        read: options of the reader, from `READ_OPTIONS`.
        columns: our name: the file's name.
        constants: columns that the file lacks.
        words: our column: the file's word: our word (`{event_type: {addtocart: add_to_cart}}`).
        time_unit: of times that are numbers.
        time_format: of times that are neither numbers nor ISO, such as `%d/%m/%Y %H:%M`.
    """

    path: str = Field(min_length=1)
    read: dict[str, Any] = {}
    columns: dict[str, str] = {}
    constants: dict[str, bool | int | float | str] = {}
    words: dict[str, dict[str, str]] = {}
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    time_format: str | None = None

    @field_validator("read")
    @classmethod
    def _known_options(cls, read: dict[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(read) - set(READ_OPTIONS))
        if unknown:
            raise ValueError(f"unknown options {', '.join(unknown)}; known options: {', '.join(READ_OPTIONS)}")
        not_text = sorted(name for name in _TEXT_OPTIONS if name in read and not isinstance(read[name], str))
        if not_text:
            raise ValueError(f"{', '.join(not_text)} must be a text")
        return read

    @model_validator(mode="after")
    def _one_origin(self) -> TableFile:
        both = sorted(set(self.columns) & set(self.constants))
        if both:
            raise ValueError(f"{', '.join(both)} stands in columns and in constants; one column has one origin")
        return self


class PolicyFile(_Model):
    """The policy that off-policy evaluation values: item_id, [position, context columns], p_target."""

    path: str = Field(min_length=1)


class MetricPlan(_Model):
    """One metric of the plan; see the experiments layer for what each key means."""

    role: Literal[schema.METRIC_ROLES]
    kind: Literal["mean", "proportion", "ratio", "quantile"]
    margin: float | None = None
    margin_scale: Literal["relative", "absolute"] | None = None
    direction: Literal["up", "down"] | None = None
    winsorise: float | None = Field(default=None, gt=0, le=1)
    winsorise_over: Literal["nonzero", "all"] | None = None
    numerator: str | None = None
    denominator: str | None = None
    quantile: float | None = Field(default=None, gt=0, lt=1)
    column: str | None = None
    is_money: bool | None = None
    unit: str | None = None
    about: str | None = None

    @model_validator(mode="after")
    def _ratio_has_parts(self) -> MetricPlan:
        if self.kind == "ratio" and not (self.numerator and self.denominator):
            raise ValueError("a ratio needs numerator and denominator")
        if self.kind != "ratio" and (self.numerator or self.denominator):
            raise ValueError(f"numerator and denominator belong to a ratio, not to a {self.kind}")
        if self.winsorise is not None and self.kind in ("proportion", "quantile"):
            raise ValueError(f"winsorise does not belong to a {self.kind}")
        return self


class ExperimentPlan(_Model):
    """The pre-registered plan of a finished experiment."""

    experiment_id: int | str
    control: str
    expected_shares: dict[str, float] = Field(min_length=2)
    metrics: dict[str, MetricPlan] = Field(min_length=1)
    alpha: float = Field(default=0.05, gt=0, lt=1)
    covariates: list[str] = []
    segments: list[str] = []
    correction: Literal["holm", "bh", "none"] | None = None
    sequential: bool | dict[str, int] | None = None
    srm_alpha: float | None = Field(default=None, gt=0, lt=1)
    planned_effect: float | None = None
    is_randomised: bool | None = None

    @field_validator("expected_shares")
    @classmethod
    def _shares_sum_to_one(cls, shares: dict[str, float]) -> dict[str, float]:
        if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-3:
            raise ValueError(f"shares {list(shares.values())} must not be negative and must sum to 1")
        return shares

    @model_validator(mode="after")
    def _control_is_an_arm(self) -> ExperimentPlan:
        if self.control not in self.expected_shares:
            raise ValueError(f"control {self.control!r} is not an arm of expected_shares: {', '.join(self.expected_shares)}")
        return self

    def as_record(self) -> dict:
        """The plan as facts hold it: what was written, and the defaults that it relies on."""
        return {"alpha": self.alpha, "covariates": [], **self.model_dump(exclude_none=True, exclude_unset=True)}

    def columns(self) -> dict[str, str]:
        """The columns of `units` that the plan needs: column, and the place in the plan that names it."""
        wanted = {}
        for name, metric in self.metrics.items():
            parts = (metric.numerator, metric.denominator) if metric.kind == "ratio" else (metric.column or name,)
            wanted |= {part: f"metric {name}" for part in parts if part not in wanted}
        covariates = {name: "covariates" for name in self.covariates} | {name: "segments" for name in self.segments}
        return covariates | wanted


class Tables(_Model):
    """The tables of a source, each optional."""

    events: TableFile | None = None
    items: TableFile | None = None
    customers: TableFile | None = None
    holdout: TableFile | None = None
    units: TableFile | None = None
    logged_deliveries: TableFile | None = None
    logged_outcomes: TableFile | None = None
    overrides: TableFile | None = None

    @model_validator(mode="after")
    def _some_table(self) -> Tables:
        if not self.named():
            raise ValueError(f"no table is named; known tables: {', '.join(source.TABLES)}")
        return self

    def named(self) -> dict[str, TableFile]:
        """The tables that the file names."""
        return {name: getattr(self, name) for name in source.TABLES if getattr(self, name) is not None}


class Manifest(_Model):
    """A whole source file."""

    name: str = Field(min_length=1)
    tables: Tables
    about: str = ""
    currency: str = ""
    experiment: ExperimentPlan | None = None
    policy: PolicyFile | None = None
    rules: str | None = None

    @model_validator(mode="after")
    def _units_have_a_plan(self) -> Manifest:
        if self.tables.units and not self.experiment:
            raise ValueError("units need the plan of their experiment: add experiment (control, expected_shares, metrics)")
        return self


class _Loader(yaml.SafeLoader):
    """YAML without its traps: only true and false are truth values; dates, `012` and `no` stay texts."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.split(":")[-1] not in ("bool", "int", "float", "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tfTF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"), list("-+.0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(loader.construct_scalar(node)))


def read(path: Path) -> Manifest:
    """Read a source file.

    Raises:
        SourceError: it is no YAML, repeats a key, or holds what a source file may not; each fault with its line.
    """
    faults: list[dict] = []
    try:
        text = path.read_text("utf-8-sig")
        node = yaml.compose(text, Loader=_Loader)
        lines = _lines(node, faults)
        record = yaml.load(text, Loader=_Loader)
    except UnicodeDecodeError as error:
        faults, record, lines = [source.fault(FILE, "", f"is not UTF-8 text ({error.reason} at byte {error.start})")], None, {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else ""
        faults, record, lines = [source.fault(FILE, where, f"is not YAML: {getattr(error, 'problem', None) or error}")], None, {}
    else:
        if not isinstance(record, dict):
            faults.append(source.fault(FILE, "line 1", "is not a record with name and tables"))
            record = None
    manifest = None
    if record is not None:
        try:
            manifest = Manifest.model_validate(record)
        except ValidationError as error:
            faults += [_of(fault, lines) for fault in error.errors(include_url=False)]
    source.raise_faults(str(path), faults)
    return manifest


def _lines(node: yaml.Node | None, faults: list[dict], path: tuple = ()) -> dict[tuple, int]:
    """Map each place to its line, and report repeated keys."""
    if node is None:
        return {}
    found = {path: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else str(key.start_mark)
            if (*path, name) in found:
                faults.append(source.fault(FILE, f"line {key.start_mark.line + 1}",
                                           f"repeats {'.'.join((*path, name))}, first on line {found[(*path, name)]}"))
            found |= _lines(value, faults, (*path, name)) | {(*path, name): key.start_mark.line + 1}
    elif isinstance(node, yaml.SequenceNode):
        for at, value in enumerate(node.value):
            found |= _lines(value, faults, (*path, str(at)))
    return found


def _of(error: dict, lines: dict[tuple, int]) -> dict:
    """Turn one finding of the validator into a fault with its line."""
    path: tuple = ()
    for part in map(str, error["loc"]):
        if (*path, part) in lines:
            path = (*path, part)
    where = ".".join(str(part) for part in error["loc"]) or "the file"
    problem = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        problem = "is not known here"
    elif error["type"] == "missing":
        problem = "is missing"
    else:
        problem = problem[0].lower() + problem[1:]
    return source.fault(FILE, f"line {lines.get(path, 1)}", f"{where}: {problem}")
