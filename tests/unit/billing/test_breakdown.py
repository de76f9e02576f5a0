"""What credit notes take back of an invoice: by law and by hand."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from meterline_pricing.tools import currency_of
from meterline_sidecar.billing.breakdown import (
    Breakdown,
    TaxShare,
    less,
    negative,
    part_of,
    share_out,
    together,
)

D = Decimal


def vat(amount: str, *, base: str | None, percent: str | None = "19") -> TaxShare:
    rate = None if percent is None else D(percent)
    of = None if base is None else D(base)
    return TaxShare(title="VAT", percent=rate, base=of, amount=D(amount))


@st.composite
def invoices(draw: st.DrawFn) -> Breakdown:
    """Invoices in currencies of each kind, of whatever taxes; more than nothing is due."""
    currency = draw(st.sampled_from(("jpy", "eur", "kwd")))
    unit = currency_of(currency).minor_unit
    units = st.integers(0, 300).map(lambda n: n * unit)
    net = draw(units)
    bases = st.one_of(st.none(), st.just(net), units)
    taxes = tuple(
        TaxShare(
            title=f"tax {i}",
            percent=None if base is None else D(i),
            base=base,
            amount=draw(units),
        )
        for i, base in enumerate(draw(st.lists(bases, max_size=3)))
    )
    found = Breakdown(currency=currency, net=net, taxes=taxes)
    adjustments = draw(st.integers(-300, 300)) * unit
    if found.amount + adjustments <= 0:
        adjustments = unit
    return Breakdown(
        currency=currency,
        net=net,
        taxes=taxes,
        credits=draw(st.integers(-int(found.amount / unit), 300)) * unit,
        adjustments=adjustments,
    )


@given(invoices(), st.data())
def test_parts_that_are_credited_never_exceed_their_invoice_and_come_to_it(
    invoice: Breakdown, data: st.DataObject
) -> None:
    unit = currency_of(invoice.currency).minor_unit
    taken = Breakdown(currency=invoice.currency)
    left = invoice.amount
    while left > 0 and data.draw(st.booleans()):
        amount = unit * data.draw(st.integers(1, int(left / unit)))
        part = part_of(invoice, taken, amount)
        left -= amount
        taken = together(invoice.currency, [taken, part])

        beside = part.adjustments + part.credits
        assert part.amount == amount == part.net + part.tax + beside
        assert 0 <= part.credits <= max(D(0), invoice.credits)
        assert 0 <= part.net <= amount + abs(invoice.adjustments)
        assert 0 <= taken.net <= invoice.net
        for tax, whole in zip(part.taxes, invoice.taxes, strict=True):
            assert (tax.title, tax.percent) == (whole.title, whole.percent)
            assert 0 <= tax.amount <= whole.amount
        for tax, whole in zip(taken.taxes, invoice.taxes, strict=True):
            assert tax.amount <= whole.amount
            assert tax.base is None or whole.base is None or tax.base <= whole.base

    rest = less(invoice, taken)
    both = together(invoice.currency, [taken, rest])
    assert rest.amount == left
    assert (both.net, both.credits, both.adjustments) == (
        invoice.net,
        invoice.credits,
        invoice.adjustments,
    )
    assert [tax.amount for tax in both.taxes] == [t.amount for t in invoice.taxes]


@given(st.lists(st.integers(0, 500), min_size=1, max_size=5), st.data())
def test_what_is_credited_keeps_to_the_proportions_whatever_the_steps(
    parts: list[int], data: st.DataObject
) -> None:
    parts = [*parts, 1]
    taken = [0] * len(parts)
    while (left := sum(parts) - sum(taken)) and data.draw(st.booleans()):
        amount = data.draw(st.integers(1, min(left, 40)))
        found = share_out(parts, taken, amount)
        taken = [one + more for one, more in zip(taken, found, strict=True)]

        assert sum(found) == amount
        for part, done in zip(parts, taken, strict=True):
            assert abs(done - part * sum(taken) / sum(parts)) < len(parts)


def test_three_thirds_of_an_invoice_are_all_of_it() -> None:
    invoice = Breakdown(
        currency="eur", net=D("8.40"), taxes=(vat("1.60", base="8.40"),)
    )
    taken = Breakdown(currency="eur")

    found: list[tuple[str, str, str]] = []
    for amount in ("3.33", "3.33", "3.34"):
        part = part_of(invoice, taken, D(amount))
        taken = together("eur", [taken, part])
        (tax,) = part.taxes
        found.append((str(part.net), str(tax.amount), str(tax.base)))

    assert found == [
        ("2.80", "0.53", "2.80"),
        ("2.79", "0.54", "2.79"),
        ("2.81", "0.53", "2.81"),
    ]
    assert less(invoice, taken).is_nothing


def test_cents_that_are_credited_one_by_one_do_not_all_fall_on_the_net() -> None:
    invoice = Breakdown(currency="eur", net=D(100), taxes=(vat("19.00", base="100"),))
    taken = Breakdown(currency="eur")

    for _ in range(500):
        part = part_of(invoice, taken, D("0.01"))
        taken = together("eur", [taken, part])

    assert (taken.net, taken.tax) == (D("4.20"), D("0.80"))


def test_each_rate_has_a_net_of_its_own_and_no_tax_says_why() -> None:
    taxes = (
        vat("19.00", base="100.00"),
        vat("3.50", base="50.00", percent="7"),
        vat("0.00", base="30.00", percent="0"),
    )
    invoice = Breakdown(currency="eur", net=D("190.00"), taxes=taxes)

    part = part_of(invoice, Breakdown(currency="eur"), D("21.25"))  # a tenth

    assert part.net == D("19.00")
    assert [(str(tax.amount), str(tax.base)) for tax in part.taxes] == [
        ("1.90", "10.00"),
        ("0.35", "5.00"),
        ("0.00", "3.00"),
    ]
    assert negative(negative(part)) == part


def test_two_taxes_of_the_same_net_both_say_so() -> None:
    taxes = (
        vat("5.00", base="100.00", percent="5"),
        vat("9.97", base="100.00", percent="9.975"),
    )
    invoice = Breakdown(currency="cad", net=D("100.00"), taxes=taxes)

    part = part_of(invoice, Breakdown(currency="cad"), D("57.49"))

    assert part.amount == D("57.49")
    assert {tax.base for tax in part.taxes} == {part.net}
