"""What is wrong with a register although each rule is well formed: contradictions, redundancy, rules that never act."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import numpy as np
import pandas as pd

from reclib.allocation.problem import Row
from reclib.rules import fields as fields_of
from reclib.rules import filters
from reclib.rules.kinds import (
    Boost,
    Budget,
    Diversity,
    MinExposure,
    Pin,
    Rule,
    SlateQuota,
    Stock,
)
from reclib.rules.pairs import World
from reclib.rules.plan import Case
from reclib.rules.register import RuleError
from reclib.rules.shared import members, row_of

COLUMNS = ["rule_id", "fault", "weight"]
N_SETS = 1_024
Finding = tuple[str, str, str]


def require(rules: list[Rule], world: World) -> list[Rule]:
    """Return the rules, or raise an error that names every field that the vocabulary does not have.

    A field that a contract knows but this source lacks is no fault: such a rule does not apply. A field that nobody
    knows is a misspelling, and a misspelt safety rule must not pass in silence.

    Raises:
        RuleError: one sentence a fault.
    """
    known = fields_of.known_names(world)
    faults = []
    for rule in rules:
        for name in rule.needs:
            if not fields_of.is_known_name(name, world):
                near = difflib.get_close_matches(name, known, n=3)
                faults.append(f"rule {rule.id!r}: unknown field {name!r}; "
                              f"{'did you mean ' + ', '.join(near) if near else 'known fields: ' + ', '.join(known)}.")
            elif _counts_items(rule) and _is_of_customers(name, world):
                faults.append(f"rule {rule.id!r}: field {name!r} belongs to customers or pairs; {rule.kind} needs fields of items.")
    if faults:
        raise RuleError("\n".join(faults))
    return rules


def contradictions(rules: list[Rule], case: Case) -> pd.DataFrame:
    """Find rules that contradict one another, never act, or do what another does anyway.

    Returns:
        One row a finding: rule_id, fault (a sentence), weight (`contradiction`, `expired`, `redundant` or `idle`).
    """
    live = [rule for rule in case.rules if rule.status == "live"]
    found = [*_expired(rules, case), *_idle(case, live), *_total(case, live), *_floors(case, live), *_pins(case, live),
             *_boosts(case, live), *_redundant(case, live), *_implied(case, live), *_quotas(case, live)]
    return pd.DataFrame(found, columns=COLUMNS)


def _counts_items(rule: Rule) -> bool:
    """Whether its fields must be those of items: shared limits, quotas, and what makes items alike."""
    return isinstance(rule, (MinExposure, SlateQuota, Budget, Stock)) or isinstance(rule, Diversity) and bool(rule.fields)


def _is_of_customers(name: str, world: World) -> bool:
    if fields_of.fault(world, name) or fields_of.is_pair_level(name):
        return fields_of.is_pair_level(name)
    return fields_of.level(world, name)[1] == "customer"


def _meet(rule: Rule, other: Rule) -> bool:
    """Whether some policy is held to both."""
    return rule.policies is None or other.policies is None or bool(set(rule.policies) & set(other.policies))


def _covers(rule: Rule, other: Rule) -> bool:
    """Whether every policy that is held to the first is held to the other too."""
    return other.policies is None or rule.policies is not None and set(rule.policies) <= set(other.policies)


def _refused(case: Case, live: list[Rule], rule: Rule) -> np.ndarray:
    """Pairs that row rules refuse in every policy that is held to a rule."""
    return np.logical_or.reduce([np.zeros(len(case.pairs), dtype=bool), *(
        case.refused[other.id] for other in live if other.id in case.refused and _covers(rule, other))])


def _outlasts(other: Rule, rule: Rule) -> bool:
    """Whether the other holds wherever the rule does: in every policy, and no sooner to yield."""
    return _covers(rule, other) and (other.is_hard or not rule.is_hard and other.yields >= rule.yields)


def _idle(case: Case, live: list[Rule]) -> Iterator[Finding]:
    """Rules for policies that nobody ranks by, such as a misspelt one."""
    for rule in live:
        if rule.policies is not None and not set(rule.policies) & set(case.policies):
            yield rule.id, f"holds for policies {rule.policies}, of which none is ranked ({', '.join(case.policies)})", "idle"


def _expired(rules: list[Rule], case: Case) -> Iterator[Finding]:
    for rule in rules:
        if rule.valid_to is None:
            continue
        if rule.valid_from is not None and rule.valid_to <= rule.valid_from:
            yield (rule.id, f"valid_to {rule.valid_to:%Y-%m-%d} is not after valid_from {rule.valid_from:%Y-%m-%d}: it is never in force",
                   "contradiction")
        elif rule.valid_to <= case.world.as_of:
            yield rule.id, f"expired on {rule.valid_to:%Y-%m-%d}; delete it or renew it", "expired"


def _total(case: Case, live: list[Rule]) -> Iterator[Finding]:
    """Row rules that leave nothing at all, such as a margin floor above the best margin."""
    for rule in live:
        if len(case.pairs) and rule.id in case.refused and case.refused[rule.id].all():
            yield rule.id, f"refuses every pair ({filters.met(rule, case.pairs, 0)})", "contradiction"


def _floors(case: Case, live: list[Rule]) -> Iterator[Finding]:
    floors = [rule for rule in live if isinstance(rule, MinExposure)]
    marks = {rule.id: members(case.world, rule.when) for rule in floors}
    sets: list[tuple[MinExposure, ...]] = [()]
    for rule in sorted((rule for rule in floors if rule.share), key=lambda rule: -rule.share):
        sets += [(*some, rule) for some in sets[-N_SETS:] if all(
            _meet(rule, other) and not (marks[rule.id] & marks[other.id]).any() for other in some)]
    apart = max(sets, key=lambda some: sum(rule.share for rule in some))
    total = sum(rule.share for rule in apart)
    if total > 1 + 1e-9:
        names = ", ".join(rule.id for rule in apart)
        yield (apart[0].id, f"the floors of {names} concern different items and add up to {total:.2f} of all shown, more than one",
               "contradiction")
    for rule in floors:
        asked = f"asks for {f'a share of {rule.share:g}' if rule.share else f'{rule.placements:g} placements'}"
        if not marks[rule.id].any():
            yield rule.id, f"{asked}, but no item is a member", "contradiction"
        elif not (marks[rule.id][case.pairs.item] & ~_refused(case, live, rule)).any():
            yield rule.id, f"{asked}, but no customer may see any of its members", "contradiction"


def _pins(case: Case, live: list[Rule]) -> Iterator[Finding]:
    pins = [rule for rule in live if isinstance(rule, Pin)]
    for place, rule in enumerate(pins):
        mark = case.pins[rule.id]
        if not mark.any():
            yield rule.id, f"pins item {rule.item_id!r}, which is not in the catalogue or concerns no customer", "contradiction"
        elif not (mark & ~_refused(case, live, rule)).any():
            names = [other.id for other in live if other.id in case.refused and _covers(rule, other)
                     and not (mark & ~case.refused[other.id]).any()]
            by = f"{', '.join(names)} refuse" if names else "the filters together refuse"
            yield rule.id, f"pins item {rule.item_id!r}, which no customer may see: {by} it for all of them", "contradiction"
        for other in (other for other in pins[:place] if _meet(rule, other)):
            theirs = case.pins[other.id]
            if (mark & theirs).any():
                yield rule.id, f"pins item {rule.item_id!r}, which {other.id} pins for the same customers", "redundant"
            elif other.position == rule.position and np.intersect1d(case.pairs.customer[mark], case.pairs.customer[theirs]).size:
                yield rule.id, f"wants slot {rule.position}, which {other.id} has for the same customers", "contradiction"


def _boosts(case: Case, live: list[Rule]) -> Iterator[Finding]:
    """Boosts that lift and bury nothing: no pair, none that may be shown, or none that a stronger one does not."""
    boosts = [rule for rule in live if isinstance(rule, Boost) and rule.times != 1]
    for rule in boosts:
        mine = case.levers[rule.id] != 1
        stronger = [other.id for other in boosts if other.id != rule.id and _covers(rule, other)
                    and (other.times > rule.times > 1 or other.times < rule.times < 1)]
        left = mine & ~_refused(case, live, rule)
        if not mine.any():
            yield rule.id, "boosts no pair: its condition holds for none", "idle"
        elif not left.any():
            yield rule.id, "boosts only pairs that filters refuse", "idle"
        elif name := next((name for name in stronger if not (left & (case.levers[name] == 1)).any()), None):
            yield rule.id, f"boosts only pairs that {name} boosts more", "redundant"


def _redundant(case: Case, live: list[Rule]) -> Iterator[Finding]:
    """Row rules all of whose refusals another makes too; of two equal ones the later is named."""
    acting = [rule for rule in live if rule.id in case.refused and case.refused[rule.id].any()]
    for place, rule in enumerate(acting):
        mine = case.refused[rule.id]
        for number, other in enumerate(acting):
            theirs = case.refused[other.id]
            if number != place and _outlasts(other, rule) and not (mine & ~theirs).any() and (
                    number < place or (theirs & ~mine).any() or not _outlasts(rule, other)):
                yield rule.id, f"refuses tonight only what {other.id} refuses too", "redundant"
                break


def _implied(case: Case, live: list[Rule]) -> Iterator[Finding]:
    """Shared limits that another implies: no item uses more of them, and they leave as much room; of equal ones the later."""
    rows = [(rule, row) for rule in live if (row := row_of(case.world, rule, len(case.world.customers) * case.k))]
    for place, (rule, row) in enumerate(rows):
        for number, (other, tighter) in enumerate(rows):
            if number != place and _outlasts(other, rule) and _implies(tighter, row) and (
                    number < place or not (_implies(row, tighter) and _outlasts(rule, other))):
                yield rule.id, f"holds wherever {other.id} does", "redundant"
                break


def _implies(row: Row, looser: Row) -> bool:
    """Whether slates that hold the first hold the other, item by item."""
    parts = ((row.per_response, looser.per_response), (row.per_placement, looser.per_placement))
    return row.limit <= looser.limit and all((np.nan_to_num(mine) >= np.nan_to_num(theirs)).all() for mine, theirs in (
        [0.0 if part is None else part for part in pair] for pair in parts))


def _quotas(case: Case, live: list[Rule]) -> Iterator[Finding]:
    """Quotas that no slate can reach, or that a tighter one over the same items implies."""
    quotas = [rule for rule in live if isinstance(rule, SlateQuota)]
    for rule in quotas:
        if rule.max >= case.k:
            yield rule.id, f"allows {rule.max} of a {rule.field}, but a slate has {case.k} slots", "idle"
    for rule in quotas:
        for other in quotas:
            if other.field == rule.field and other.max < rule.max and other.when in (None, rule.when) and _outlasts(other, rule):
                yield rule.id, f"is implied by {other.id}, which allows {other.max}", "redundant"
