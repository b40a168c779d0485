"""Fetch a public data set: its terms first, then the files, held against their checksums, then all of them in place.

`python -m reclib.sources.fetch movielens-100k` shows the terms; with `--accept-terms` it fetches into `data/`.
A checksum here is the SHA-256 of a file's sorted lines, so that line ends and row order of a mirror do not matter.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import click

from reclib.sources.source import SourceError

_BANDIT = ("https://raw.githubusercontent.com/st-tech/zr-obp/12eb4f1738b8220498f9faed5ff6a4ffe5f4c626/obp/dataset/obd/")


@dataclass(frozen=True)
class Download:
    """One address and the files that come from it.

    Attributes:
        address: where it is published.
        members: path in our folder: path in the archive (empty where the address is the file itself).
        checksums: path in our folder: SHA-256 of its sorted lines.
    """

    address: str
    members: dict[str, str]
    checksums: dict[str, str]


@dataclass(frozen=True)
class DataSet:
    """A public data set: the terms that its publisher states, and what to download."""

    terms: str
    downloads: tuple[Download, ...]


def _one_file(address: str, path: str, checksum: str) -> Download:
    return Download(address, {path: ""}, {path: checksum})


DATA_SETS = {
    "movielens-100k": DataSet(
        "MovieLens 100K, GroupLens Research, University of Minnesota. For research; no endorsement may be stated or implied; "
        "acknowledge the data set in publications; do not redistribute it and make no commercial use of it without "
        "permission. Full terms: https://files.grouplens.org/datasets/movielens/ml-100k-README.txt",
        (Download("https://files.grouplens.org/datasets/movielens/ml-100k.zip",
                  {name: f"ml-100k/{name}" for name in ("u.data", "u.item", "u.user", "u.genre")}, {
                      "u.data": "f7dde5dc55b648d848645090e8e50b34bbf9b56abd8c305bcae44ee5de7a1f06",
                      "u.item": "9e26c38b9e3d160e39ec47e18c6eeb4f409039c312f9f6d1fdca2e74cdde80ca",
                      "u.user": "78fa1e41e368cabf2877bb42d72b38b9d5fa44fffce54e00600e82ce7faf1b9d",
                      "u.genre": "27c90b8117526ad33104f85cb78ed443b44f4f9d6cef12b59a1044d4b8b8265b",
                  }),)),
    "hillstrom": DataSet(
        "MineThatData E-Mail Analytics and Data Mining Challenge, Kevin Hillstrom, 2008: published for everyone to analyse; "
        "name the source. https://blog.minethatdata.com/2008/03/minethatdata-e-mail-analytics-and-data.html",
        (_one_file("http://www.minethatdata.com/Kevin_Hillstrom_MineThatData_E-MailAnalytics_DataMiningChallenge_2008.03.20.csv",
                   "hillstrom.csv", "ac75c79d65ace5d914f43458c77ae7b5df86f686b451fc94691025db0b3cd409"),)),
    "open-bandit": DataSet(
        "Open Bandit Dataset (small sample), ZOZO Research: Creative Commons Attribution 4.0; name the source. "
        "https://research.zozo.com/data.html",
        (_one_file(_BANDIT + "random/men/men.csv", "random/men.csv",
                   "1add521648c518e3a2bab1803eb00e8a1b750c5910929c6b642abb347b4f4a98"),
         _one_file(_BANDIT + "bts/men/men.csv", "bts/men.csv",
                   "d02f4411cb4740a51e3cff97085331ae1966bf2fc5be5fa822b180659e7a7333"),
         _one_file(_BANDIT + "random/men/item_context.csv", "item_context_men.csv",
                   "8e0a7ba5e2602c25fdfd1baac56e498cfe186db0b5ca607f920bd201e254e51e"))),
}


def fetch(name: str, accept_terms: bool = False, *, into: Path | None = None) -> Path:
    """Fetch a data set into `data/<name>`, all of it or nothing.

    Args:
        name: one of `DATA_SETS`.
        accept_terms: without it, nothing is fetched and the terms are in the error.
        into: the folder that will hold `<name>`; the project's `data/` where None.

    Returns:
        Its folder.

    Raises:
        SourceError: unknown name, terms not accepted, an address that fails, or a checksum that does not match.
    """
    if name not in DATA_SETS:
        raise SourceError(f"nothing to fetch for {name!r}; data sets: {', '.join(DATA_SETS)}.")
    if not accept_terms:
        raise SourceError(f"{name}: accept these terms first. {DATA_SETS[name].terms}")
    home = into or Path(__file__).resolve().parents[2] / "data"
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=f".{name}-") as folder:
        ready = Path(folder) / name
        for download in DATA_SETS[name].downloads:
            _download(download, ready, Path(folder))
        if (home / name).exists():
            shutil.rmtree(home / name)
        ready.rename(home / name)
    return home / name


def checksum(path: Path) -> str:
    """SHA-256 of the sorted, stripped, non-empty lines of a file."""
    lines = sorted(line.strip() for line in path.read_bytes().splitlines() if line.strip())
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def _download(download: Download, ready: Path, scratch: Path) -> None:
    import pooch

    pooch.get_logger().setLevel("ERROR")
    try:
        found = Path(pooch.retrieve(download.address, known_hash=None, path=scratch, fname="download"))
        for path, member in download.members.items():
            (ready / path).parent.mkdir(parents=True, exist_ok=True)
            (ready / path).write_bytes(zipfile.ZipFile(found).read(member) if member else found.read_bytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise SourceError(f"{download.address} cannot be fetched: {' '.join(str(error).split())[:200]}.") from error
    found.unlink()
    for path, wanted in download.checksums.items():
        got = checksum(ready / path)
        if got != wanted:
            raise SourceError(f"{path} from {download.address} has checksum {got}, must be {wanted}; nothing was kept.")


@click.command()
@click.argument("name", type=click.Choice(sorted(DATA_SETS)))
@click.option("--accept-terms", is_flag=True, help="Fetch it; the terms are shown either way.")
def main(name: str, accept_terms: bool) -> None:
    """Show the terms of a data set and, once they are accepted, fetch it into data/."""
    click.echo(DATA_SETS[name].terms)
    if not accept_terms:
        click.echo("Nothing was fetched: add --accept-terms to fetch it under these terms.")
        return
    try:
        click.echo(f"{name}: {fetch(name, True)}")
    except SourceError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
