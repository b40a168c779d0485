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
    kind: Literal["mean", "proportion", "ratio", "quantile"] = "mean"
    margin: float | None = None
    margin_scale: Literal["relative", "absolute"] = "relative"
    direction: Literal["up", "down"] = "up"
    winsorise: float | None = Field(default=None, gt=0, lt=1)
    winsorise_over: Literal["nonzero", "all"] = "nonzero"
    numerator: str | None = None
    denominator: str | None = None
    quantile: float = Field(default=0.5, gt=0, lt=1)
    column: str | None = None
    is_money: bool = False
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

    @model_validator(mode="after")
    def _margin_is_a_share(self) -> MetricPlan:
        if self.margin is not None and self.margin_scale != "absolute" and abs(self.margin) >= 1:
            raise ValueError(f"margin {self.margin:g} is a share of the control mean and must lie between -1 and 1 (0.02 is 2 %); "
                             "one in the metric's own unit has margin_scale: absolute")
        return self

    def columns(self, name: str) -> tuple[str, ...]:
        """The columns of `units` that it needs: one, or numerator and denominator."""
        return (self.numerator, self.denominator) if self.kind == "ratio" else (self.column or name,)


class Looks(_Model):
    """Customers at which the anytime-valid interval is tightest."""

    n_star: int = Field(default=5000, gt=0)


class ExperimentPlan(_Model):
    """The pre-registered plan of a finished experiment."""

    experiment_id: int | str
    control: str
    expected_shares: dict[str, float] = Field(min_length=2)
    metrics: dict[str, MetricPlan] = Field(min_length=1)
    alpha: float = Field(default=0.05, gt=0, lt=1)
    covariates: list[str] = []
    segments: list[str] = []
    correction: Literal["holm", "bh", "none"] = "holm"
    sequential: Looks | None = None
    srm_alpha: float = Field(default=0.001, gt=0, lt=1)
    planned_effect: float | None = None
    is_randomised: bool = True

    @field_validator("sequential", mode="before")
    @classmethod
    def _said_or_not(cls, sequential: object) -> object:
        return {True: {}, False: None}[sequential] if isinstance(sequential, bool) else sequential

    @field_validator("expected_shares")
    @classmethod
    def _shares_sum_to_one(cls, shares: dict[str, float]) -> dict[str, float]:
        if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1.1e-3:  # three times 0.333 is well meant
            raise ValueError(f"shares {list(shares.values())} must not be negative and must sum to 1")
        return shares

    @model_validator(mode="after")
    def _control_is_an_arm(self) -> ExperimentPlan:
        if self.control not in self.expected_shares:
            raise ValueError(f"control {self.control!r} is not an arm of expected_shares: {', '.join(self.expected_shares)}")
        if not self.expected_shares[self.control] or self.expected_shares[self.control] == sum(self.expected_shares.values()):
            raise ValueError(f"expected_shares {self.expected_shares} must give the control and another arm a share")
        return self

    @model_validator(mode="after")
    def _known_before(self) -> ExperimentPlan:
        outcomes = {column for name, metric in self.metrics.items() for column in metric.columns(name)}
        for part in ("covariates", "segments"):
            moved = sorted(set(getattr(self, part)) & (outcomes | {"arm"}))
            if moved:
                raise ValueError(f"{part} {', '.join(moved)}: known only after assignment; {part} must be known before it")
        return self

    def as_record(self) -> dict:
        """The plan as facts hold it: what was written, and the defaults that it relies on."""
        return {"alpha": self.alpha, "covariates": [], **self.model_dump(exclude_none=True, exclude_unset=True)}

    def columns(self) -> dict[str, str]:
        """The columns of `units` that the plan needs: column, and the place in the plan that names it."""
        wanted = {column: f"metric {name}" for name, metric in reversed(self.metrics.items()) for column in metric.columns(name)}
        return dict.fromkeys(self.covariates, "covariates") | dict.fromkeys(self.segments, "segments") | wanted


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
    return source.fault(FILE, f"line {lines.get(path, 1)}", told(error))


def told(error: dict, *root: str) -> str:
    """Say one finding of the validator: the place below the root, its value where that is a single one, and what is wrong."""
    where = ".".join(str(part) for part in (*root, *error["loc"])) or "the file"
    known = {"extra_forbidden": "is not known here", "missing": "is missing"}
    if error["type"] in known:
        return f"{where}: {known[error['type']]}"
    value = f" == {error['input']!r}" if isinstance(error["input"], str | int | float) else ""
    problem = error["msg"].removeprefix("Value error, ")
    return f"{where}{value}: {problem[0].lower()}{problem[1:]}"
