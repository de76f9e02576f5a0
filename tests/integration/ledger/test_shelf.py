"""Where files of the archive lie: a directory, or a bucket that speaks as S3 does."""

import asyncio
import contextlib
import errno
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import pytest

from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.files import replace_file
from meterline_sidecar.ledger import bucket as bucket_module
from meterline_sidecar.ledger import shelf as shelf_module
from meterline_sidecar.ledger.bucket import BucketShelf
from meterline_sidecar.ledger.packing import Packer
from meterline_sidecar.ledger.shelf import (
    DirectoryShelf,
    FileMissing,
    Shelf,
    Sizes,
    Unreadable,
)
from meterline_sidecar.ledger.shelves import open_shelf, open_to_read
from meterline_sidecar.small_file import read_small_file
from tests.fault.test_disk import fill
from tests.fault.test_disk import small_disk as small_disk  # a fixture
from tests.integration.conftest import Sidecar
from tests.integration.ledger.archiving import (
    archive_of,
    away,
    fill_for_long,
    rows_of,
    verified_with,
)
from tests.patience import PATIENCE_S

PER_LIST: Final = 2


class Bucket(ThreadingHTTPServer):
    """Keeps what is put into it, and notes who asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.n_lists = 0
        self.status = 200


class _Requests(BaseHTTPRequestHandler):
    @property
    def bucket(self) -> Bucket:
        assert isinstance(self.server, Bucket)
        return self.server

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.bucket.status == 200:
            self.bucket.files[self.path] = content
        self._answer(self.bucket.status, b"")

    def do_GET(self) -> None:
        folder, _, query = self.path.partition("?")
        if "list-type=2" in query:
            self._answer(*self._listed(folder, parse_qs(query)))
            return
        content = self.bucket.files.get(self.path)
        self._answer(404 if content is None else 200, content or b"")

    def do_POST(self) -> None:
        """Delete what is named: S3 takes many at once."""
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        folder = self.path.partition("?")[0]
        names = re.findall("<Key>(.*?)</Key>", asked)
        if self.bucket.status == 200:
            for name in names:
                self.bucket.files.pop(f"{folder}/{name}", None)
        told = "".join(f"<Deleted><Key>{name}</Key></Deleted>" for name in names)
        said = f"<DeleteResult>{told}</DeleteResult>"
        self._answer(self.bucket.status, said.encode())

    def _listed(self, folder: str, asked: dict[str, list[str]]) -> tuple[int, bytes]:
        """Return a page of two of the files of a bucket, as S3 lists them."""
        self.bucket.n_lists += 1
        prefix, *_ = asked["prefix"]
        begin, *_ = asked.get("continuation-token") or asked.get("start-after", [""])
        sizes = {
            path.removeprefix(f"{folder}/"): len(content)
            for path, content in sorted(self.bucket.files.items())
        }
        keys = [key for key in sizes if key.startswith(prefix)]
        behind = [key for key in keys if key > begin]
        page, rest = behind[:PER_LIST], behind[PER_LIST:]
        told = "".join(
            f"<Contents><Key>{key}</Key><Size>{sizes[key]}</Size>"
            "<LastModified>2026-11-06T12:00:00Z</LastModified></Contents>"
            for key in page
        )
        if rest:
            told += f"<NextContinuationToken>{page[-1]}</NextContinuationToken>"
        return (
            self.bucket.status,
            f"<ListBucketResult>{told}</ListBucketResult>".encode(),
        )

    def _answer(self, status: int, content: bytes) -> None:
        self.bucket.asked.append((self.command, self.headers["Authorization"][:16]))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Fri, 06 Nov 2026 12:00:00 GMT")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Say nothing."""


@contextmanager
def serving() -> Generator[Bucket]:
    with Bucket() as bucket:
        thread = threading.Thread(target=bucket.serve_forever, args=(0.01,))
        thread.start()
        yield bucket
        bucket.shutdown()
        thread.join()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with serving() as bucket:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bucket.server_port}")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield bucket


async def test_a_bucket_keeps_what_left(
    sidecar: Sidecar, tmp_path: Path, bucket: Bucket
) -> None:
    path = await fill_for_long(sidecar)
    before = rows_of(path, "archive_moves", "journal")
    shelf = open_shelf("s3://cold/ledger")
    archive = archive_of(sidecar, tmp_path / "unused", shelf=shelf)

    assert (await archive.run(), archive.trouble) == (1, None)
    (file,) = await away(sidecar)
    await archive.bring_back(file.file)

    assert list(bucket.files) == [f"/cold/ledger/{file.file}"]
    assert [method for method, _ in bucket.asked] == ["GET", "PUT", "GET", "GET"]
    assert {signed for _, signed in bucket.asked} == {"AWS4-HMAC-SHA256"}
    assert rows_of(path, "archive_moves", "journal") == before


