"""Point-in-time features of a big shop, beside DuckDB making the same columns from the same tables."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd

from reclib.ranking.features import KEYS, features
from reclib.report import number

OURS, DUCKDB, DUCKDB_DOZEN = "numpy, one sort", "DuckDB", "DuckDB, a dozen columns"
AS_OF = pd.Timestamp("2024-10-27", tz="UTC")
N_DAYS, N_CATEGORIES = 365, 40

# Written from the definitions in `features`, not from its code; ages are in days.
SQL = """
with e as (
  select customer_id, item_id, category, value, date_diff('microsecond', occurred_at, $as_of) / 86400e6 as age, floor(age) as day,
    pow(2, -age / 90) as weight
  from events join items using (item_id) where occurred_at <= $as_of),
pair as (
  select customer_id, item_id, count(*) as n, count(distinct day) as n_days, min(age) as last, max(age) as first,
    sum(pow(2, -age / 7)) as recent_7, sum(pow(2, -age / 30)) as recent_30, sum(weight) as recent_90, sum(pow(2, -age / 180)) as recent_180
  from e group by all),
item as (
  select item_id, count(*) as n, count(*) filter (age <= 7) as n_7, count(*) filter (age <= 28) as n_28, max(age) as oldest from e group by all),
buyers as (select item_id, count(*) as n_buyers, count(*) filter (n > 1) as n_loyal from pair group by all),
customer as (
  select customer_id, count(*) as n, count(distinct day) as n_days, count(*) filter (age <= 28) as n_28, min(age) as last, sum(value) as value,
    sum(weight) as weight from e group by all),
variety as (select customer_id, count(*) as n_items, count(*) filter (first <= 28) as n_first from pair group by all),
taste as (select customer_id, category, sum(weight) as inside, min(age) as last from e group by all),
prior as (select category, sum(weight) / sum(sum(weight)) over () as prior from e group by all),
span as (select max(age) + 1 as days from e)
select p.customer_id, p.item_id,
  ln(1 + coalesce(pair.n, 0)) as pair_n, ln(1 + coalesce(pair.n_days, 0)) as pair_n_days, ln(1 + pair.last) as pair_days_since,
  case when pair.n_days > 1 then (pair.first - pair.last) / (pair.n_days - 1) end as gap,
  ln(1 + gap) as pair_gap, case when gap > 0 then least(pair.last / gap, 6) end as pair_due,
  ln(recent_7 + 1e-3) as pair_recent_7, ln(recent_30 + 1e-3) as pair_recent_30, ln(recent_90 + 1e-3) as pair_recent_90,
  ln(recent_180 + 1e-3) as pair_recent_180, recent_90 / customer.weight as pair_share,
  ln((coalesce(item.n, 0) + 1) / days) as item_rate, ln(1 + coalesce(item.n_7, 0)) as item_n_7, ln(1 + coalesce(item.n_28, 0)) as item_n_28,
  ln((4 * coalesce(item.n_7, 0) + 4) / (coalesce(item.n_28, 0) + 4)) as item_trend, ln((coalesce(n_buyers, 0) + 1) / days) as item_rate_buyers,
  (coalesce(n_loyal, 0) + 1) / (coalesce(n_buyers, 0) + 10) as item_loyalty, ln((item.oldest + 1) / days) as item_age,
  ln((coalesce(customer.n, 0) + 1) / days) as customer_rate, ln(1 + coalesce(customer.n_28, 0)) as customer_n_28,
  ln((coalesce(customer.n_days, 0) + 1) / days) as customer_rate_days, ln(1 + customer.last) as customer_days_since,
  n_items / customer.n as customer_variety, (coalesce(n_first, 0) + 1) / (coalesce(customer.n_28, 0) + 4) as customer_curiosity,
  ln(1 + greatest(customer.value / customer.n, 0)) as customer_value,
  (coalesce(inside, 0) + 5 * prior) / (coalesce(customer.weight, 0) + 5) as share,
  ln((share + 1e-6) / (prior + 1e-6)) as taste_category, ln(share + 1e-6) as taste_share_category, ln(1 + taste.last) as taste_days_since_category
