"""The kinds of rules: a closed vocabulary, each kind with its own keys, and the precedence that no file can change."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Annotated, Any, ClassVar, Literal

import pandas as pd
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    model_validator,
)

from reclib.rules.conditions import Condition, Scalar, fields, utc

PRECEDENCE = (
    "policy", "safety", "eligibility", "applicability", "suitability", "block", "stock", "margin_floor",
    "frequency_cap", "suppression", "quiet_hours", "pin", "slate_quota", "diversity", "budget", "min_exposure", "boost",
)
NOT_FOR_SALE = ("policy", "safety", "eligibility", "suppression", "quiet_hours")


def _moment(value: Any) -> pd.Timestamp | None:
    """A date or time; a bare number, or a word such as `now`, is none."""
    if value is None:
        return None
    try:
        if not isinstance(value, datetime.date) and not (isinstance(value, str) and value[:1].isdecimal()):
            raise TypeError
        return utc(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"must be a date or time such as 2026-03-01, got {value!r}") from error


def _clock(value: Any) -> str:
    """A time of day as `21:00`; YAML reads a bare 21:00 as the minutes of the day."""
    text = f"{value // 60:02d}:{value % 60:02d}" if isinstance(value, int) else str(value)
    try:
        return f"{datetime.time.fromisoformat(text.zfill(5)):%H:%M}"
    except ValueError as error:
        raise ValueError(f"must be a time of day such as \"21:00\", got {value!r}") from error


def _zone(value: Any) -> str:
    if value not in zoneinfo.available_timezones():
        raise ValueError(f"must be a time zone such as Europe/Berlin, got {value!r}")
    return value


Moment = Annotated[pd.Timestamp | None, BeforeValidator(_moment)]
Clock = Annotated[str, BeforeValidator(_clock)]
Zone = Annotated[str, BeforeValidator(_zone)]


class _Rule(BaseModel):
    """What every rule has, whatever its kind.

    Attributes:
        id: name of the rule, unique in the file.
        owner: who answers for it.
        reason: why it is there, for people; also the reason code's text.
        is_hard: never relaxed. Soft rules yield in ascending `yields`: for customers who could be shown nothing, and for all
            where hard shared limits could not hold with them.
        valid_from, valid_to: moments between which it is in force; open where missing.
        on_missing: what missing data means: `block` fails closed, `allow` lets the pair pass.
        status: `live` is enforced; `shadow` is counted and reported only.
        policies: ranking policies that it holds for; all where missing.
        is_for_sale: whether its price may be an argument for lifting it; law and safety are not.

    A kind says what it is held against (`scope`: row, slate, customer or all), which of its keys is its threshold
    (`bound`), and which name fields (`named`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False)
    scope: ClassVar[str] = "row"
    bound: ClassVar[str | None] = None
    named: ClassVar[tuple[str, ...]] = ()
    id: Annotated[str, Field(min_length=1)]
    owner: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]
    is_hard: bool = True
    yields: int = 0
    valid_from: Moment = None
    valid_to: Moment = None
    on_missing: Literal["block", "allow"] = "block"
    status: Literal["live", "shadow"] = "live"
    policies: list[str] | None = None
    is_for_sale: bool | None = None

    @property
    def limit(self) -> float | None:
        """Threshold, where it has one."""
        return None if self.bound is None else float(getattr(self, self.bound))

    @property
    def window(self) -> str | None:
        """Period it counts over, where it has one."""
        return None

    @property
    def needs(self) -> list[str]:
        """Fields without which it cannot be held."""
        named = [name for key in self.named if (name := getattr(self, key))]
        asked = [field for key in ("when", "keep") for field in fields(getattr(self, key, None))]
        return list(dict.fromkeys([*named, *asked]))

    @property
    def is_lever(self) -> bool:
        """Whether it bends scores and forbids nothing."""
        return self.kind in ("boost", "pin")

    @property
    def sold(self) -> bool:
        """Whether it is for sale, by its kind where the file does not say."""
        return self.kind not in NOT_FOR_SALE if self.is_for_sale is None else self.is_for_sale


class Filter(_Rule):
    """Keep pairs that satisfy `keep`, among those for which `when` holds.

    Suppression is contact policy: it shows nothing to customers who do not satisfy `keep`.
    """

    kind: Literal["policy", "safety", "eligibility", "applicability", "suitability", "suppression"]
    keep: Condition
    when: Condition | None = None

    @property
    def scope(self) -> str:
        return "customer" if self.kind == "suppression" else "row"


class Stock(_Rule):
    """Show only what is in stock, and no item more often than its stock can bear.

    Attributes:
        field: column that holds the stock.
        min: units that must be there for the item to be shown at all.
        placements_per_unit: slots that one unit bears, since few slots sell; missing means that stock is not shared.
    """

    bound, named = "min", ("field",)
    kind: Literal["stock"]
    field: str = "stock_on_hand"
    min: float = 1.0
    placements_per_unit: Annotated[float, Field(gt=0)] | None = None

    @property
    def scope(self) -> str:
        return "row" if self.placements_per_unit is None else "all"


