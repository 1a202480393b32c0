"""A bucket that hangs, and a web process that has four threads."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from config.bodies import PLACES
from tests.support import pictures
from tests.support.bucket import SECRET, Bucket, in_trouble, passing_on
from tests.support.installation import Answer, installation, wait_for

SURPLUS = 5


def test_a_bucket_that_hangs_holds_no_poll_and_loses_no_picture(moto: str, tmp_path: Path) -> None:
    bucket, calm = Bucket(moto), threading.Event()
    calm.set()

    def hang(handler: Any) -> None:
        if calm.wait(300):
            passing_on(bucket.url)(handler)

    picture = pictures.encoded(pictures.landscape(320, 240), "JPEG")
    with in_trouble(hang) as url:
        own = {"S3_BUCKET": bucket.name, "S3_ENDPOINT_URL": url}
        own |= {"S3_ACCESS_KEY_ID": "the-key-id", "S3_SECRET_ACCESS_KEY": SECRET}
        with installation(tmp_path, **own) as darkroom, ThreadPoolExecutor(PLACES + SURPLUS) as pool:
            first = darkroom.send(picture).json["jobId"]
            assert list(darkroom.watch(first))[-1]["status"] == "completed"
            calm.clear()
            sent = [pool.submit(darkroom.send, picture) for _ in range(PLACES + SURPLUS)]
            try:
                wait_for(lambda: len(answered(sent)) == SURPLUS)
                for _ in range(5):
                    assert darkroom.status(first)["status"] == "completed"
                assert len(answered(sent)) == SURPLUS, "the polls came after the pictures"
            finally:
                calm.set()
            answers = [sending.result() for sending in sent]
            refused = [answer for answer in answers if answer.status == 503]
            assert len(refused) >= SURPLUS
            assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
            accepted = [answer.json["jobId"] for answer in answers if answer.status == 202]
            assert len(accepted) == len(answers) - len(refused)
            for job in accepted:
                assert list(darkroom.watch(job))[-1]["status"] == "completed"
            assert {job["jobId"] for job in darkroom.request("GET", "/api/jobs").json["jobs"]} == {first, *accepted}
    bucket.close()


def answered(sent: list[Future[Answer]]) -> list[Future[Answer]]:
    return [sending for sending in sent if sending.done()]
