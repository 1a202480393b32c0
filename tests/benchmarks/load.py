"""Uploads and pollers against a whole Darkroom of this machine, for minutes; nothing may be lost.

    python -m tests.benchmarks.load                      10 minutes, 100 uploads a minute, 500 pollers
    python -m tests.benchmarks.load --minutes 1          a short look
    python -m tests.benchmarks.load --flood 1000         and as many more uploads a minute from one address, which are
                                                         to be refused with 429 while polls are still answered

One process sends and asks, on one connection for each request, as slowly or quickly as the machine lets it.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil

POLL_SECONDS = 2.5
BOUNDARY = "darkroom-load"


class Load:
    def __init__(self, port: int, until: float) -> None:
        self.port = port
        self.until = until
        self.jobs: dict[str, str] = {}
        """The tokens of those that were accepted."""
        self.ended: dict[str, str] = {}
        self.answers: Counter[str] = Counter()
        self.polls: list[float] = []
        self.went_back = 0

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Any, float]:
        began = time.perf_counter()
        lines = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(head.encode() + b"\r\n" + body)
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.close()
        top, _, told = answer.partition(b"\r\n\r\n")
        return int(top.split(b" ", 2)[1]), json.loads(told) if told else {}, time.perf_counter() - began

    async def send(self, picture: bytes, address: str, name: str) -> None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        body = head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "X-Forwarded-For": address}
        try:
            status, told, _ = await self.ask("POST", "/api/uploads", body, headers)
        except (OSError, IndexError, ValueError) as error:
            self.answers[f"{name} {type(error).__name__}"] += 1
            return
        self.answers[f"{name} {status}"] += 1
        if status == 202:
            self.jobs[told["jobId"]] = told["sessionToken"]

    async def uploads(self, picture: bytes, a_minute: float, address: str, name: str) -> None:
        """Each begun when it is due, whatever became of those before it."""
        begun, due = set(), time.monotonic()
        while due < self.until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            begun.add(asyncio.create_task(self.send(picture, address, name)))
            due += 60 / a_minute
        await asyncio.gather(*begun)

    async def poller(self, number: int) -> None:
        """Watches one job after another, as a page does."""
        await asyncio.sleep(random.uniform(0, POLL_SECONDS))
        job, seen = "", -1
        while time.monotonic() < self.until:
            if not job and self.jobs:
                job, seen = random.choice(list(self.jobs)), -1
            if job:
                ended, seen = await self.poll(job, seen, f"10.1.{number // 250}.{number % 250}")
                job = "" if ended else job
            await asyncio.sleep(random.uniform(0.8, 1.2) * POLL_SECONDS)

    async def poll(self, job: str, seen: int, address: str) -> tuple[bool, int]:
        headers = {"X-Session-Token": self.jobs[job], "X-Forwarded-For": address}
        try:
            status, told, seconds = await self.ask("GET", f"/api/status/{job}", headers=headers)
        except (OSError, IndexError, ValueError) as error:
            self.answers[f"poll {type(error).__name__}"] += 1
            return False, seen
        self.answers[f"poll {status}"] += 1
        if status != 200:
            return False, seen
        self.polls.append(seconds)
        self.went_back += told["progress"] < seen
        if told["isTerminal"]:
            self.ended[job] = told["status"]
        return told["isTerminal"], told["progress"]

    async def to_the_end(self, minutes: float) -> None:
        until = time.monotonic() + 60 * minutes
        while (waiting := set(self.jobs) - set(self.ended)) and time.monotonic() < until:
            for job in list(waiting)[:50]:
                await self.poll(job, -1, "10.2.0.1")
            await asyncio.sleep(1)


def memory(root: psutil.Process) -> float:
    """MiB of all processes, what they share counted once for each."""
    return sum(process.memory_info().rss for process in [root, *root.children(recursive=True)]) / 2**20


async def watch_memory(load: Load, root: psutil.Process, samples: list[float]) -> None:
    while time.monotonic() < load.until:
        samples.append(memory(root))
        await asyncio.sleep(5)


async def run(port: int, root: psutil.Process, picture: bytes, options: argparse.Namespace) -> bool:
    load, samples = Load(port, time.monotonic() + 60 * options.minutes), []  # type: ignore[var-annotated]
    addresses = (f"10.0.0.{number}" for number in range(1, 5))
    work = [load.uploads(picture, options.uploads / 4, address, "upload") for address in addresses]
    work += [load.poller(number) for number in range(options.pollers)]
    if options.flood:
        work.append(load.uploads(picture, options.flood, "10.9.9.9", "flood"))
    await asyncio.gather(*work, watch_memory(load, root, samples))
    backlog = len(load.jobs) - len(load.ended)
    await load.to_the_end(options.patience)
    lost = set(load.jobs) - set(load.ended)
    print(dict(sorted(load.answers.items())))
    print(f"accepted {len(load.jobs)}, {Counter(load.ended.values())}, not ended: {len(lost)}; backlog then: {backlog}")
    if len(load.polls) > 100:
        cuts = [round(1000 * cut) for cut in quantiles(load.polls, n=100)]
        print(
            f"polls {len(load.polls)}: p50 {cuts[49]} ms, p95 {cuts[94]} ms, p99 {cuts[98]} ms; back: {load.went_back}"
        )
    shown = samples[:: max(1, len(samples) // 12)]
    print(f"memory of all processes, MiB: {' '.join(f'{sample:.0f}' for sample in shown)}")
    bad = [kind for kind in load.answers if kind not in {"upload 202", "poll 200", "flood 202", "flood 429"}]
    return not (lost or bad or load.went_back)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--uploads", type=float, default=100, help="a minute")
    parser.add_argument("--pollers", type=int, default=500)
    parser.add_argument("--flood", type=float, default=0, help="more uploads a minute, from one address")
    parser.add_argument("--side", type=int, default=160, help="of the picture that is sent, in pixels")
    parser.add_argument("--patience", type=float, default=10, help="minutes for the last jobs to end")
    options = parser.parse_args()
    from tests.support import pictures
    from tests.support.installation import Installation

    picture = pictures.encoded(pictures.landscape(options.side, options.side * 3 // 4), "JPEG")
    with tempfile.TemporaryDirectory(prefix="darkroom-load-", ignore_cleanup_errors=True) as name:
        darkroom = Installation(Path(name), TRUSTED_PROXIES="1")
        darkroom.start()
        try:
            good = asyncio.run(run(darkroom.port, darkroom._supervisor, picture, options))
        finally:
            darkroom.stop()
    sys.exit(0 if good else "Something was lost, refused or went back.")


if __name__ == "__main__":
    main()
