"""Downloads: terms first, checksums held, all or nothing. A server of our own stands for the publisher."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import threading
import zipfile

import pytest
from click.testing import CliRunner

from reclib.sources import fetch
from reclib.sources.source import SourceError

LINES = b"b\r\na\r\n"
CHECKSUM = hashlib.sha256(b"a\nb").hexdigest()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def publisher(tmp_path):
    """Serve a folder with `plain.csv` and `packed.zip`; yield its address."""
    folder = tmp_path / "public"
    folder.mkdir()
    (folder / "plain.csv").write_bytes(LINES)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner/u.data", LINES)
    (folder / "packed.zip").write_bytes(packed.getvalue())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _offer(monkeypatch, publisher, checksum=CHECKSUM):
    downloads = (fetch.Download(f"{publisher}/packed.zip", {"u.data": "inner/u.data"}, {"u.data": CHECKSUM}),
                 fetch.Download(f"{publisher}/plain.csv", {"deep/plain.csv": ""}, {"deep/plain.csv": checksum}))
    monkeypatch.setitem(fetch.DATA_SETS, "toy", fetch.DataSet("Free for all; name the source.", downloads))


def test_files_arrive_under_their_names(monkeypatch, publisher, tmp_path):
    _offer(monkeypatch, publisher)
    place = fetch.fetch("toy", True, into=tmp_path / "data")
    assert sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()) == ["deep/plain.csv", "u.data"]
    assert (place / "u.data").read_bytes() == LINES


@pytest.mark.parametrize("damage", ["checksum", "absent"])
def test_nothing_is_kept_of_a_download_that_is_wrong(monkeypatch, publisher, tmp_path, damage):
    _offer(monkeypatch, publisher if damage == "checksum" else f"{publisher}/nowhere", "0" * 64)
    with pytest.raises(SourceError, match="has checksum|cannot be fetched"):
        fetch.fetch("toy", True, into=tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_terms_come_first(monkeypatch, publisher, tmp_path):
    _offer(monkeypatch, publisher)
    with pytest.raises(SourceError, match="accept these terms first. Free for all"):
        fetch.fetch("toy", into=tmp_path)
    shown = CliRunner().invoke(fetch.main, ["hillstrom"])
    assert shown.exit_code == 0
    assert "Kevin Hillstrom" in shown.output
    assert "Nothing was fetched" in shown.output


def test_unknown_data_sets_are_refused():
    with pytest.raises(SourceError, match="nothing to fetch for 'netflix'; data sets: movielens-100k"):
        fetch.fetch("netflix", True)


def test_the_checksum_knows_lines_not_their_order_or_ends(tmp_path):
    (tmp_path / "other").write_bytes(b"a\nb\n\n")
    assert fetch.checksum(tmp_path / "other") == CHECKSUM
