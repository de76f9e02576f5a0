from meterline_sidecar.ledger.chain import GENESIS, batch_mac
from meterline_sidecar.store.edge.events import BatchRow, EventRow, LossRow
from tests.producer import NOON_MS, PRODUCER

BATCH = BatchRow(1, 1, 1, 3, 1, 2, 1, 1, NOON_MS)
CALL = EventRow(
    1, NOON_MS, 0, "acct_1", "GET", "/v1/items/{id}", 200, 1500, 0, 120, 0,
    '{"tokens":512}',
)  # fmt: skip
USE = EventRow(2, NOON_MS + 1, 2, None, "", "", 0, 0, 0, 0, 0, None)


def mac(*events: EventRow) -> str:
    return batch_mac(
        b"k" * 32,
        GENESIS,
        batch=BATCH,
        producer=PRODUCER,
        events=list(events),
        losses=[LossRow(3, 3, "damaged", b"x")],
    ).hex()


def test_without_properties_the_mac_is_what_it_was_before_there_were_any() -> None:
    assert mac(CALL, USE) == (
        "c5337b120ac29a375811ee47990fcf142ca860b931e1932bd394731509e1e75b"
    )


def test_properties_make_another_mac() -> None:
    tagged = CALL._replace(properties='{"all":{"model":"large"}}')

    assert (
        len({mac(CALL, USE), mac(tagged, USE), mac(CALL, USE._replace(properties=""))})
        == 3
    )
