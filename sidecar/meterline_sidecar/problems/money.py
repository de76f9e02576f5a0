"""What can be wrong with usage, prices, invoices, and what Stripe is told."""

from collections.abc import Mapping
from typing import Final

from meterline_sidecar.problems.problem import Code, Problem
from meterline_sidecar.properties import OTHER

MONEY: Final[Mapping[Code, Problem]] = {
    "usage_behind": Problem(
        severity="warning",
        title="Usage has not been added up for a while",
        means="events are stored and wait to be counted; drafts and pages are behind",
        action="see the job `aggregate` in `meterline status` and the sidecar's log",
    ),
    "recounting": Problem(
        severity="info",
        title="Usage is being counted again",
        means="a recount was asked for; until it is complete, the numbers of before are"
        " served",
        action="nothing; it ends by itself, and `meterline meters rebuild METER --discard"
        " REASON` gives it up",
    ),
    "usage_unassigned": Problem(
        severity="info",
        title="Nobody pays for some usage",
        means="subjects used something in the last 35 days, and no customer claims them",
        action="give them to a customer (`subjects`), or write a `[[customer_rule]]`;"
        " usage of before counts, too",
    ),
    "subject_claimed_twice": Problem(
        severity="warning",
        title="Two customers claim the same subjects",
        means="a subject or pattern is written in two customers; whoever claimed it last"
        " pays",
        action="take it out of one of them",
    ),
    "subject_never_matches": Problem(
        severity="warning",
        title="A pattern of subjects can match nothing it was meant for",
        means="only a `*` at the end is a mark; anywhere else it stands for itself, so"
        " that no subject of an app is likely to match",
        action="write out the subjects, or a prefix with `*` at its end",
    ),
    "sign_up_unfit": Problem(
        severity="warning",
        title="Subjects that sign up cannot become customers",
        means="a `[[customer_rule]]` is for them, and their names can be no customer's"
        " id; nobody pays for what they use",
        action="give them to a customer (`subjects`), or have the app name them in"
        " letters, digits and `_ . - : @ + = ~ |`, at most 100",
    ),
    "alert_of_nobody": Problem(
        severity="warning",
        title="An alert is about a customer whom nobody knows",
        means="neither the files nor the API have this customer, so the alert is never"
        " raised",
        action="mend `customer` of the alert, or add the customer",
    ),
    "filter_never_matches": Problem(
        severity="warning",
        title="A meter's filter can match nothing",
        means="no event can have what `where` asks for, so the meter counts nothing",
        action="mend `where` of the meter; `meterline check` names what is allowed",
    ),
    "values_together": Problem(
        severity="warning",
        title="A property has more values than are told apart",
        means="a meter adds up by a property (`group_by`), and more values of it were"
        " recorded than `values_max` of `[properties]`: what has any of the further ones"
        f" is added up as `{OTHER}`, and priced so. The events themselves keep their"
        " values",
        action="take the property out of `group_by` if its values have no end, such as"
        " ids; else have the app record fewer, or raise `values_max`, which holds for"
        " events that come after the next start",
    ),
    "fraction_not_counted": Problem(
        severity="warning",
        title="A meter without a scale came across fractions",
        means="values that are not whole were recorded, and the meter takes only whole"
        " numbers: these uses are not billed. The events themselves keep their values",
        action="give the meter a `scale`, the digits behind the point that it counts,"
        " and count again what was left out with `meterline meters rebuild`; or have the"
        " app record whole numbers",
    ),
    "fraction_rounded": Problem(
        severity="info",
        title="A meter rounded what was recorded",
        means="values had more digits behind the point than the meter's `scale`; each was"
        " rounded by itself, half to even, and is billed so. The events themselves keep"
        " their values",
        action="have the app record as many digits as are billed; or raise `scale`, and"
        " count again what was rounded with `meterline meters rebuild`",
    ),
    "value_not_priced": Problem(
        severity="warning",
        title="Somebody used what has no price",
        means="a price has no cell for a value that was used, such as a method; this"
        " part of the usage is on the draft without an amount",
        action="give the price a `default`, or a cell for the value",
    ),
    "meter_not_priced": Problem(
        severity="info",
        title="A plan does not charge for a meter that is used",
        means="a customer used a meter that their plan has no price for: it is free",
        action="add a `[[plan.price]]` of that meter, where it should not be",
    ),
    "no_draft": Problem(
        severity="error",
        title="A customer's invoice cannot be drawn",
        means="the customer has a plan, and it cannot be applied to this period",
        action="mend the plan or the customer as the reason says",
    ),
    "no_plan": Problem(
        severity="info",
        title="A customer without a plan uses something",
        means="there are plans, and this customer is on none: there is no invoice",
        action="set `plan` of the customer",
    ),
    "removed_not_billed": Problem(
        severity="warning",
        title="A customer was taken out with usage or fees that are not billed",
        means="what they owe for the open period is kept, and nobody has invoiced it",
        action="make the last invoice final: `meterline invoice CUSTOMER --period MONTH"
        " --finalize`",
    ),
    "removed_open": Problem(
        severity="info",
        title="A customer was taken out in the middle of a period",
        means="what they used until then is kept; their last invoice becomes final by"
        " itself when the period is over",
        action="nothing, if they left; have them back in the file, if that was a mistake",
    ),
    "late_usage_waits": Problem(
        severity="warning",
        title="Late usage waits for a decision",
        means="it came when its period was final, and of a meter with `late ="
        ' "report"` that is not billed by itself',
        action="look at it with `meterline late list`, then accept or reject it",
    ),
    "period_held": Problem(
        severity="warning",
        title="A period's grace is over, and something holds up its invoice",
        means="it becomes final by itself as soon as nothing does any more; all others"
        " go on",
        action="look at each with `meterline close --list held`, which says what to do",
    ),
    "period_not_closed": Problem(
        severity="warning",
        title="A billing period is over and has no final invoice",
        means="it ended more than five days ago, and late events may still change its"
        " draft; customers whose invoices Stripe makes are not counted",
        action="make it final: `meterline close --customer CUSTOMER`",
    ),
    "stripe_not_sending": Problem(
        severity="error",
        title="Nothing is sent to Stripe",
        means="reports wait in the outbox; Stripe takes none older than 35 days",
        action="mend what the reason says; reporting goes on by itself",
    ),
    "stripe_meter": Problem(
        severity="error",
        title="A meter at Stripe is not as configured",
        means="Stripe would add up something else than what is told",
        action="compare with `meterline stripe plan`, and mend it at Stripe or here",
    ),
    "stripe_clock": Problem(
        severity="warning",
        title="This machine's clock and Stripe's are apart",
        means="usage falls into wrong hours, and Stripe refuses times ahead of its own",
        action="set this machine's clock right",
    ),
    "stripe_differs": Problem(
        severity="error",
        title="Stripe's totals differ from the ledger's",
        means="what Stripe would bill is not what was used",
        action="see `meterline reconcile`",
    ),
    "stripe_dropped": Problem(
        severity="warning",
        title="Stripe dropped meter events without saying which",
        means="a webhook told of errors that name no event",
        action="`meterline reconcile` finds them",
    ),
    "stripe_by_hand": Problem(
        severity="warning",
        title="Something can only be billed by hand",
        means="Stripe's invoice is final, or Stripe does not know the customer: this usage"
        " is on no invoice of Stripe",
        action="`meterline reconcile` says why and what it comes to; bill it by hand, or"
        " say who pays for it",
    ),
    "stripe_invoice_held": Problem(
        severity="error",
        title="A final invoice is not collected through Stripe",
        means="Stripe refused it, somebody changed its draft there, or Stripe cannot say"
        " the same as it does; other invoices go on",
        action="`meterline outbox invoice NUMBER` says why; mend it, then"
        " `meterline outbox invoice NUMBER --retry`",
    ),
    "stripe_invoice_differs": Problem(
        severity="error",
        title="An invoice at Stripe is not what is final here",
        means="a line is missing, is there twice, or says another amount; or Stripe has"
        " not led the invoice where it was told to",
        action="mend it at Stripe, then `meterline reconcile` of the month in which its"
        " period ended looks again",
    ),
    "stripe_copy": Problem(
        severity="warning",
        title="This ledger may be a copy of another",
        means="what the other one may have told Stripe is held, so that nothing is told"
        " twice",
        action="`meterline reconcile` settles what is held, once Stripe's totals are"
        " complete",
    ),
    "outbox_failing": Problem(
        severity="warning",
        title="Reports to Stripe keep failing",
        means="they were tried for a minute or longer, and are tried again",
        action="read the reason; `meterline outbox` lists the rows",
    ),
    "outbox_unresolved": Problem(
        severity="warning",
        title="The outcome of reports is unknown",
        means="sent without learning the outcome: Stripe may or may not count it",
        action="`meterline reconcile` settles it from Stripe's own totals",
    ),
    "outbox_parked": Problem(
        severity="warning",
        title="Reports wait for a customer or a meter at Stripe",
        means="a row's customer has no stripe_customer, or Stripe has no active meter of"
        " that name that counts as ours does",
        action="add `stripe_customer` to the customer and restart, or make the meter"
        " with `meterline stripe apply`, which says what is wrong with one that there"
        " is; the rows then go out by themselves",
    ),
    "outbox_dead": Problem(
        severity="error",
        title="Reports were refused by Stripe, or dropped",
        means="refused by Stripe, or dropped by a person",
        action="fix the cause, then `meterline outbox retry ROW`",
    ),
    "outbox_expired": Problem(
        severity="error",
        title="Reports are too old for Stripe",
        means="older than 34 days before it could be sent; Stripe takes none older"
        " than 35",
        action="bill it by hand: it is never given another date",
    ),
    "outbox_rejected": Problem(
        severity="error",
        title="Stripe dropped reports that it had accepted",
        means="accepted by Stripe and dropped later, as a webhook said",
        action="fix the cause, then `meterline outbox retry ROW`",
    ),
}
"""All of them, in the order in which usage becomes money."""
