"""Meters, products and prices at Stripe, made to fit the configuration.

Owns: what the configuration wants there, what that changes, and making the change.

Does not own: reporting of usage, or anything at Stripe that somebody else made.

One price: `prices` says it in Stripe's words, or why those have none for it; `plan`
compares that with what is there; `apply` makes the difference, and nothing twice.
"""