from pairs p join items using (item_id) cross join span left join pair using (customer_id, item_id) left join item using (item_id)
  left join buyers using (item_id) left join customer using (customer_id) left join variety using (customer_id)
  left join taste using (customer_id, category) left join prior using (category)
order by customer_id, item_id
"""


# The same definitions, of twelve columns only, with nothing counted that they do not need.
DOZEN = """
with e as (
  select customer_id, item_id, category, value, date_diff('microsecond', occurred_at, $as_of) / 86400e6 as age, pow(2, -age / 90) as weight
  from events join items using (item_id) where occurred_at <= $as_of),
pair as (select customer_id, item_id, count(*) as n, min(age) as last from e group by all),
item as (select item_id, count(*) as n, count(*) filter (age <= 7) as n_7, count(*) filter (age <= 28) as n_28 from e group by all),
customer as (
  select customer_id, count(*) as n, count(*) filter (age <= 28) as n_28, min(age) as last, sum(value) as value, sum(weight) as weight
  from e group by all),
taste as (select customer_id, category, sum(weight) as inside, min(age) as last from e group by all),
prior as (select category, sum(weight) / sum(sum(weight)) over () as prior from e group by all),
span as (select max(age) + 1 as days from e)
select p.customer_id, p.item_id, ln(1 + coalesce(pair.n, 0)) as pair_n, ln(1 + pair.last) as pair_days_since,
  ln((coalesce(item.n, 0) + 1) / days) as item_rate, ln(1 + coalesce(item.n_7, 0)) as item_n_7, ln(1 + coalesce(item.n_28, 0)) as item_n_28,
  ln((coalesce(customer.n, 0) + 1) / days) as customer_rate, ln(1 + coalesce(customer.n_28, 0)) as customer_n_28,
  ln(1 + customer.last) as customer_days_since, ln(1 + greatest(customer.value / customer.n, 0)) as customer_value,
  (coalesce(inside, 0) + 5 * prior) / (coalesce(customer.weight, 0) + 5) as share,
  ln((share + 1e-6) / (prior + 1e-6)) as taste_category, ln(share + 1e-6) as taste_share_category, ln(1 + taste.last) as taste_days_since_category
from pairs p join items using (item_id) cross join span left join pair using (customer_id, item_id) left join item using (item_id)
  left join customer using (customer_id) left join taste using (customer_id, category) left join prior using (category)
