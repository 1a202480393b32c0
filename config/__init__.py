import os
import sys

# Before anything loads numpy: threads of its own would wait for each other on cores that other workers want, and a
# picture would cost a quarter more.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__all__ = ["celery_app"]

# The runner of `make up` stays for as long as what it runs: without Celery it is a third as large, and starts sooner.
if "config.up" not in sys.orig_argv:
    from config.celery import app as celery_app
