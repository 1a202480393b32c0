import os

# Before anything loads numpy: threads of its own would wait for each other on cores that other workers want, and a
# picture would cost a quarter more.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from config.celery import app as celery_app

__all__ = ["celery_app"]
