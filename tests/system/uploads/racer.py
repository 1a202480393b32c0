"""One of many processes that all move the same upload: `python -m tests.system.uploads.racer UPLOAD SEED`.

Says when it is ready, and begins when its input ends. Prints how many of its calls were accepted.
"""

import random
import sys

import django

django.setup()

from uploads.errors import IllegalTransition  # noqa: E402 - the models need Django set up
from uploads.models import Upload  # noqa: E402
from uploads.stages import WORK  # noqa: E402


def main(upload_id: str, seed: str) -> None:
    chance, accepted = random.Random(seed), 0
    print("ready", flush=True)
    sys.stdin.read()
    for round_ in range(60):
        stage = chance.choice(list(WORK)[: 1 + round_ // 12])
        try:
            accepted += Upload.objects.get(pk=upload_id).update_stage(stage, chance.randint(round_, round_ + 20))
        except IllegalTransition:
            continue
    print(accepted)


if __name__ == "__main__":
    main(*sys.argv[1:])
