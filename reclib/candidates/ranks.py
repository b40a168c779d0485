"""Where one item stands at every source for one customer, also where no source would have offered it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy import sparse

from reclib import schema, store
from reclib.candidates import base, generate
from reclib.candidates.history import History, learn

FILE = "sources"
SPARSE_BELOW = 0.5


def keep(made: generate.Generated) -> str:
    """Leave in the run the factors of every source's scores, so that a pair is ranked later without learning again.

    The file holds `customers` (ids served), `items` (ids), `eligible` (flag by item), `had` (customers x items), and of each of
    `sources`: `rows` (customers x features), `weights` (features x items offered), `items` (their codes), `speaks` (flag by
    customer), `least` and `offers_had`, as the source has them.
    """
    history, ids = made.history, made.served
    codes = history.customers.get_indexer(ids)
    arrays = {"customers": _plain(ids), "items": _plain(history.items), "eligible": history.items.isin(made.eligible),
              "sources": np.array([source.name for source in made.fitted])} | _packed("had", base.rows_of(history.had(), codes))
    for source in made.fitted:
        name, is_known = source.name, np.append(source.knows_customer(), False)[codes]
        arrays |= _packed(f"{name}/rows", source.rows(codes, ids)) | _packed(f"{name}/weights", source.weights) | {
            f"{name}/items": source.items, f"{name}/speaks": is_known | (not source.is_personal),
            f"{name}/least": np.array(-np.inf if source.least is None else source.least),
            f"{name}/offers_had": np.array(source.offers_had)}
    return store.write_arrays(FILE, arrays)


def of_run(customer: object, item: object, run: str = store.LATEST, *, say: Callable[[str], None] | None = None) -> list[dict]:
    """Rank an item for a customer at every source of a run; its sources learn again where the run did not `keep` them.

    Args:
        customer, item: as the run names them.
        run: run whose tables are read.
        say: is told before the sources learn again.

    Returns:
        See `of_pair`.
    """
    kept = store.read_arrays(FILE, run=run)
    if kept:
        return of_kept(customer, item, kept)
    if say:
        say("The run did not keep what its sources learnt: they learn again, which takes a few seconds.")
    as_of = schema.end_of_day(store.read_facts("source", run=run)["as_of"])
    events = store.read("events", run=run, columns=["occurred_at", "customer_id", "item_id", "event_type", "value"])
    ratings, items, customers = (store.read_if_there(name, run=run) for name in ("ratings", "items", "customers"))
    history = learn(events, items, customers, as_of=as_of, ratings=ratings,
                    repeats_allowed=store.read_facts("candidate_metrics", run=run).get("repeats_allowed"))
    return of_pair(customer, item, history=history, items=items, seed=store.read_facts("run", run=run).get("seed", 7))


def of_pair(customer: object, item: object, *, history: History, items: pd.DataFrame | None, seed: int = 7) -> list[dict]:
    """Rank an item for a customer at every source, best rank first.

    Returns:
        source, source_rank (among all eligible items) and source_score, one record a source that scores the pair.
        Sources that must know the customer say nothing of strangers.
    """
    found, eligible = [], generate.eligible_items(history, items)
    for source in generate.default_sources(history, seed=seed):
        offers = source.fit(history).generate(pd.Index([customer]), n=len(history.items), eligible=eligible)
        mine = offers[(offers["item_id"] == item) & (offers["is_known_customer"] | (not source.is_personal))]
        found += mine[["source", "source_rank", "source_score"]].to_dict("records")
    return _best_first(found)


def of_kept(customer: object, item: object, kept: Mapping[str, np.ndarray]) -> list[dict]:
    """What `of_pair` would say, from the factors that a run kept; nothing of customers who were not served."""
    place, code = np.flatnonzero(kept["customers"] == customer), np.flatnonzero(kept["items"] == item)
    is_open = kept["eligible"]
    if not len(place) or not len(code) or not is_open[code[0]]:
        return []
    is_new = base.dense(_row(kept, "had", place))[0] == 0
    found = [_standing(kept, str(name), place, int(code[0]), is_open if kept[f"{name}/offers_had"] else is_open & is_new)
             for name in kept["sources"] if kept[f"{name}/speaks"][place[0]]]
    return _best_first([one for one in found if one])


def _standing(kept: Mapping[str, np.ndarray], name: str, place: np.ndarray, code: int, is_open: np.ndarray) -> dict | None:
    """Rank and score of an item of this code among those open to the customer, if the source has it."""
    offered = kept[f"{name}/items"]
    column = np.flatnonzero(is_open[offered])
    if not (offered[column] == code).any():
        return None
    scores = base.dense(_row(kept, f"{name}/rows", place) @ _matrix(kept, f"{name}/weights"))[:, column]
    order, values = base.best(scores, len(column), above=float(kept[f"{name}/least"]))
    at = np.flatnonzero((offered[column[order[0]]] == code) & np.isfinite(values[0]))
    return {"source": name, "source_rank": int(at[0]) + 1, "source_score": float(values[0, at[0]])} if len(at) else None


def _best_first(found: list[dict]) -> list[dict]:
    return sorted(found, key=lambda one: (one["source_rank"], one["source"]))


def _plain(ids: pd.Index) -> np.ndarray:
    return ids.to_numpy() if pd.api.types.is_integer_dtype(ids) else ids.to_numpy(str)


def _packed(name: str, matrix: np.ndarray | sparse.csr_matrix) -> dict[str, np.ndarray]:
    """A matrix as arrays: as it is, or its filled cells alone where that is smaller; their values only if they differ."""
    if not sparse.issparse(matrix) and np.count_nonzero(matrix) > SPARSE_BELOW * matrix.size:
        return {name: matrix}
    cells = sparse.csr_matrix(matrix)
    values = {f"{name}.data": cells.data} if (cells.data != 1).any() else {}
    return values | {f"{name}.indices": cells.indices, f"{name}.indptr": cells.indptr, f"{name}.shape": np.array(cells.shape)}


def _matrix(kept: Mapping[str, np.ndarray], name: str) -> np.ndarray | sparse.csr_matrix:
    if name in kept:
        return kept[name]
    indices = kept[f"{name}.indices"]
    values = kept[f"{name}.data"] if f"{name}.data" in kept else np.ones(len(indices))
    return sparse.csr_matrix((values, indices, kept[f"{name}.indptr"]), shape=tuple(kept[f"{name}.shape"]))


def _row(kept: Mapping[str, np.ndarray], name: str, place: np.ndarray) -> np.ndarray | sparse.csr_matrix:
    return _matrix(kept, name)[place]
