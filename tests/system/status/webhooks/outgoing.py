"""A process that publishes or delivers until it is killed, and says when it begins.

python -m tests.system.status.webhooks.outgoing publish|deliver
"""

import sys
import time

import django

django.setup()

from status import deliverer, outbox  # noqa: E402 - the models need Django set up

WORK = {"publish": outbox.publish, "deliver": deliverer.deliver}


def main(work: str) -> None:
    print("begins", flush=True)
    while True:
        WORK[work]()
        time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
