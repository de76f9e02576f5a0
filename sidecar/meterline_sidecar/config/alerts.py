"""Reads what ``meterline.toml`` says of the customer's page and of alerts."""

from collections.abc import Collection
from pathlib import Path

from meterline_pricing.errors import unknown
from meterline_pricing.toml.source import BOOLEAN, DECIMAL, TEXT, Table
from meterline_sidecar.config.kinds import (
    ALERT_KIND,
    FACTOR,
    HOURS,
    NAME_KIND,
    ORIGIN,
    PERCENT,
    URL,
)
from meterline_sidecar.config.shape import AlertRule, AlertsConfig, PortalConfig


def read_portal(table: Table, folder: Path) -> PortalConfig:
    """Return what ``[portal]`` says."""
    key_file = table.take("key_file", TEXT, None)
    config = PortalConfig(
        frame_origins=table.items("frame_origins", ORIGIN),
        key_file=None if key_file is None else folder / key_file,
    )
    table.close()
    return config


def read_alerts(table: Table, folder: Path) -> AlertsConfig:
    """Return what ``[alerts]`` says."""
    secret_file = table.take("secret_file", TEXT, None)
    config = AlertsConfig(
        webhook_url=table.take("webhook_url", URL, None),
        secret_file=None if secret_file is None else folder / secret_file,
    )
    table.close()
    return config


def read_alert_rules(
    tables: list[Table],
    *,
    meters: Collection[str],
    customers: Collection[str],
    plans: Collection[str],
) -> tuple[AlertRule, ...]:
    """Return what every ``[[alert]]`` says."""
    rules: list[AlertRule] = []
    for table in tables:
        rule = _read_rule(table)
        for key, value, known in (
            ("meter", rule.meter, meters),
            ("customer", rule.customer, customers),
            ("plan", rule.plan, plans),
        ):
            if value is not None and value not in known:
                table.report(key, unknown(key, value, known))
        if rule.name and any(other.name == rule.name for other in rules):
            table.report("name", f"a second alert is called `{rule.name}`")
        rules.append(rule)
    return tuple(rules)


def _read_rule(table: Table) -> AlertRule:
    rule = AlertRule(
        name=table.need("name", NAME_KIND),
        kind=table.take("kind", ALERT_KIND, "limit"),
        customer=table.take("customer", TEXT, None),
        plan=table.take("plan", TEXT, None),
        meter=table.take("meter", NAME_KIND, None),
        amount=table.take("amount", DECIMAL, None),
        included=table.take("included", BOOLEAN, default=False),
        at=table.items("at", PERCENT) or (80, 100),
        factor=table.take("factor", FACTOR, 3),
        after_hours=table.take("after_hours", HOURS, 24),
    )
    if rule.included:
        if rule.kind != "limit" or rule.meter is None or rule.amount is not None:
            table.report(
                "included", "it is for a limit on a meter, and in place of `amount`"
            )
    elif rule.kind == "limit" and (rule.amount is None or rule.amount <= 0):
        table.report("amount", "a limit needs an amount above 0, or `included = true`")
    if rule.kind != "limit" and rule.meter is None:
        table.report(None, f"missing key `meter`: a {rule.kind} is of a meter's usage")
    table.close()
    return rule
