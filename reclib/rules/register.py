"""The rule register: one YAML file, a closed vocabulary, and all its faults at once with their lines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from reclib import store
from reclib.rules.conditions import Condition, Scalar, fields

PRECEDENCE = (
    "policy", "safety", "eligibility", "applicability", "suitability", "block", "stock", "margin_floor",
    "frequency_cap", "suppression", "pin", "slate_quota", "diversity", "budget", "min_exposure", "boost",
)
NOT_FOR_SALE = ("policy", "safety", "eligibility", "suppression")


class RuleError(ValueError):
    """A rule file breaks the vocabulary; the message holds one sentence a fault, each with its line."""


class _Rule(BaseModel):
    """What every rule has, whatever its kind.

    Attributes:
        id: name of the rule, unique in the file.
        owner: who answers for it.
        reason: why it is there, for people; also the reason code's text.
        is_hard: never relaxed. Soft rules yield in ascending `yields` where no slate is possible.
        valid_from, valid_to: moments between which it is in force; open where missing.
        on_missing: what missing data means: `block` fails closed, `allow` lets the pair pass.
        status: `live` is enforced; `shadow` is counted and reported only.
        policies: ranking policies that it holds for; all where missing.
        is_for_sale: whether its price may be an argument for lifting it; law and safety are not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: Annotated[str, Field(min_length=1)]
    owner: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]
    is_hard: bool = True
    yields: int = 0
    valid_from: pd.Timestamp | None = None
    valid_to: pd.Timestamp | None = None
    on_missing: Literal["block", "allow"] = "block"
    status: Literal["live", "shadow"] = "live"
    policies: list[str] | None = None
    is_for_sale: bool | None = None
    model_config["arbitrary_types_allowed"] = True

    @model_validator(mode="before")
    @classmethod
    def _times(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {key: _time(key, value) if key in ("valid_from", "valid_to") else value for key, value in raw.items()}

    @property
    def scope(self) -> str:
        """What the rule is held against: row, slate, customer or all."""
        return "row"

    @property
    def limit(self) -> float | None:
        """Threshold, where it has one."""
        return None

    @property
    def window(self) -> str | None:
        """Period it counts over, where it has one."""
        return None

    @property
    def needs(self) -> list[str]:
        """Fields without which it cannot be held."""
        asked = [getattr(self, name, None) for name in ("when", "keep")]
        return list(dict.fromkeys(field for condition in asked for field in fields(condition)))

    @property
    def sold(self) -> bool:
        """Whether it is for sale, by its kind where the file does not say."""
        return self.kind not in NOT_FOR_SALE if self.is_for_sale is None else self.is_for_sale


class Filter(_Rule):
    """Keep pairs that satisfy `keep`, among those for which `when` holds."""

    kind: Literal["policy", "safety", "eligibility", "applicability", "suitability"]
    keep: Condition
    when: Condition | None = None


class Stock(_Rule):
    """Show only what is in stock, and no item more often than its stock can bear.

    Attributes:
        field: column that holds the stock.
        min: units that must be there for the item to be shown at all.
        placements_per_unit: slots that one unit bears, since few slots sell; missing means that stock is not shared.
    """

    kind: Literal["stock"]
    field: str = "stock_on_hand"
    min: float = 1.0
    placements_per_unit: Annotated[float, Field(gt=0)] | None = None

    @property
    def scope(self) -> str:
        return "row" if self.placements_per_unit is None else "all"

    @property
    def limit(self) -> float | None:
        return self.min

    @property
    def needs(self) -> list[str]:
        return [self.field]


class Budget(_Rule):
    """Spend at most `max`: each member costs `times` x `cost` for each expected response or each placement."""

    kind: Literal["budget"]
    cost: str | None = None
    times: float = 1.0
    max: Annotated[float, Field(ge=0)]
    per: Literal["response", "placement"] = "response"
    when: Condition | None = None

    @property
    def scope(self) -> str:
        return "all"

    @property
    def limit(self) -> float | None:
        return self.max

    @property
    def needs(self) -> list[str]:
        return list(dict.fromkeys([*([self.cost] if self.cost else []), *fields(self.when)]))


class MarginFloor(_Rule):
    """Keep the margin rate at `min` or above: of each pair, or of all expected sales together (`over: all`)."""

    kind: Literal["margin_floor"]
    min: float
    over: Literal["pair", "all"] = "pair"

    @property
    def scope(self) -> str:
        return "row" if self.over == "pair" else "all"

    @property
    def limit(self) -> float | None:
        return self.min

    @property
    def needs(self) -> list[str]:
        return ["margin_rate"]


class MinExposure(_Rule):
    """Give members at least a share of what is shown, of all slots, or so many placements."""

    kind: Literal["min_exposure"]
    when: Condition
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    of: Literal["shown", "slots"] = "shown"
    placements: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one(self) -> MinExposure:
        if (self.share is None) == (self.placements is None):
            raise ValueError("needs one of 'share' and 'placements'")
        return self

    @property
    def scope(self) -> str:
        return "all"

    @property
    def limit(self) -> float | None:
        return self.share if self.share is not None else self.placements


class FrequencyCap(_Rule):
    """Show a pair only while its `counter` (such as `n_seen_7d`) is below `max`."""

    kind: Literal["frequency_cap"]
    counter: str
    max: Annotated[float, Field(ge=1)]
    when: Condition | None = None

    @property
    def limit(self) -> float | None:
        return self.max

    @property
    def window(self) -> str | None:
        tail = self.counter.rsplit("_", 1)[-1]
        return f"{tail[:-1]} days" if tail.endswith("d") and tail[:-1].isdigit() else None

    @property
    def needs(self) -> list[str]:
        return list(dict.fromkeys([self.counter, *fields(self.when)]))


class Suppression(_Rule):
    """Contact policy: show nothing to customers who do not satisfy `keep`."""

    kind: Literal["suppression"]
    keep: Condition
    when: Condition | None = None

    @property
    def scope(self) -> str:
        return "customer"


class SlateQuota(_Rule):
    """At most `max` items of one value of `field` in a slate."""

    kind: Literal["slate_quota"]
    field: str
    max: Annotated[int, Field(ge=1)]
    when: Condition | None = None

    @property
    def scope(self) -> str:
        return "slate"

    @property
    def limit(self) -> float | None:
        return float(self.max)

    @property
    def needs(self) -> list[str]:
        return list(dict.fromkeys([self.field, *fields(self.when)]))


class Diversity(_Rule):
    """Prefer what differs from the items above it (`mmr`), or allow at most `max` items that share all `fields`.

    With `mmr` an item loses `weight` times its own score for each share of `fields` in which it equals the most
    similar item placed above it.
    """

    kind: Literal["diversity"]
    is_hard: bool = False
    method: Literal["mmr", "max_similar"] = "mmr"
    fields: Annotated[list[str], Field(min_length=1)]
    weight: Annotated[float, Field(ge=0, le=1)] = 0.2
    max: Annotated[int, Field(ge=1)] = 1

    @property
    def scope(self) -> str:
        return "slate"

    @property
    def limit(self) -> float | None:
        return self.weight if self.method == "mmr" else float(self.max)

    @property
    def needs(self) -> list[str]:
        return list(self.fields)


class Boost(_Rule):
    """Multiply the priority of pairs for which `when` holds; of several boosts the largest counts."""

    kind: Literal["boost"]
    is_hard: bool = False
    on_missing: Literal["block", "allow"] = "allow"
    when: Condition
    times: Annotated[float, Field(ge=0.1, le=10)]

    @property
    def limit(self) -> float | None:
        return self.times


class Pin(_Rule):
    """Put an item into a slot of every customer for whom `when` holds; a pin never resurrects a filtered item."""

    kind: Literal["pin"]
    is_hard: bool = False
    item_id: Scalar
    position: Annotated[int, Field(ge=1)] = 1
    when: Condition | None = None

    @property
    def scope(self) -> str:
        return "slate"

    @property
    def limit(self) -> float | None:
        return float(self.position)


class Block(_Rule):
    """Never show an item, or what satisfies `when`."""

    kind: Literal["block"]
    item_id: Scalar | None = None
    when: Condition | None = None

    @model_validator(mode="after")
    def _some(self) -> Block:
        if self.item_id is None and self.when is None:
            raise ValueError("needs 'item_id', 'when' or both")
        return self


Rule = Annotated[
    Filter | Stock | Budget | MarginFloor | MinExposure | FrequencyCap | Suppression | SlateQuota | Diversity | Boost
    | Pin | Block, Field(discriminator="kind")]
_RULE = TypeAdapter(Rule)


def load(path: str | Path) -> list[Rule]:
    """Read a rule file.

    Args:
        path: YAML file with one key, `rules`: a list of rules.

    Returns:
        The rules in the order of their precedence, ties in the order of the file.

    Raises:
        RuleError: one sentence a fault, all faults of the file at once, each with its line.
    """
    path = Path(path)
    if not path.exists():
        raise RuleError(f"rules: no file {path}; give the path of a YAML file with a list under 'rules'.")
    return parse(path.read_text(), name=path.name)


def choose(rules_file: str, source: dict) -> Path:
    """The rule file to use: the one that is named, else the source's own, else the default.

    A name without a folder is looked up in `notebooks/scenarios/`.
    """
    named = rules_file or source.get("rules_path") or "rules.yaml"
    path = Path(named)
    return path if path.is_absolute() or path.exists() else store.project() / "notebooks" / "scenarios" / named


def parse(text: str, *, name: str = "rules") -> list[Rule]:
    """Read rules from YAML text; see `load`."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise RuleError(f"{name}: is not YAML: {' '.join(str(error).split())}.") from error
    listed = _listed(root, name)
    faults, rules = [], []
    for node in listed:
        faults += [f"{name}, line {line}: {fault}." for line, fault in _repeated_keys(node)]
        rule = _built(node, name, faults)
        rules += [rule] if rule else []
    faults += _repeated_ids(listed, name)
    if faults:
        raise RuleError("\n".join(faults))
    return in_order(rules)


def in_order(rules: list[Rule]) -> list[Rule]:
    """Sort rules by the precedence of their kinds; ties keep their order."""
    return sorted(rules, key=lambda rule: PRECEDENCE.index(rule.kind))


def from_records(records: list[dict]) -> list[Rule]:
    """Rebuild rules from the records that `records` made."""
    return in_order([_RULE.validate_python(record) for record in records])


def records(rules: list[Rule]) -> list[dict]:
    """Turn rules into plain records, for the facts of a run."""
    kept = [rule.model_dump(by_alias=True, exclude_none=True) for rule in rules]
    return json.loads(json.dumps(kept, default=str))


def version(rules: list[Rule]) -> str:
    """Hash of the rules' content: the same rules have the same version wherever their file lies."""
    return hashlib.sha256(json.dumps(records(rules), sort_keys=True).encode()).hexdigest()[:12]


def table(rules: list[Rule], skipped: dict[str, str] | None = None) -> pd.DataFrame:
    """The `rules` table, with `status` (live, shadow, expired or not applicable) and why.

    Args:
        rules: the register.
        skipped: rule_id -> why it does not apply.
    """
    skipped, made = skipped or {}, version(rules)
    rows = [{
        "rule_id": rule.id, "version": made, "kind": rule.kind, "is_hard": rule.is_hard, "scope": rule.scope,
        "limit": rule.limit, "window": rule.window, "owner": rule.owner, "reason": rule.reason,
        "valid_from": rule.valid_from, "valid_to": rule.valid_to, "on_missing": rule.on_missing,
        "status": "not applicable" if rule.id in skipped else rule.status, "detail": skipped.get(rule.id, ""),
        "is_for_sale": rule.sold, "precedence": place + 1,
    } for place, rule in enumerate(rules)]
    frame = pd.DataFrame(rows, columns=[
        "rule_id", "version", "kind", "is_hard", "scope", "limit", "window", "owner", "reason", "valid_from",
        "valid_to", "on_missing", "status", "detail", "is_for_sale", "precedence"])
    times = {name: pd.to_datetime(frame[name], utc=True).astype("datetime64[us, UTC]") for name in ("valid_from", "valid_to")}
    return frame.assign(**times, limit=frame["limit"].astype("float64"), window=frame["window"].astype("str"))


def _time(key: str, value: Any) -> pd.Timestamp | None:
    if value is None:
        return None
    try:
        moment = pd.Timestamp(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key} == {value!r}, must be a date or time") from error
    return moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")


def _listed(root: yaml.Node | None, name: str) -> list[yaml.Node]:
    if not isinstance(root, yaml.MappingNode):
        raise RuleError(f"{name}, line 1: must be a mapping with a list under 'rules'.")
    found = {key.value: (key, value) for key, value in root.value}
    unknown = sorted(set(found) - {"rules"})
    if unknown:
        raise RuleError("\n".join(f"{name}, line {found[key][0].start_mark.line + 1}: unknown key {key!r}; known keys: rules."
                                  for key in unknown))
    if "rules" not in found or not isinstance(found["rules"][1], yaml.SequenceNode):
        raise RuleError(f"{name}, line 1: 'rules' must be a list of rules.")
    return found["rules"][1].value


def _line(node: yaml.Node, path: tuple) -> int:
    """The line of the deepest part of a rule that a path of keys and numbers leads to."""
    for step in path:
        if isinstance(node, yaml.MappingNode):
            below = next((value for key, value in node.value if key.value == str(step)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            below = node.value[step]
        else:
            below = None
        node = node if below is None else below
    return node.start_mark.line + 1


def _repeated_keys(node: yaml.Node) -> list[tuple[int, str]]:
    if isinstance(node, yaml.SequenceNode):
        return [fault for part in node.value for fault in _repeated_keys(part)]
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value]
    own = [(key.start_mark.line + 1, f"key {key.value!r} is repeated")
           for place, (key, _) in enumerate(node.value) if key.value in keys[:place]]
    return own + [fault for _, value in node.value for fault in _repeated_keys(value)]


def _built(node: yaml.Node, name: str, faults: list[str]) -> Rule | None:
    raw = yaml.SafeLoader("")
    record = raw.construct_object(node, deep=True)
    label = record.get("id") if isinstance(record, dict) else None
    try:
        return _RULE.validate_python(record)
    except ValidationError as error:
        found = {}
        for fault in error.errors():
            said = _fault(fault, node, name, label)
            found[said] = None
        faults += list(found)
        return None


def _fault(fault: dict, node: yaml.Node, name: str, label: object) -> str:
    path = tuple(step for step in fault["loc"] if step not in _KINDS and not str(step).startswith("<") and "[" not in str(step))
    where = f"{name}, line {_line(node, path)}: rule {label!r}" if label else f"{name}, line {node.start_mark.line + 1}: a rule"
    key = ".".join(map(str, path))
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}."
    if fault["type"] == "missing":
        return f"{where}: key {key!r} is missing."
    if fault["type"] == "union_tag_invalid":
        return f"{where}: unknown kind {fault['ctx']['tag']!r}; known kinds: {', '.join(sorted(PRECEDENCE))}."
    if fault["type"] == "union_tag_not_found":
        return f"{where}: key 'kind' is missing; known kinds: {', '.join(sorted(PRECEDENCE))}."
    said = fault["msg"].removeprefix("Value error, ").rstrip(".")
    got = "" if fault["type"] == "value_error" else f", got {fault['input']!r}"
    return f"{where}: {key + ': ' if key else ''}{said[0].lower() + said[1:]}{got}."


def _repeated_ids(listed: list[yaml.Node], name: str) -> list[str]:
    seen: dict[str, int] = {}
    faults = []
    for node in listed:
        ids = [value for key, value in node.value if key.value == "id"] if isinstance(node, yaml.MappingNode) else []
        for value in ids:
            line = value.start_mark.line + 1
            if value.value in seen:
                faults.append(f"{name}, line {line}: id {value.value!r} is repeated; it first stands in line {seen[value.value]}.")
            seen.setdefault(value.value, line)
    return faults


_KINDS = set(PRECEDENCE)