order by customer_id, item_id
"""


def shop(n_events: int, *, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Purchases of a year with long tails, items in forty categories, and a fifth as many pairs to describe.

    Returns:
        (events, items, candidates); customers are Pareto 1.5, the popularity of items falls with rank to the 0.9.
    """
    n_customers, n_items = max(int(n_events * 0.03), 10), max(int(30_000 * np.sqrt(n_events / 1e7)), 10)
    activity, popularity = rng.pareto(1.5, n_customers) + 1, np.arange(1, n_items + 1) ** -0.9
    popularity /= popularity.sum()
    start = pd.Timestamp("2024-01-01", tz="UTC").as_unit("us")
    seconds = np.sort(rng.integers(0, N_DAYS * 86_400, n_events))
    events = pd.DataFrame({
        "event_id": np.arange(n_events), "occurred_at": start + pd.to_timedelta(seconds, unit="s").as_unit("us"),
        "customer_id": rng.choice(n_customers, n_events, p=activity / activity.sum()), "item_id": rng.choice(n_items, n_events, p=popularity),
        "event_type": _word("purchase", n_events), "value": np.round(rng.lognormal(1, 1, n_events), 2)})
    items = pd.DataFrame({"item_id": np.arange(n_items), "category": pd.Series(np.arange(n_items) % N_CATEGORIES).astype("str")})
    pairs = pd.DataFrame({"customer_id": rng.integers(0, n_customers, n_events // 5), "item_id": rng.choice(n_items, n_events // 5, p=popularity)})
    pairs = pairs.drop_duplicates(ignore_index=True)
    return events, items, pairs.assign(source=_word("offered", len(pairs)), source_rank=1, source_score=1.0, is_known_customer=True,
                                       is_known_item=True)


def _word(word: str, n: int) -> np.ndarray:
    return pd.Series([word], dtype="str").repeat(n).array


def duckdb_features(events: pd.DataFrame, items: pd.DataFrame, candidates: pd.DataFrame, *, as_of: pd.Timestamp,
                    sql: str = SQL) -> tuple[pd.DataFrame, float]:
    """Features by SQL (all columns, or a `DOZEN`) on one thread, and the CPU seconds of the query alone: loading the tables is not counted."""
    import duckdb

    with duckdb.connect() as engine:
        engine.execute("set threads = 1; set timezone = 'UTC'; set enable_progress_bar = false")
        for name, table in {"events": events, "items": items, "pairs": candidates[KEYS]}.items():
            engine.register("given", table)
            engine.execute(f"create table {name} as select * from given")
        started = time.process_time()
        found = engine.execute(sql, {"as_of": as_of.to_pydatetime()}).df()
        return found.drop(columns=["gap", "share"], errors="ignore"), time.process_time() - started


def measure(sizes: list[int], *, seed: int = 7) -> pd.DataFrame:
    """Describe a fifth as many pairs as there are events, each engine and size in a process of its own.

    Returns:
        `n_events`, `engine`, `cpu_seconds` (features alone), `peak_mib` (the whole process, its tables included).
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        tasks = [(size, engine, seed) for size in sizes for engine in (OURS, DUCKDB, DUCKDB_DOZEN)]
        return pd.DataFrame(list(pool.map(_measured, *zip(*tasks))))


def _measured(size: int, engine: str, seed: int) -> dict:
    events, items, candidates = shop(size, rng=np.random.default_rng(seed))
    started = time.process_time()
    if engine == OURS:
        features(events, items, None, candidates, as_of=AS_OF)
    sql = DOZEN if engine == DUCKDB_DOZEN else SQL
    seconds = time.process_time() - started if engine == OURS else duckdb_features(events, items, candidates, as_of=AS_OF, sql=sql)[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"n_events": size, "engine": engine, "cpu_seconds": seconds, "peak_mib": peak}


def largest_difference(ours: pd.DataFrame, peer: pd.DataFrame) -> float:
    """Largest difference of any feature that both made, row by row; infinite where one has a number and the other none."""
    names = [name for name in peer.columns if name not in KEYS]
    left, right = (table.sort_values(KEYS)[names].to_numpy(dtype="float64") for table in (ours, peer))
    return float(np.nanmax(np.where(np.isnan(left) != np.isnan(right), np.inf, np.abs(left - right))))


def ratio_sentence(table: pd.DataFrame) -> str:
    """Say what the features cost at the largest size beside DuckDB, for the same columns and, where it was measured, for a dozen of them."""
    last = table[table["n_events"] == table["n_events"].max()].set_index("engine")
    ours, peer = last.loc[OURS], last.loc[DUCKDB]
    text = (f"Features of {ours['n_events']:,.0f} events take {number(ours['cpu_seconds'])} CPU s and {ours['peak_mib']:,.0f} MiB, "
            f"{ours['cpu_seconds'] / peer['cpu_seconds']:.2f} times DuckDB's {number(peer['cpu_seconds'])} CPU s for the same columns")
    if DUCKDB_DOZEN not in last.index:
        return text + "."
    dozen = last.loc[DUCKDB_DOZEN, "cpu_seconds"]
    return text + (f". A dozen of them alone take DuckDB {number(dozen)} CPU s: ours, which always makes all, "
                   f"take {ours['cpu_seconds'] / dozen:.2f} times that.")
