"""Writes the state of every part in Prometheus's text format.

Loaded by the first request for ``/metrics``, with Prometheus's client.

Base units, and no label that grows with the customers: at most the
``sidecar.metrics_customers`` with the highest drafts are named.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)

from meterline_sidecar.billing.standing import Standing
from meterline_sidecar.printable import printable
from meterline_sidecar.problems.catalogue import CATALOGUE
from meterline_sidecar.web.answers.edges import Forwarding, ShownEdge
from meterline_sidecar.web.answers.status import Status


def exposition(state: Status, named: Sequence[Standing] | None) -> tuple[bytes, str]:
    """Return the text, and its media type.

    Args:
        named: customers that are shown one by one; ``None``: none ever are.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(state))
    registry.register(FleetCollector(state))
    if named is not None:
        registry.register(CustomerCollector(named))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class StatusCollector:
    """Turns one ``Status`` into Prometheus metrics; no label grows with customers."""

    def __init__(self, state: Status) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        state = self._state
        yield InfoMetricFamily(
            "meterline", "The running sidecar.", value={"version": state.version}
        )
        yield GaugeMetricFamily(
            "meterline_ready", "1 while events can be stored.", value=state.ready
        )
        if state.leader is not None:
            yield GaugeMetricFamily(
                "meterline_leader",
                "1 on the one of several centres that leads.",
                value=state.leader.is_here,
            )
            yield CounterMetricFamily(
                "meterline_elections",
                "The number of the last election of a leader.",
                value=state.leader.election,
            )
        yield self._problems()
        yield from self._events()
        yield from self._freshness()
        outbox = GaugeMetricFamily(
            "meterline_outbox_entries",
            "Outbox rows, by state.",
            labels=["state"],
        )
        for name, n_entries in state.outbox.items():
            outbox.add_metric([name], n_entries)
        yield outbox
        yield GaugeMetricFamily(
            "meterline_database_size_bytes",
            "Size of the ledger's file with its WAL.",
            value=state.database.bytes,
        )
        yield GaugeMetricFamily(
            "meterline_disk_free_bytes",
            "Free space on the ledger's disk.",
            value=state.database.disk_free_bytes,
        )

    def _problems(self) -> Metric:
        """Return a series for each code, so that one that is new has a zero before."""
        problems = GaugeMetricFamily(
            "meterline_problems",
            "Problems that there are, by code; see docs/problems.md.",
            labels=["code", "severity"],
        )
        counts = Counter(found.code for found in self._state.problems)
        for code, problem in CATALOGUE.items():
            problems.add_metric([code, problem.severity], counts[code])
        return problems

    def _events(self) -> Iterable[Metric]:
        events = CounterMetricFamily(
            "meterline_events", "Events by what became of them.", labels=["outcome"]
        )
        counts = self._state.events
        for name in ("recorded", "ingested", "lost", "duplicates"):
            events.add_metric([name], getattr(counts, name))
        yield events
        yield GaugeMetricFamily(
            "meterline_events_in_flight",
            "Recorded at the apps and not stored yet.",
            value=counts.in_flight,
        )
        yield CounterMetricFamily(
            "meterline_events_unattributed",
            "Stored events that no customer is billed for.",
            value=counts.unattributed,
        )
        yield CounterMetricFamily(
            "meterline_events_bad_quantity",
            "Stored events that a quantity or property was left out of: this use is not"
            " billed, or without it.",
            value=counts.bad_quantities,
        )
        yield CounterMetricFamily(
            "meterline_requests_excluded",
            "Requests that apps left out on purpose, by `exclude` or `skip`.",
            value=counts.excluded,
        )
        yield GaugeMetricFamily(
            "meterline_events_held",
            "Stored events that are kept out of billing: their time cannot be right.",
            value=counts.held,
        )
        external = CounterMetricFamily(
            "meterline_external_events",
            "Events that came over HTTP, by what became of them.",
            labels=["verdict"],
        )
        for name in ("accepted", "duplicate", "conflict", "refused"):
            external.add_metric([name], getattr(self._state.external, name))
        yield external
        refusals = CounterMetricFamily(
            "meterline_refusals", "Connections refused, by reason.", labels=["code"]
        )
        for code, n_refusals in self._state.refusals.items():
            refusals.add_metric([code], n_refusals)
        yield refusals
        producers = GaugeMetricFamily(
            "meterline_producers", "Worker processes.", labels=["state"]
        )
        for name in ("open", "closed", "connected"):
            producers.add_metric([name], getattr(self._state.producers, name))
        yield producers

    def _freshness(self) -> Iterable[Metric]:
        """Yield when things last went well: a silent stop raises no error count."""
        state = self._state
        yield GaugeMetricFamily(
            "meterline_aggregation_behind_events",
            "Events that are not added up yet.",
            value=state.aggregation.behind_events,
        )
        for name, text, at_ms in (
            ("start", "the sidecar started", state.started_ms),
            (
                "aggregation",
                "events were last added up",
                state.aggregation.last_success_ms,
            ),
            ("last_event", "the newest event happened", state.last_event_ms),
            (
                "last_confirmed_report",
                "Stripe last confirmed a report",
                state.last_confirmed_ms,
            ),
            (
                "last_reconcile",
                "the ledger was last compared with Stripe's totals",
                state.reconciliation.checked_ms,
            ),
            ("last_backup", "the ledger was last backed up", state.last_backup_ms),
        ):
            if at_ms is not None:
                yield GaugeMetricFamily(
                    f"meterline_{name}_timestamp_seconds",
                    f"When {text}, in UTC seconds.",
                    value=at_ms / 1000,
                )
        seen = GaugeMetricFamily(
            "meterline_producer_last_seen_timestamp_seconds",
            "When each running worker was last seen, in UTC seconds.",
            labels=["app", "host", "pid"],
        )
        for producer in state.producers.shown:
            if producer.is_open:
                who = map(printable, (producer.app, producer.host))
                labels = [*who, str(producer.pid)]
                seen.add_metric(labels, producer.seen_ms / 1000)
        yield seen
        yield from self._jobs()

    def _jobs(self) -> Iterable[Metric]:
        done = GaugeMetricFamily(
            "meterline_job_last_success_timestamp_seconds",
            "When each job last succeeded, in UTC seconds.",
            labels=["job"],
        )
        failures = GaugeMetricFamily(
            "meterline_job_failures_in_a_row",
            "How often each job has failed since it last succeeded.",
            labels=["job"],
        )
        for job in self._state.schedule:
            failures.add_metric([job.job], job.failures)
            if job.last_success_ms is not None:
                done.add_metric([job.job], job.last_success_ms / 1000)
        yield done
        yield failures


