"""What can be wrong with usage, prices, invoices, and what Stripe is told."""

from collections.abc import Mapping
from typing import Final

from meterline_sidecar.problems.problem import Code, Problem
from meterline_sidecar.properties import OTHER

MONEY: Final[Mapping[Code, Problem]] = {
    "usage_behind": Problem(
        severity="warning",
        title="Usage has not been added up for a while",
        means="events are stored but not counted yet; drafts and pages are behind",
        action="look at the job `aggregate` in `meterline status`, and at the"
        " sidecar's log",
    ),
    "recounting": Problem(
        severity="info",
        title="Usage is being counted again",
        means="a recount was requested; until it is complete, the earlier numbers are"
        " shown",
        action="nothing; it ends by itself. `meterline meters rebuild METER --discard"
        " REASON` abandons it",
    ),
    "usage_unassigned": Problem(
        severity="info",
        title="Nobody pays for some usage",
        means="subjects that no customer claims used something in the last 35 days",
        action="give them to a customer (`subjects`), or write a `[[customer_rule]]`;"
        " earlier usage counts too",
    ),
    "subject_claimed_twice": Problem(
        severity="warning",
        title="Two customers claim the same subjects",
        means="two customers have the same subject or pattern; the one that claimed it"
        " last pays",
        action="remove it from one of them",
    ),
    "subject_never_matches": Problem(
        severity="warning",
        title="A subject pattern probably matches nothing",
        means="only a `*` at the end is a wildcard; anywhere else it stands for"
        " itself, so no subject is likely to match",
        action="list the subjects, or use a prefix that ends in `*`",
    ),
    "sign_up_unfit": Problem(
        severity="warning",
        title="Subjects cannot become customers by a sign-up rule",
        means="a `[[customer_rule]]` matches them, but their names cannot be a"
        " customer's id; nobody pays for what they use",
        action="give them to a customer (`subjects`), or have the app name them in"
        " letters, digits and `_ . - : @ + = ~ |`, at most 100",
    ),
    "alert_of_nobody": Problem(
        severity="warning",
        title="An alert names an unknown customer",
        means="this customer is in neither the files nor the API, so the alert is"
        " never raised",
        action="fix `customer` of the alert, or add the customer",
    ),
    "filter_never_matches": Problem(
        severity="warning",
        title="A meter's filter matches nothing",
        means="no event can match `where`, so the meter counts nothing",
        action="fix `where` of the meter; `meterline check` says what is allowed",
    ),
    "values_together": Problem(
        severity="warning",
        title="A property has more values than are kept apart",
        means="a meter groups by a property (`group_by`), and more values of it were"
        " recorded than `values_max` of `[properties]` allows: later values are added up"
        f" and priced as `{OTHER}`. The events themselves keep their values",
        action="take the property out of `group_by` if it has endless values, such as"
        " ids; otherwise have the app record fewer, or raise `values_max`, which applies"
        " to events after the next start",
    ),
    "fraction_not_counted": Problem(
        severity="warning",
        title="A meter without a scale got fractions",
        means="fractions were recorded, but the meter counts only whole numbers, so"
        " these uses are not billed. The events themselves keep their values",
        action="give the meter a `scale` (the number of decimals that it counts), and"
        " count again what was left out with `meterline meters rebuild`; or have the"
        " app record whole numbers",
    ),
    "fraction_rounded": Problem(
        severity="info",
        title="A meter rounded what was recorded",
        means="values had more decimals than the meter's `scale`; each was rounded"
        " separately, half to even, and is billed like that. The events themselves"
        " keep their values",
        action="have the app record only as many decimals as are billed; or raise"
        " `scale`, and count again what was rounded with `meterline meters rebuild`",
    ),
    "value_not_priced": Problem(
        severity="warning",
        title="Something without a price was used",
        means="a price has no cell for a value that was used, such as a method; this"
        " part of the usage is on the draft without an amount",
        action="give the price a `default`, or a cell for the value",
    ),
    "meter_not_priced": Problem(
        severity="info",
        title="A plan does not charge for a meter that is used",
        means="a customer used a meter that their plan has no price for, so this usage"
        " is free",
        action="add a `[[plan.price]]` for that meter if it should not be free",
    ),
    "no_draft": Problem(
        severity="error",
        title="A customer's invoice cannot be calculated",
        means="the customer's plan cannot be applied to this period",
        action="fix the plan or the customer as the reason says",
    ),
    "no_plan": Problem(
        severity="info",
        title="A customer without a plan has usage",
        means="plans exist, but this customer has none, so there is no invoice",
        action="set `plan` of the customer",
    ),
    "removed_not_billed": Problem(
        severity="warning",
        title="A removed customer has unbilled usage or fees",
        means="what they owe for the open period is kept, but has not been invoiced",
        action="make the last invoice final: `meterline invoice CUSTOMER --period MONTH"
        " --finalize`",
    ),
    "removed_open": Problem(
        severity="info",
        title="A customer was removed in the middle of a period",
        means="what they used until then is kept; their last invoice becomes final by"
        " itself when the period is over",
        action="nothing, if they left; if it was a mistake, put them back into the"
        " file",
    ),
    "late_usage_waits": Problem(
        severity="warning",
        title="Late usage waits for a decision",
        means="it arrived after its period was final, for a meter with `late ="
        ' "report"`, so it is not billed by itself',
        action="look at it with `meterline late list`, then accept or reject it",
    ),
    "period_held": Problem(
        severity="warning",
        title="A period's grace is over, but something holds up its invoice",
        means="it becomes final by itself once the reason is gone; other customers are"
        " not affected",
        action="see `meterline close --list held`, which says what to do for each",
    ),
    "period_not_closed": Problem(
        severity="warning",
        title="A billing period is over but has no final invoice",
        means="it ended more than five days ago, and late events may still change its"
        " draft; customers whose invoices Stripe makes are not counted",
        action="make it final: `meterline close --customer CUSTOMER`",
    ),
    "stripe_not_sending": Problem(
        severity="error",
        title="Nothing is sent to Stripe",
        means="reports wait in the outbox; Stripe accepts none older than 35 days",
        action="fix what the reason says; reporting resumes by itself",
    ),
    "stripe_may_not_read": Problem(
        severity="warning",
        title="The key may not read all that is checked at Stripe",
        means="everything is told as ever, but what the key may not read is not checked",
        action="give the restricted key the permission that the text names, or use"
        " another key",
    ),
    "stripe_meter": Problem(
        severity="error",
        title="A meter at Stripe differs from the configuration",
        means="Stripe would not add up what is reported",
        action="compare with `meterline stripe plan`, and fix it at Stripe or here",
    ),
    "stripe_clock": Problem(
        severity="warning",
        title="This machine's clock differs from Stripe's",
        means="usage falls into the wrong hours, and Stripe refuses times ahead of its"
        " own",
        action="correct this machine's clock",
    ),
    "stripe_differs": Problem(
        severity="error",
        title="Stripe's totals differ from the ledger's",
        means="what Stripe would bill is not what was used",
        action="`meterline reconcile` names the hours and their rows, and says what to do",
    ),
    "stripe_dropped": Problem(
        severity="warning",
        title="Stripe dropped meter events without saying which",
        means="a webhook reported errors without naming the events",
        action="`meterline reconcile` finds them",
    ),
    "stripe_by_hand": Problem(
        severity="warning",
        title="Something can only be billed by hand",
        means="Stripe's invoice is final, or Stripe does not know the customer, so"
        " this usage is on no invoice of Stripe's",
        action="`meterline reconcile` shows the reason and the amount; bill it by"
        " hand, or assign it to a customer",
    ),
    "stripe_invoice_held": Problem(
        severity="error",
        title="A final invoice is not collected through Stripe",
        means="Stripe refused it, somebody changed its draft there, or Stripe cannot"
        " represent it exactly; other invoices are not affected",
        action="`meterline outbox invoice NUMBER` says why; fix the cause, then run"
        " `meterline outbox invoice NUMBER --retry`",
    ),
    "stripe_invoice_waiting": Problem(
        severity="error",
        title="A final invoice does not get to Stripe",
        means="Stripe cannot be reached, or fails again and again, so the invoice is"
        " not collected yet; nothing is lost, and each call is tried again by itself",
        action="fix what the reason says, or wait for Stripe; `meterline outbox"
        " invoice NUMBER` shows the calls",
    ),
    "stripe_invoice_differs": Problem(
        severity="error",
        title="An invoice at Stripe differs from the final invoice here",
        means="a line is missing, is there twice, or has another amount; or the"
        " invoice at Stripe is not in the state it should be in",
        action="do what the text says, or fix it at Stripe; then run `meterline reconcile`"
        " for the month in which its period ended",
    ),
    "stripe_copy": Problem(
        severity="warning",
        title="This ledger may be a copy of another",
        means="what the other one may have sent to Stripe is held, so that nothing is"
        " sent twice",
        action="`meterline reconcile` settles what is held, once Stripe's totals are"
        " complete",
    ),
    "outbox_failing": Problem(
        severity="warning",
        title="Reports to Stripe keep failing",
        means="they have been failing for a minute or longer, and are still being"
        " retried",
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
        means="a row's customer has no stripe_customer, or Stripe has no active meter"
        " of that name that counts in the same way",
        action="add `stripe_customer` to the customer and run `meterline reload`, or create"
        " the meter with `meterline stripe apply`, which says what is wrong with an"
        " existing one; the rows then go out by themselves",
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
        means="older than 34 days before it could be sent; Stripe accepts none older"
        " than 35",
        action="bill it by hand: Meterline never gives it another date",
    ),
    "outbox_rejected": Problem(
        severity="error",
        title="Stripe dropped reports that it had accepted",
        means="accepted by Stripe but dropped later, as a webhook reported",
        action="fix the cause, then `meterline outbox retry ROW`",
    ),
}
"""All of them, in the order in which usage becomes money."""
