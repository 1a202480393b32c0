"""What each process counts while it works, for Prometheus.

With a `METRICS_PORT`, all processes of a machine count in files below `DATA_DIR/metrics`, where `manage.py metrics`
adds them up; a count outlives its process. Without one they count in their own memory, and nobody looks.
"""

from prometheus_client import Counter, Histogram

REQUEST_SECONDS = Histogram(
    "darkroom_request_seconds",
    "How long requests took to answer: polls, by the route that they asked, and all others.",
    ["route", "method", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
UPLOADS = Counter(
    "darkroom_uploads", "Pictures that were sent: accepted, replayed, or the code of the refusal.", ["outcome"]
)
STEP_SECONDS = Histogram(
    "darkroom_step_seconds",
    "How long one attempt of a step took, and how it ended.",
    ["step", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180),
)