async def test_a_bucket_that_refuses_keeps_the_events_here(
    sidecar: Sidecar, tmp_path: Path, bucket: Bucket
) -> None:
    path = await fill_for_long(sidecar)
    before = rows_of(path)
    bucket.status = 403
    archive = archive_of(
        sidecar, tmp_path / "unused", shelf=open_shelf("s3://cold/ledger")
    )

    await archive.run()

    assert archive.trouble is not None
    assert "cannot be written at s3://cold/ledger: " in archive.trouble
    assert "403 Forbidden" in archive.trouble
    assert "secret" not in archive.trouble
    assert "\n" not in archive.trouble
    assert rows_of(path) == before


async def test_a_file_of_a_bucket_that_is_larger_than_any_is_not_read(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = open_shelf("s3://cold")
    await shelf.put("fits", b"123")
    await shelf.put("large", b"1234")
    monkeypatch.setattr(bucket_module, "FILE_BYTES_MAX", 3)

    assert await shelf.get("fits") == b"123"
    with pytest.raises(ArchiveFailed, match=r"large cannot be read at .*larger than 3"):
        await shelf.get("large")


WAITING: Final = """
import asyncio
from meterline_sidecar.ledger import bucket, shelves
bucket.CLIENT["timeout"] = bucket.CLIENT["connect_timeout"] = "1h"
async def main():
    asking = asyncio.create_task(shelves.open_shelf("s3://cold").get("name"))
    print("asking", flush=True)
    await asyncio.to_thread(input)
    asking.cancel()
asyncio.run(main())
"""


def test_a_bucket_that_does_not_answer_holds_up_no_end(bucket: Bucket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-c", WAITING],
            env={**os.environ, "AWS_ENDPOINT_URL": at},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            silent.settimeout(PATIENCE_S)
            with silent.accept()[0]:  # it asks, and waits from now on
                try:
                    process.communicate(b"\n", timeout=PATIENCE_S)
                finally:
                    process.kill()

    assert process.returncode == 0


WAITING_FOR_A_DISK: Final = """
import asyncio, sys, threading
from pathlib import Path
from meterline_sidecar.ledger import shelf
def wait(*_, **__):
    print("asked", flush=True)
    threading.Event().wait()
shelf.replace_file = shelf.read_small_file = shelf.sync = wait
async def main():
    of = shelf.DirectoryShelf(Path(sys.argv[1]))
    ways = {"put": lambda: of.put("name", b""), "get": lambda: of.get("name"),
            "sync": lambda: of.sync("name"), "delete": lambda: of.delete("name")}
    asking = asyncio.create_task(ways[sys.argv[2]]())
    await asyncio.to_thread(input)
    asking.cancel()
asyncio.run(main())
"""


@pytest.mark.parametrize("what", ["put", "get", "sync", "delete"])
def test_a_directory_that_does_not_answer_holds_up_no_end(
    tmp_path: Path, what: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING_FOR_A_DISK, str(tmp_path), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"asked\n"
            process.communicate(b"\n", timeout=PATIENCE_S)
        finally:
            process.kill()

    assert process.returncode == 0


async def test_what_is_not_in_a_bucket_is_told(bucket: Bucket) -> None:
    with pytest.raises(
        FileMissing, match=r"gone cannot be read at s3://cold: .*404 Not Found$"
    ):
        await open_shelf("s3://cold").get("gone")


async def test_a_bucket_says_which_files_are_there_and_how_large(
    bucket: Bucket,
) -> None:
    shelf = open_shelf("s3://cold/ledger")
    names = [f"file-{i}" for i in range(5)]
    for i, name in enumerate(names):
        await shelf.put(name, b"." * i)
    await open_shelf("s3://cold/ledger-2").put("another", b"1")

    found = await asyncio.to_thread(shelf.sizes, [*names[1:], "gone", "another"])

    assert found == {
        **{"file-1": 1, "file-2": 2, "file-3": 3, "file-4": 4},
        **dict.fromkeys(("gone", "another"), Unreadable.GONE),
    }


async def among_others(bucket: Bucket) -> dict[str, int]:
    """Put files into a bucket, and very many of others before, between and behind."""
    shelf = open_shelf("s3://cold/ledger")
    sizes = {f"events-{i}": i for i in range(5)}
    for name, size in sizes.items():
        await shelf.put(name, b"." * size)
    for of_others in ("an", "events", "events-0", "events-1", "events-2", "logs"):
        for i in range(20):
            bucket.files[f"/cold/ledger/{of_others}/{i}"] = b"theirs"
    return sizes


async def sizes_at(shelf: Shelf, names: Iterable[str]) -> Sizes:
    return await asyncio.to_thread(shelf.sizes, names)


@pytest.fixture
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for as many at once as this bucket puts into a list."""
    monkeypatch.setattr(bucket_module, "LISTED_AT_ONCE", PER_LIST)


async def test_whatever_others_have_in_a_bucket_no_file_takes_more_than_one_list(
    bucket: Bucket, small_lists: None
) -> None:
    shelf = open_shelf("s3://cold/ledger")
    sizes = await among_others(bucket)

    found = await sizes_at(shelf, [*reversed(sizes), "events-2-gone", "zzz"])

    assert found == sizes | dict.fromkeys(("events-2-gone", "zzz"), Unreadable.GONE)
    # 0; 1; 2 and what is behind it; 3 and 4; and the end. All of it takes 63.
    assert bucket.n_lists == 5


async def test_a_bucket_is_asked_only_so_often_at_once(
    bucket: Bucket, small_lists: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = open_shelf("s3://cold/ledger")
    sizes = await among_others(bucket)
    monkeypatch.setattr(bucket_module, "LISTS_MAX", 3)

    found = await sizes_at(shelf, sizes)
    again = await sizes_at(shelf, sizes.keys() - found.keys())

    assert found == {"events-0": 0, "events-1": 1, "events-2": 2}
    assert again == {"events-3": 3, "events-4": 4}
    assert bucket.n_lists == 4


async def test_of_several_places_each_is_asked_for_what_none_before_it_has(
    bucket: Bucket, small_lists: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [str(tmp_path), "s3://cold/ledger"]
    shelf = open_to_read(places)
    assert shelf is not None
    sizes = await among_others(bucket)
    (tmp_path / "events-4").write_bytes(b"here")
    monkeypatch.setattr(bucket_module, "LISTS_MAX", 2)

    assert shelf.place == f"{tmp_path} or s3://cold/ledger"
    # What the last place was not asked for yet is not missing.
    assert await sizes_at(shelf, sizes) == {"events-4": 4, "events-0": 0, "events-1": 1}
    assert await shelf.get("events-4") == b"here"
    assert await shelf.get("events-2") == b".."
    with pytest.raises(FileMissing, match=f"gone is not at {re.escape(shelf.place)}"):
        await shelf.get("gone")
    assert await sizes_at(shelf, ["gone"]) == {"gone": Unreadable.GONE}


async def test_of_a_place_that_cannot_be_reached_nobody_says_that_a_file_is_missing(
    tmp_path: Path,
) -> None:
    unmounted = tmp_path / "unmounted"
    shelf = open_to_read([str(unmounted), str(tmp_path)])
    assert shelf is not None
    (tmp_path / "there").write_bytes(b"1")

    assert await shelf.get("there") == b"1"
    with pytest.raises(ArchiveFailed, match=str(unmounted)) as told:
        await shelf.get("gone")
    assert not isinstance(told.value, FileMissing)
    with pytest.raises(ArchiveFailed, match=f"{unmounted}/ cannot be looked at"):
        await sizes_at(shelf, ["there"])


async def test_a_bucket_that_lists_nothing_to_us_says_why(bucket: Bucket) -> None:
    bucket.status = 403

    with pytest.raises(
        ArchiveFailed, match=r"s3://cold/ledger cannot be looked at: .*403 Forbidden"
    ):
        await asyncio.to_thread(open_shelf("s3://cold/ledger").sizes, ["name"])


async def test_what_is_deleted_is_gone_and_may_be_deleted_again(
    bucket: Bucket, tmp_path: Path
) -> None:
    for shelf in (open_shelf("s3://cold"), open_shelf(str(tmp_path))):
        await shelf.put("one", b"1")
        for _ in range(2):
            await shelf.delete("one")
        with pytest.raises(FileMissing):
            await shelf.get("one")
    bucket.status = 403
    with pytest.raises(ArchiveFailed, match="one cannot be deleted at s3://cold"):
        await open_shelf("s3://cold").delete("one")
    unmounted = open_shelf(str(tmp_path / "gone"))
    with pytest.raises(ArchiveFailed) as told:
        await unmounted.get("one")
    assert not isinstance(told.value, FileMissing)
    with pytest.raises(ArchiveFailed, match="cannot be deleted"):
        await unmounted.delete("one")


async def test_a_url_that_is_none_is_told_when_something_is_kept() -> None:
    with pytest.raises(ArchiveFailed, match="cannot be written at what://ever"):
        await open_shelf("what://ever").put("name", b"")


async def test_without_the_extra_a_bucket_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bucket_module, "PACKAGE", "no_such_package")

    with pytest.raises(ArchiveFailed, match=r"meterline\[sidecar,archive\]"):
        await open_shelf("s3://cold").get("name")
    with pytest.raises(ArchiveFailed, match=r"meterline\[sidecar,archive\]"):
        open_shelf("s3://cold").sizes(["name"])


def test_a_path_is_a_directory_and_a_url_a_bucket() -> None:
    assert isinstance(open_shelf("/srv/cold"), DirectoryShelf)
    assert isinstance(open_shelf("gs://cold"), BucketShelf)
    assert open_shelf("s3://key:secret@cold/x").place == "s3://cold/x"


async def test_a_full_disk_keeps_the_events_here_until_there_is_room(
    sidecar: Sidecar, tmp_path: Path, small_disk: Path
) -> None:
    path = await fill_for_long(sidecar)
    before = rows_of(path)
    archive = archive_of(sidecar, small_disk)
    ballast = small_disk / "ballast"
    fill(ballast)

    await archive.run()
    assert archive.trouble is not None
    assert "No space left on device" in archive.trouble
    assert rows_of(path) == before

    ballast.unlink()
    assert await archive.run() == 1
    assert archive.trouble is None
    assert (await verified_with(path, small_disk)).findings == []


@pytest.mark.parametrize("what", ["pipe", "device", "directory", "huge"])
async def test_what_is_no_file_of_ours_is_told_and_not_waited_for(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "name"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "directory":
        path.mkdir()
    else:
        path.touch()
        os.truncate(path, 1 << 40)

    with pytest.raises(ArchiveFailed, match=re.escape(f"{path} cannot be read: ")):
        await asyncio.wait_for(DirectoryShelf(tmp_path).get("name"), PATIENCE_S)


class Hanging:
    """What a directory of a host that is away does: it comes back when it is let."""

    def __init__(self, work: Callable[..., object]) -> None:
        self.asked = 0
        self.is_back = threading.Event()
        self._work = work

    def __call__(self, *args: object, **options: object) -> object:
        self.asked += 1
        assert self.is_back.wait(PATIENCE_S)
        return self._work(*args, **options)


async def test_a_write_that_hangs_is_given_up_and_ends_when_the_place_is_back(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = await fill_for_long(sidecar), tmp_path / "archive"
    before = rows_of(path)
    hanging = Hanging(replace_file)
    monkeypatch.setattr(shelf_module, "replace_file", hanging)
    monkeypatch.setattr(shelf_module, "WRITE_S", 0.01)
    archive = archive_of(sidecar, folder)
    packer = Packer(sidecar.database, archive.archived, clock=sidecar.clock)

    for _ in range(3):
        assert await archive.run() == 0
        assert archive.trouble == f"{folder} did not answer in 0 s"
    with pytest.raises(ArchiveFailed, match="did not answer"):
        await archive.archived.shelf.delete("events")  # type: ignore[union-attr]
    assert hanging.asked == 1
    assert rows_of(path) == before
    async with asyncio.timeout(PATIENCE_S):
        await packer.run()  # it holds what the write held

    monkeypatch.setattr(shelf_module, "WRITE_S", PATIENCE_S)
    hanging.is_back.set()
    async with asyncio.timeout(PATIENCE_S):
        while not await archive.run():
            await asyncio.sleep(0.01)
    assert archive.trouble is None
    assert (await verified_with(path, folder)).findings == []


async def test_a_read_that_hangs_is_given_up_and_others_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").write_bytes(b"1")
    hanging = Hanging(read_small_file)
    monkeypatch.setattr(shelf_module, "read_small_file", hanging)
    monkeypatch.setattr(shelf_module, "READ_S", 0.01)
    shelf = DirectoryShelf(tmp_path)

    for _ in range(3):
        with pytest.raises(ArchiveFailed, match="did not answer") as told:
            await shelf.get("one")
        assert not isinstance(told.value, FileMissing)
    assert hanging.asked == 1

    monkeypatch.setattr(shelf_module, "READ_S", PATIENCE_S)
    hanging.is_back.set()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(ArchiveFailed):
                assert await shelf.get("one") == b"1"
                break
            await asyncio.sleep(0.01)


async def test_a_time_that_ran_out_elsewhere_is_told_as_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(*_: object, **__: object) -> None:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(shelf_module, "replace_file", give_up)
    shelf = DirectoryShelf(tmp_path)

    for _ in range(2):  # the second one is asked for again
        with pytest.raises(ArchiveFailed, match="cannot be written: Connection timed"):
            await shelf.put("one", b"1")
