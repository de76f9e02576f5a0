"""What `make bench-peers` writes, of figures that are made up."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.peers import page
from benchmarks.peers.apps import PEERS
from benchmarks.peers.measured import Rate
from benchmarks.peers.page import BARE, BEGIN, END, Figures


def figures() -> Figures:
    """Return those of two rounds, in which only Meterline loses nothing."""
    return Figures(
        in_process_us={name: [100.0 + i, 110.0 + i] for i, name in enumerate(PEERS)},
        served={
            name: [Rate(1000 - 50 * i, 300), Rate(2000 - 100 * i, 310)]
            for i, name in enumerate(PEERS)
        },
        undisturbed=dict.fromkeys(PEERS, 1_000),
        delivered=dict.fromkeys(PEERS, 0) | {"meterline": 1_000},
    )


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a page that has other parts as well, once it is written."""
    monkeypatch.setattr(page, "version_of", lambda package: f"1.2 of {package}")  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(page, "PICTURE", tmp_path / "peers.svg")
    page.PAGE.write_text(f"# Ours\n\n{BEGIN}\nof before\n{END}\n\n## The rest\n")
    page.write(figures(), machine="a machine", command="make it", load="wrk")
    return tmp_path


def test_the_part_of_peers_is_replaced_and_no_other(written: Path) -> None:
    text = (written / "page.md").read_text()

    assert text.startswith(f"# Ours\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\n## The rest\n")
    assert "of before" not in text
    assert (
        "| Meterline |  | 1 (1 to 1) | 0.95 (0.95 to 0.95) | 305 (300 to 310) |"
        " 1,000 | 1,000 |"
    ) in text
    assert "| Moesif | 1.2 of moesifasgi | 6 (6 to 6) | 0.70 (0.70 to 0.70) |" in text


def test_the_picture_has_two_bars_of_each_peer(written: Path) -> None:
    picture = ElementTree.parse(written / "peers.svg").getroot()

    bars = [rect for rect in picture.iter() if rect.get("rx")]
    assert len(bars) == 2 * len(PEERS.keys() - {BARE})


def test_each_peer_that_is_measured_is_on_the_page() -> None:
    assert list(page.PEERS) == list(PEERS)
