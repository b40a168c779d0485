"""The command line: it names what the notebooks do."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

REFUSED = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reclib")
def main() -> None:
    """Recommendation as decisioning: signals, candidates, ranking, rules, delivery, feedback, experiments."""


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--source", default="", help="Built-in name, or path of a source file.  [default: storefront]")
@click.option("--scenario", type=click.Path(path_type=Path), help="YAML file with a source and parameters.")
@click.option("-p", "assignments", multiple=True, metavar="NAME=VALUE", help="Parameter of the notebooks; repeatable.")
@click.option("--run-id", default="", help="Name of the run.  [default: from source and parameters]")
@click.option("--reports", type=click.Path(path_type=Path, file_okay=False), help="Folder of the runs.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Notebooks side by side.  [default: all cores]")
@click.option("--resume", is_flag=True, help="Re-run only what is missing or stale.")
def run(names: tuple[str, ...], jobs: int | None, **options: object) -> None:
    """Run the whole chain, or the named notebooks with what they need.

    `experiments`, `07` and `07_experiments` name one notebook; proofs and benchmarks go by their names too.

    Exit codes: 0 published; 1 a notebook failed; 2 refused before any cell ran; 3 the checks refuse to publish.
    """
    from reclib.workflow import prepare, runner
    from reclib.workflow.plan import PlanError

    request = prepare.Request(names=names, jobs=jobs or len(os.sched_getaffinity(0)), **options)
    plan = _refusing(prepare.prepare, request)
    click.echo(f"Run {plan.run_id}: {len(plan.chosen)} notebooks, {plan.jobs} side by side.")
    code = _refusing(runner.run, plan, click.echo, refusal=PlanError)
    if code == runner.PUBLISHED:
        click.echo(f"Published: {plan.reports / 'latest' / 'index.html'}")
    else:
        click.echo(f"Not published ({'a notebook failed' if code == runner.FAILED else 'the checks refuse it'}): "
                   f"{plan.folder / 'index.html'}", err=True)
    sys.exit(code)


@main.command()
@click.option("--days", type=click.IntRange(min=1), required=True, help="Nights to decide, and days that the shop answers.")
@click.option("--reports", type=click.Path(path_type=Path, file_okay=False), help="Folder of the runs.")
@click.option("--run-id", default="", help="Name of the loop.  [default: from parameters]")
@click.option("-p", "assignments", multiple=True, metavar="NAME=VALUE",
              help="Parameter of the shop or of a night; repeatable.")
def loop(**options: object) -> None:
    """Live the storefront night after night: decide, publish, let the shop answer, learn from the answers.

    Exit codes: 0 every night published; 1 a night failed; 2 refused before any cell ran; 3 a night's checks refused it.
    A night that does not publish leaves the last good slates in place, and the loop goes on.
    """
    from reclib.workflow import loop as loops
    from reclib.workflow import runner
    from reclib.workflow.plan import PlanError

    plan = _refusing(loops.prepare, loops.Request(**options))
    click.echo(f"Loop {plan.run_id}: {plan.days} night{'s' if plan.days > 1 else ''}.")
    code = _refusing(loops.run, plan, click.echo, refusal=PlanError)
    page = plan.folder / f"{loops.PAGE}.html"
    click.echo(f"Lived: {page}" if code == runner.PUBLISHED else f"Lived, but not every night published: {page}",
               err=code != runner.PUBLISHED)
    sys.exit(code)


def _refusing(action: Callable, *arguments: object, refusal: type | tuple = ValueError, **options: object) -> object:
    """Call, and end with exit code 2 and a plain text where the request is refused."""
    try:
        return action(*arguments, **options)
    except refusal as error:
        click.echo(f"Refused: {error}", err=True)
        sys.exit(REFUSED)


@main.command()
def sources() -> None:
    """List the built-in sources: what each can feed, and what is missing for the rest."""
    from reclib.sources import catalog

    for name in catalog.BUILT_IN:
        told = catalog.describe(name)
        click.secho(name, bold=True)
        click.echo(f"  {told['about']}")
        click.echo(f"  has    {', '.join(told['tables'])}{', and it answers' if told['answers'] else ''}")
        for table, why in told["lacks"].items():
            click.echo(f"  lacks  {table}: {why}")
        if told["absent"]:
            row = catalog.known().set_index("source").loc[name]
            click.echo(f"  absent {', '.join(map(str, told['absent']))}: {row['how_to_get']}")


@main.command()
@click.argument("source")
def check(source: str) -> None:
    """Hold a SOURCE (a built-in name or the path of a source file) against the contracts of its tables.

    Every fault is named with table, column, count and first offending rows. Exit codes: 0 sound; 2 not.
    """
    from reclib import schema
    from reclib.sources import catalog

    found = _refusing(catalog.check, source)
    if len(found):
        click.echo(schema.describe(found))
        click.echo(f"{source}: {len(found)} faults.", err=True)
        sys.exit(REFUSED)
    click.echo(f"{source}: every contract holds.")


@main.command()
@click.argument("customer")
@click.argument("item")
@click.option("--run", default="latest", help="Run whose tables are read.  [default: latest]")
@click.option("--policy", default=None, help="Policy whose slates are meant.  [default: the main one]")
@click.option("--reports", type=click.Path(path_type=Path, file_okay=False), help="Folder of the runs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON record instead of sentences.")
def why(customer: str, item: str, run: str, policy: str | None, reports: Path | None, as_json: bool) -> None:
    """Trace CUSTOMER and ITEM through every layer of a run, down to the smallest change that would have shown it.

    Exit codes: 0 traced; 2 refused: no such run or policy, or the run has no decisions to trace.
    """
    import json

    if reports:
        os.environ["RECLIB_REPORTS"] = str(reports.resolve())
    with _uncollected():
        from reclib.rules import trace

        answer = _refusing(trace.why, customer, item, run=run, policy=policy, ranks=_ranks, refusal=(ValueError, FileNotFoundError))
    if as_json:
        click.echo(json.dumps(answer.as_record(), ensure_ascii=False, default=str))
        return
    click.secho(answer.sentence, bold=True)
    for layer, told in answer.layers.items():
        click.echo(f"  {layer}: {_words(told) or 'nothing'}")
    for change in answer.tried:
        word = "would show it" if change["is_verified"] else "would not"
        click.echo(f"  tried, {word}: {change['sentence']}")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Collect no garbage: of what is over in a second, most of it imports, that takes a sixth."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _ranks(customer: object, item: object, run: str) -> list[dict]:
    """Where sources rank a pair that none of them offered, with a word on stderr where that takes long."""
    from reclib.candidates import ranks

    return ranks.of_run(customer, item, run, say=lambda word: click.echo(word, err=True))


def _words(told: object) -> str:
    """What a layer knows, in one line."""
    if isinstance(told, dict):
        return ", ".join(f"{name} {_words(value)}" for name, value in told.items())
    if isinstance(told, list):
        return "; ".join(map(_words, told))
    return f"{told:.4g}" if isinstance(told, float) else str(told)
