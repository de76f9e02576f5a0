"""From closed hours of usage to what Stripe counts, and back: each unit exactly once.

Owns: the outbox's rows and their states, what is sent and in which order and how fast,
what Stripe's answers mean, the comparison with Stripe's totals, its webhooks, and the
only imports of Stripe's SDK (`api`, `answers`, `transport`).

Does not own: usage (`usage/`), prices and invoices of ours (`billing/`), SQL (`store/`),
which of its parts there are (`daemon/assemble_stripe.py`).

One final invoice: `billing` plans its calls; `invoicing` commits each as `sending`, then
makes it, and looks for what is in doubt; `invoice_check` compares line by line, as
`invoice_lines` says, and with what was `given_back`.

One hour: `enqueue` compares its usage with the outbox and adds a row; `report` commits
the row as `sending`, then sends it by `api`, chosen by `batching` and paced by `pacing`;
`settle` says what the answer makes of the row. What was dropped later comes by
`webhooks`, what stayed in doubt is settled by `reconcile`, what needs a person by
`by_hand`; both say it again by `replace`. `account` says whose key may be used, `states`
what a state means, `health` how it all fares, and `service` when each of them acts.
"""
