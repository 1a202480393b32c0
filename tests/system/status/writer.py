"""One of many processes that write events of the same upload: `python -m tests.system.status.writer UPLOAD COUNT`."""

import random
import sys
import time

import django

django.setup()

from uploads.models import Upload  # noqa: E402 - the models need Django set up


def main(upload_id: str, count: str) -> None:
    upload = Upload.objects.get(pk=upload_id)
    sys.stdin.readline()
    for number in range(int(count)):
        upload.log("info", f"Line {number}.")
        time.sleep(random.uniform(0, 0.01))


if __name__ == "__main__":
    main(*sys.argv[1:])