class Budget(_Rule):
    """Spend at most `max`: each member costs `times` x `cost` for each expected response or each placement."""

    scope, bound, named = "all", "max", ("cost",)
    kind: Literal["budget"]
    cost: str | None = None
    times: Annotated[float, Field(gt=0)] = 1.0
    max: Annotated[float, Field(ge=0)]
    per: Literal["response", "placement"] = "response"
    when: Condition | None = None


class MarginFloor(_Rule):
    """Keep the margin rate at `min` or above: of each pair, or of all expected sales together (`over: all`)."""

    bound = "min"
    kind: Literal["margin_floor"]
    min: float
    over: Literal["pair", "all"] = "pair"

    @property
    def scope(self) -> str:
        return "row" if self.over == "pair" else "all"

    @property
    def needs(self) -> list[str]:
        return ["margin_rate"] if self.over == "pair" else ["margin_rate", "price"]


class MinExposure(_Rule):
    """Give members at least a share of what is shown, of all slots, or so many placements."""

    scope = "all"
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
    def limit(self) -> float | None:
        return self.share if self.share is not None else self.placements


class FrequencyCap(_Rule):
    """Show a pair only while its `counter` (such as `n_seen_7d`) is below `max`."""

    bound, named = "max", ("counter",)
    kind: Literal["frequency_cap"]
    counter: str
    max: Annotated[float, Field(ge=1)]
    when: Condition | None = None

    @property
    def window(self) -> str | None:
        tail = self.counter.rsplit("_", 1)[-1]
        return f"{tail[:-1]} days" if tail.endswith("d") and tail[:-1].isdigit() else None


class QuietHours(_Rule):
    """Contact policy: send nothing by `channels` between `start` and `end` of the customer's own clock.

    The clock is read at the moment when the slates reach customers. Nobody is disturbed whose time zone is not known
    (`on_missing: block`), also where the source has no such column at all.

    Attributes:
        start, end: times of day, such as "21:00" and "08:00"; at `end` itself all may be sent again.
        channels: where it is quiet; slates that go elsewhere are no concern of the rule.
        field: column of customers that tells where their clock stands.
        zones: time zone of each value of `field`; without it the values are time zones themselves (Europe/Berlin).
    """

    scope, named = "customer", ("field",)
    kind: Literal["quiet_hours"]
    start: Clock
    end: Clock
    channels: Annotated[list[str], Field(min_length=1)] = ["push"]
    field: str = "timezone"
    zones: dict[str, Zone] = {}

    @model_validator(mode="after")
    def _some(self) -> QuietHours:
        if self.start == self.end:
            raise ValueError(f"'start' and 'end' are both {self.start}; a rule that is never or always quiet is none")
        return self

    @property
    def window(self) -> str | None:
        return f"{self.start} to {self.end}"


class SlateQuota(_Rule):
    """At most `max` items of one value of `field` in a slate."""

    scope, bound, named = "slate", "max", ("field",)
    kind: Literal["slate_quota"]
    field: str
    max: Annotated[int, Field(ge=1)]
    when: Condition | None = None


class Diversity(_Rule):
    """Prefer what differs from the items above it (`mmr`), what is less known (`novelty`) or was not seen this week
    (`repetition`), each by `weight`; or allow at most `max` items that share all `fields` (`max_similar`).

    With `mmr` an item loses `weight` times its own score for each share of `fields` in which it equals the most
    similar item placed above it; the formulas of the others are in `controls`.
    """

    scope = "slate"
    kind: Literal["diversity"]
    is_hard: bool = False
    method: Literal["mmr", "max_similar", "novelty", "repetition"] = "mmr"
    fields: list[str] = []
    weight: Annotated[float, Field(ge=0, le=1)] = 0.2
    max: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _alike(self) -> Diversity:
        if bool(self.fields) != (self.method in ("mmr", "max_similar")):
            raise ValueError("'fields' must name what makes items alike for methods 'mmr' and 'max_similar', and only for them")
        return self

    @property
    def limit(self) -> float | None:
        return float(self.max) if self.method == "max_similar" else self.weight

    @property
    def is_lever(self) -> bool:
        return self.method != "max_similar"

    @property
    def needs(self) -> list[str]:
        return {"novelty": ["buyers_share"], "repetition": ["n_seen_7d"]}.get(self.method, list(self.fields))


class Boost(_Rule):
    """Multiply the priority of pairs for which `when` holds; of several boosts the largest counts, of several below 1 the least.

    Where `when` is not known nothing is lifted; with `on_missing: block` what a boost below 1 buries is buried there too.
    """

    bound = "times"
    kind: Literal["boost"]
    is_hard: bool = False
    on_missing: Literal["block", "allow"] = "allow"
    when: Condition
    times: Annotated[float, Field(ge=0.1, le=10)]


class Pin(_Rule):
    """Put an item into a slot of every customer for whom `when` holds; a pin never resurrects a filtered item."""

    scope, bound = "slate", "position"
    kind: Literal["pin"]
    is_hard: bool = False
    item_id: Scalar
    position: Annotated[int, Field(ge=1)] = 1
    when: Condition | None = None


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
    Filter | Stock | Budget | MarginFloor | MinExposure | FrequencyCap | QuietHours | SlateQuota | Diversity
    | Boost | Pin | Block, Field(discriminator="kind")]
ADAPTER: TypeAdapter = TypeAdapter(Rule)
