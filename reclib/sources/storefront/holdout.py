"""A launch that follows its experiment: to everybody but a lasting control group, and the truth about those days.

Like `truth`, this is for pages that hold an estimate against the truth; no layer may import it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib import schema
from reclib.sources.storefront import (
    config,
    days,
    policies,
    tables,
    truth,
)

LAUNCHED = "launched"


@dataclass(frozen=True)
class Launch:
    """A launch that was lived.

    Attributes:
        start: the evening on which it went out, UTC.
        slots: its slates: decision_id, customer_id, item_id, position, policy, delivered_at.
        events: `events` of the days of the experiment and of the launch; the latter name the `decision_id` they answer.
        worlds: outcomes of every customer in the days of the launch, as `truth.true_outcomes` makes them: as it was
            launched (`LAUNCHED`), and by policy where everybody meets it from that evening on.
    """

    start: pd.Timestamp
    slots: pd.DataFrame
    events: pd.DataFrame
    worlds: dict[str, pd.DataFrame]


def live(decisions: pd.DataFrame, holdout: pd.DataFrame, deliveries: pd.DataFrame, assignments: pd.DataFrame, source: dict, *,
         is_split: bool = False, experiment_days: int = 28, n_days: int = 28) -> Launch:
    """Live the experiment, then the launch.

    Args:
        decisions: `decisions`; rows with a position are the slates, those of the experiment still.
        holdout: `assignments` of the launch; its arms are policies.
        deliveries, assignments: what the experiment showed, and to whom.
        source: facts of the source, which must be one that answers.
        is_split: those held out buy from their own part of the stock, by their share; else all buy from one stock.
        experiment_days, n_days: days of the experiment, and of the launch.
    """
    first_day = source["params"]["n_days"] + experiment_days
    parts = tables.live(deliveries, assignments, params=source["params"], n_days=experiment_days, is_split=bool(source.get("is_split")))
    before = tables.events_of(parts, deliveries["decision_id"], first_day=source["params"]["n_days"], n_days=experiment_days)
    start = schema.end_of_day(f"{pd.Timestamp(config.FIRST_DAY) + pd.Timedelta(days=first_day - 1):%Y-%m-%d}")
    shown = decisions.loc[decisions["position"].notna(), ["policy", "customer_id", "item_id", "position"]].astype({"position": "int64"})
    slots = shown.merge(holdout[["customer_id", "arm"]], left_on=["customer_id", "policy"], right_on=["customer_id", "arm"])
    slots = slots.assign(decision_id=[f"launch-{n}" for n in range(len(slots))], delivered_at=start).drop(columns="arm")
    evening, span = _together(parts, source["params"]), {"first_day": first_day, "n_days": n_days}
    lived = [_on(each, slots, **span) for each in (tables.apart(evening, holdout) if is_split else [evening])]
    worlds = {LAUNCHED: tables.totals_of(lived, **span)}
    worlds |= {name: tables.totals_of([_on(evening, shown[shown["policy"] == name], **span)], **span) for name in sorted(set(holdout["arm"]))}
    since = tables.events_of(lived, slots["decision_id"], **span)
    return Launch(start, slots, pd.concat([before, since], ignore_index=True), worlds)


def _together(parts: list[tables.Part], params: dict) -> tables.Part:
    """The whole shop on the evening on which its parts end: customers as their own part left them, all stock in one."""
    world, state, history = tables.history(config.build(**params))
    for each in parts:
        for name, value in vars(each.state).items():
            if name not in ("stock", "n_slots"):
                getattr(state, name)[each.is_member] = value[each.is_member]
    state.stock = sum(each.state.stock for each in parts)
    state.n_slots = max(each.state.n_slots for each in parts)
    return tables.Part(world, state, [history, *(each.logs[-1] for each in parts)], np.ones(world.config.n_customers, dtype=bool))


def _on(evening: tables.Part, slates: pd.DataFrame, *, first_day: int, n_days: int) -> tables.Part:
    """Go on from an evening with these slates on every visit; the evening stays as it was."""
    state, size = evening.state.copy(), evening.world.config
    policy = policies.published(slates, size.n_customers, size.n_items)
    log = days.run(evening.world, state, policy, first_day=first_day, n_days=n_days)
    return evening._replace(state=state, logs=[*evening.logs, log])


def bend(launch: Launch, holdout: pd.DataFrame, metrics: pd.Series, *, control: str) -> pd.DataFrame:
    """How far the launch itself bends what its holdout sees: each group lived in the launch, and where all meet its own policy.

    Nobody's outcome differs between the two but by what the others left in stock.

    Args:
        launch: made by `live`.
        holdout: its `assignments`.
        metrics: names of metrics.
        control: policy of the holdout.

    Returns:
        metric, launched and held_out (change of each group's value), bend (their difference: what the stock adds to the
        difference that the holdout sees).
    """
    arm = launch.worlds[LAUNCHED]["customer_id"].map(holdout.set_index("customer_id")["arm"])
    rows = []
    for metric in metrics:
        moved = {policy: truth.value_of(launch.worlds[LAUNCHED][arm == policy], metric) - truth.value_of(alone[arm == policy], metric)
                 for policy, alone in launch.worlds.items() if policy != LAUNCHED}
        shipped, = set(moved) - {control}
        rows.append({"metric": metric, "launched": moved[shipped], "held_out": moved[control], "bend": moved[shipped] - moved[control]})
    return pd.DataFrame(rows, columns=["metric", "launched", "held_out", "bend"])


def bend_sentence(shared: pd.DataFrame, apart: pd.DataFrame, metric: str, *, unit: str) -> str:
    """Say what sharing the stock gave and took, what that does to the difference that is seen, and whether dividing it helps.

    Args:
        shared, apart: made by `bend`, of a launch that shares the stock with its holdout, and of one that divides it.
        metric: what is told, in `unit` a customer.
    """
    row, other = (table.set_index("metric").loc[metric] for table in (shared, apart))
    told = [f"{words} {'gain' if row[name] >= 0 else 'lose'} {abs(row[name]):.2f} {unit}"
            for name, words in (("launched", "those who got the new policy"), ("held_out", "those held out"))]
    better = abs(other["bend"]) < abs(row["bend"])
    return (f"By sharing one stock {told[0]} a customer and {told[1]}, so that the holdout sees a difference in {metric} that is "
            f"{_size(row['bend'], unit)}. Held out with their own part of each item's stock they would see one that is "
            f"{_size(other['bend'], unit)}: for so few customers, dividing the stock {'helps' if better else 'does more harm than sharing it'}.")


def _size(bend: float, unit: str) -> str:
    return f"{abs(bend):.2f} {unit} too {'large' if bend > 0 else 'small'}"