class FleetCollector:
    """Turns how edges stand, or an edge with its centre, into Prometheus metrics."""

    def __init__(self, state: Status) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        state = self._state
        if state.role == "centre":
            yield from _of_edges([e for e in state.edges if e.state != "retired"])
            refused = CounterMetricFamily(
                "meterline_edge_connections_refused",
                "Connections of edges and of strangers that were refused, by reason.",
                labels=["code"],
            )
            for code, n_refused in state.edge_refusals.items():
                refused.add_metric([code], n_refused)
            yield refused
        if state.forwarding is not None:
            yield from _of_forwarding(state.forwarding)


def _of_edges(edges: Sequence[ShownEdge]) -> Iterable[Metric]:
    """Yield how each edge stands that is not retired; there are at most 256."""
    labels = ["edge", "id"]
    gauges: list[tuple[str, str, Callable[[ShownEdge], float]]] = [
        (
            "connected",
            "1 while an edge is connected.",
            lambda e: e.state == "connected",
        ),
        (
            "last_heard_timestamp_seconds",
            "When an edge was last heard of, in UTC seconds.",
            lambda e: e.seen_ms / 1000,
        ),
        (
            "complete_timestamp_seconds",
            "All events of an edge from before are here, in UTC seconds; 0 before it"
            " said so.",
            lambda e: e.low_ms / 1000,
        ),
        (
            "filed_timestamp_seconds",
            "When the last event of an edge was stored there that is in a file, in UTC"
            " seconds; 0 without any.",
            lambda e: e.filed_ms / 1000,
        ),
        (
            "behind_batches",
            "Batches that were on the way at an edge's last heartbeat.",
            lambda e: e.behind,
        ),
        (
            "clock_ahead_seconds",
            "An edge's clock, less this one.",
            lambda e: e.clock_ms / 1000,
        ),
    ]
    counters: list[tuple[str, str, Callable[[ShownEdge], int]]] = [
        ("frames", "Frames that came of an edge.", lambda e: e.frames),
        ("events", "New events that came of an edge.", lambda e: e.events),
        ("refusals", "How often an edge was refused.", lambda e: e.refusals),
    ]
    for name, text, value in gauges:
        gauge = GaugeMetricFamily(f"meterline_edge_{name}", text, labels=labels)
        for edge in edges:
            gauge.add_metric([printable(edge.name), edge.edge[:8]], value(edge))
        yield gauge
    for name, text, count in counters:
        counter = CounterMetricFamily(f"meterline_edge_{name}", text, labels=labels)
        for edge in edges:
            counter.add_metric([printable(edge.name), edge.edge[:8]], count(edge))
        yield counter


def _of_forwarding(at: Forwarding) -> Iterable[Metric]:
    """Yield how this edge fares with its centre."""
    for name, text, value in (
        ("connected", "1 while this edge is connected to its centre.", at.connected),
        (
            "behind_batches",
            "Batches that wait here, as of the last heartbeat.",
            at.behind,
        ),
        (
            "complete_timestamp_seconds",
            "All events of this edge from before are at the centre, in UTC seconds; 0"
            " before that is known.",
            at.low_ms / 1000,
        ),
        (
            "filed_timestamp_seconds",
            "When the last event was stored that is in a file, in UTC seconds; 0 without"
            " any.",
            at.filed_ms / 1000,
        ),
        (
            "clock_ahead_seconds",
            "The centre's clock, less this one.",
            at.clock_ms / 1000,
        ),
    ):
        yield GaugeMetricFamily(f"meterline_forward_{name}", text, value=value)
    if at.acked_ms is not None:
        yield GaugeMetricFamily(
            "meterline_forward_last_ack_timestamp_seconds",
            "When the centre last acked anything, in UTC seconds.",
            value=at.acked_ms / 1000,
        )


class CustomerCollector:
    """Turns the standings of a few customers into Prometheus metrics."""

    def __init__(self, standings: Sequence[Standing]) -> None:
        self._standings = standings

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics."""
        usage = GaugeMetricFamily(
            "meterline_customer_usage",
            "Usage in the current billing period, by meter.",
            labels=["customer", "meter"],
        )
        totals = GaugeMetricFamily(
            "meterline_customer_draft_total",
            "The draft invoice of the current billing period, in major units.",
            labels=["customer", "currency"],
        )
        for standing in self._standings:
            for meter, quantity in standing.quantities.items():
                usage.add_metric([standing.customer, meter], float(quantity))
            if standing.total is not None and standing.currency is not None:
                labels = [standing.customer, standing.currency]
                totals.add_metric(labels, float(standing.total))
        yield usage
        yield totals
