"""Alerts about a customer's usage or cost, raised once and delivered until heard.

Owns the rules (a limit, a jump, silence), the memory of what was raised, and the
delivery to a webhook.

Does not own usage or cost: it is given running totals and reads usage. It alarms
nobody about the sidecar itself; that is the work of ``/status`` and of metrics.

How an alert passes through: ``rules`` compares a customer's total with each rule and
adds a row if that level was not raised before; ``delivery`` takes rows that are due,
signs and sends them, and sends them again for three days until a 2xx answers.
"""
