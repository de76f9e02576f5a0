"""The recipes of docs/jobs.md under the workers that the libraries ship.

Every job has recorded when it ends well, fails, or has its worker killed; the last two
are done again, and count once all the same.
"""

import asyncio
from typing import Any

import pytest

from tests.integration.jobs.conftest import ENDS, PAGES, Farm
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("pool", "ends"), [("prefork", ENDS), ("threads", ENDS[:2])])
def test_celery(farm: Farm, pool: str, ends: tuple[str, ...]) -> None:
    celery: Any = pytest.importorskip("celery")
    queue = "celery" if pool == "prefork" else "threads"
    folders = {
        "data_folder_in": str(farm.folder),
        "data_folder_out": str(farm.folder),
        "control_folder": str(farm.folder / "control"),
    }
    with (farm.folder / "celery_tasks.py").open("a") as recipe:
        recipe.write(f"app.conf.broker_transport_options = {folders!r}\n")
        recipe.write("app.conf.worker_lost_wait = 0.5\n")  # 10 s as it comes
    farm.environment["BROKER"] = "filesystem://"
    client = celery.Celery(broker="filesystem://", set_as_current=False)
    client.conf.broker_transport_options = folders
    for end in ends:
        client.send_task("celery_tasks.report", (f"{queue}_{end}", PAGES))
    client.close()

    farm.start(
        *("celery", "-A", "celery_tasks", "worker", "--pool", pool, "-c", "2"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    )
    farm.check(queue, ends)


def test_rq(farm: Farm) -> None:
    rq: Any = pytest.importorskip("rq")
    redis: Any = pytest.importorskip("redis")
    with redis.Redis.from_url(farm.redis()) as connection:
        queue = rq.Queue(connection=connection)
        for end in ENDS:
            queue.enqueue("rq_tasks.report", f"rq_{end}", PAGES, retry=rq.Retry(max=3))

    farm.start("rq.cli", "worker", "--url", farm.environment["BROKER"])
    farm.check("rq", ENDS)


async def test_arq(farm: Farm) -> None:
    arq: Any = pytest.importorskip("arq")
    settings = arq.connections.RedisSettings.from_dsn(farm.redis())
    pool = await arq.create_pool(settings)

    async def enqueue(end: str) -> None:
        await pool.enqueue_job("report", f"arq_{end}", PAGES, _job_id=f"job_{end}")

    for end in ENDS[:2]:
        await enqueue(end)
    first = farm.start("arq", "arq_tasks.WorkerSettings")
    await asyncio.to_thread(farm.until_done, "arq", ENDS[:2])
    await enqueue("dies")
    await asyncio.to_thread(farm.until_tried, "arq_dies", 1)
    await asyncio.to_thread(first.wait, PATIENCE_S)

    # A job of a worker that died is taken up when this key expires, after minutes.
    await pool.delete("arq:in-progress:job_dies")
    await pool.aclose()
    farm.start("arq", "arq_tasks.WorkerSettings")
    await asyncio.to_thread(farm.check, "arq", ENDS)


def test_dramatiq(farm: Farm) -> None:
    dramatiq: Any = pytest.importorskip("dramatiq")
    brokers: Any = pytest.importorskip("dramatiq.brokers.redis")
    broker = brokers.RedisBroker(url=farm.redis())

    def message(end: str) -> Any:
        return dramatiq.Message(
            queue_name="default",
            actor_name="report",
            args=(f"dramatiq_{end}", PAGES),
            kwargs={},
            options={},
        )

    broker.declare_queue("default")
    messages = {end: message(end) for end in ENDS}
    for end in ENDS[:2]:
        broker.enqueue(messages[end])
    command = ("dramatiq", "dramatiq_tasks", "--processes", "1", "--threads", "2")
    first = farm.start(*command)
    farm.until_done("dramatiq", ENDS[:2])
    broker.enqueue(messages["dies"])
    farm.until_tried("dramatiq_dies", 1)
    farm.kill(first)

    # What a worker had that died is delivered again, the same, after a minute.
    broker.enqueue(messages["dies"])
    broker.close()
    farm.start(*command)
    farm.check("dramatiq", ENDS)
