"""The only settings module: every value comes from the environment, with a default that is safe.

README.md, “Configuration”, lists what a user may set.
"""

import os
import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite, nan
from pathlib import Path
from socket import gethostname
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from kombu import Exchange, Queue

from config import logs, network, secret

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env.read_env(env.path("ENV_FILE", default=str(BASE_DIR / ".env")))


def _number(name: str, default: float, least: float = 0) -> float:
    """An empty value is the default, as everywhere."""
    text = env.str(name, default="").strip()
    try:
        number = float(text or default)
    except ValueError:
        number = nan
    if not (isfinite(number) and number >= least):
        raise ImproperlyConfigured(f"{name} is {text}; it must be a number of at least {least}.")
    return number


def _whole(name: str, default: int, least: int = 0) -> int:
    number = _number(name, default, least)
    if not number.is_integer():
        raise ImproperlyConfigured(f"{name} is {number}; it must be a whole number.")
    return int(number)


def _list(name: str) -> list[str]:
    """Values with commas, spaces or both between them."""
    text: str = env.str(name, default="")
    return text.replace(",", " ").split()


DATA_DIR = (BASE_DIR / Path(env.str("DATA_DIR", default="").strip() or "var").expanduser()).resolve()
DEBUG = env.bool("DEBUG", default=False)

# Where people reach this installation; hosts, origins, cookies and HSTS follow from it.
PORT = _whole("PORT", 8000, least=1)
# Only `make up` and `make dev` listen there. On a network, each address of this machine is one to open.
HOST = env.str("HOST", default="").strip() or "127.0.0.1"
_loopback = ["127.0.0.1", "localhost", "[::1]"]
PUBLIC_URL = env.str("PUBLIC_URL", default="").strip().rstrip("/")
OWN_ADDRESSES: list[str] = []
if not PUBLIC_URL:
    OWN_ADDRESSES = network.addresses(HOST)
    PUBLIC_URL = f"http://{next(iter(OWN_ADDRESSES), '127.0.0.1')}:{PORT}"
_public = urlsplit(PUBLIC_URL)
_behind_tls = _public.scheme == "https"
_names = [gethostname(), f"{gethostname()}.local"] if OWN_ADDRESSES else []
ALLOWED_HOSTS = sorted({_public.hostname or "127.0.0.1", *_loopback, *OWN_ADDRESSES, *_names})
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
TRUSTED_PROXIES = _whole("TRUSTED_PROXIES", 0)
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _behind_tls
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
CSRF_COOKIE_HTTPONLY = True
if _behind_tls:
    # Browsers take such a name only from this very host, over TLS: no neighbour below the same domain can set it.
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-session", "__Host-csrf"
SECURE_HSTS_SECONDS = 31_536_000 if _behind_tls else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _behind_tls
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# As browsers send them: the scheme, the host in lower case, and a port that is not the scheme's own.
_ORIGIN = re.compile(
    r"(?!http:.*:80$|https:.*:443$)[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?"
)
CORS_ORIGINS = _list("CORS_ORIGINS")
for _origin in CORS_ORIGINS:
    if CORS_ORIGINS != ["*"] and not _ORIGIN.fullmatch(_origin):
        raise ImproperlyConfigured(
            f"CORS_ORIGINS has {_origin}; it may be * alone, or a list of origins as browsers send them, like"
            " https://shop.example or http://localhost:5173, with no path and no / at the end."
        )
OPEN_DIALECTS = frozenset(_list("OPEN_DIALECTS"))
for _dialect in sorted(OPEN_DIALECTS - {"messages", "builds"}):
    raise ImproperlyConfigured(f"OPEN_DIALECTS has {_dialect}; it may have messages and builds.")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "uploads",
    "status",
    "workflows",
]
MIDDLEWARE = [
    "config.health.probes",
    "config.middleware.observed",
    "config.cross_origin.cross_origin",
    "config.middleware.api_by_itself",
    # What follows is for pages only; the API has the headers of the first three.
    "django.middleware.security.SecurityMiddleware",
    "config.middleware.content_security_policy",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.admin_only.Sessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "config.admin_only.Authentication",
    "config.admin_only.Messages",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.i18n",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
# Of all pages, the admin and what is answered to a request; the record itself is written in English.
LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="en")
LOCALE_PATHS = [BASE_DIR / "templates" / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = ["config.formats"]

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'darkroom.sqlite3'}")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # A write transaction that began as a reader cannot wait for another writer: take the lock at once.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # FULL, because an upload that was answered with 202 must survive a power cut.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
    }
    # To open the file anew costs more than most of what is asked of it.
    DATABASES["default"]["CONN_MAX_AGE"] = None
    # Tests start real processes on the same file; a database in memory could not be shared.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
else:
    _timeout = _whole("DATABASE_STATEMENT_TIMEOUT_SECONDS", 20, least=1)
    DATABASE_PATIENCE = _timeout + 5
    DATABASES["default"].setdefault("OPTIONS", {}).update(
        {
            "connect_timeout": 3,
            # A server or a host that vanishes says no goodbye: notice it in seconds, not when the kernel does …
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            # … and let the server drop the locks of a client that vanished in the middle of a transaction.
            "options": f"-c statement_timeout={_timeout}s -c lock_timeout={min(_timeout, 10)}s"
            f" -c idle_in_transaction_session_timeout={_timeout}s",
        }
    )
    # A connection for each thread: as many as a pool would have for them, without the taking and giving back.
    DATABASES["default"] |= {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}

# Whether the database is a file in DATA_DIR: then the two always travel together, and no other machine uses either.
OWN_DATABASE = DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3" and Path(
    DATABASES["default"]["NAME"]
).is_relative_to(DATA_DIR)


def _secret_key() -> str:
    key: str = env.str("SECRET_KEY", default="")
    if key:
        return key
    file = DATA_DIR / "secret_key"
    try:
        return secret.read_or_make(file) if OWN_DATABASE else file.read_text().strip()
    except FileNotFoundError as error:
        # Made here, it would differ between the machines that share this database.
        raise ImproperlyConfigured(
            f"SECRET_KEY is not set, and there is no {file}. Set it, or run `make up` once: it writes one there."
        ) from error
    except OSError as error:
        raise ImproperlyConfigured(
            f"{error.filename or file}: {error.strerror}. Look at DATA_DIR ({DATA_DIR}) and its owner."
        ) from error


SECRET_KEY = _secret_key()

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(DATA_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "static"]
# Templates and static files are read for each request, and not collected: `make dev` sets it.
LIVE_FILES = env.bool("LIVE_FILES", default=False)
MEDIA_ROOT = DATA_DIR / "media"
STORAGES = {
    "default": {"BACKEND": "uploads.storage.SignedFileSystemStorage"},
    "staticfiles": {
        "BACKEND": "config.staticfiles.ModuleManifestStaticFilesStorage",
        # They are everybody's, also of a process that runs as somebody else than who collected them.
        "OPTIONS": {"file_permissions_mode": 0o644, "directory_permissions_mode": 0o755},
    },
}


def _open_to_all(headers: Any, _path: str, _url: str) -> None:
    """Lets pages that have a Cross-Origin-Embedder-Policy load static files, too."""
    headers["Cross-Origin-Resource-Policy"] = "cross-origin"


# The hook is public: pages on any origin may load it.
WHITENOISE_ALLOW_ALL_ORIGINS = True
WHITENOISE_ADD_HEADERS_FUNCTION = _open_to_all
if LIVE_FILES:
    WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True
    WHITENOISE_MAX_AGE = 0
    STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    TEMPLATES[0] |= {"APP_DIRS": False}
    TEMPLATES[0]["OPTIONS"]["loaders"] = [
        "django.template.loaders.filesystem.Loader",
        "django.template.loaders.app_directories.Loader",
    ]
# Without a bucket, pictures lie on the local disk.
S3_BUCKET = env.str("S3_BUCKET", default="")
S3_ENDPOINT_URL = env.str("S3_ENDPOINT_URL", default="")
S3_ACCESS_KEY_ID = env.str("S3_ACCESS_KEY_ID", default="")
S3_SECRET_ACCESS_KEY = env.str("S3_SECRET_ACCESS_KEY", default="")
S3_REGION = env.str("S3_REGION", default="us-east-1")  # R2 takes it for its own
if S3_BUCKET:
    STORAGES["default"] = {"BACKEND": "uploads.bucket.BucketStorage"}
DATA_UPLOAD_MAX_NUMBER_FILES = 4
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700

REST_FRAMEWORK = {
    # Every view that names a job asks status.authentication, which answers for token and job in one statement.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_THROTTLE_CLASSES": ["status.throttling.Polls"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    # Nothing but the form with the picture has a body; its view has the parser.
    "DEFAULT_PARSER_CLASSES": [],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "status.negotiation.Negotiation",
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "status.errors.answer",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Darkroom",
    "DESCRIPTION": "Send a picture, and watch how far it is until it is developed. Answers may get more fields.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "CAMELIZE_NAMES": True,
    "POSTPROCESSING_HOOKS": ["status.schema.complete"],
    "TAGS": [
        {"name": "Sending", "description": "A session, and a picture for it."},
        {"name": "Watching", "description": "How far a job is, what has happened to it, and what came of it."},
        {"name": "Jobs", "description": "This session's jobs."},
        {"name": "Dialects", "description": "The same record, for clients that speak another contract."},
        {"name": "Documentation"},
    ],
}

CACHES = {"default": env.cache_url("CACHE_URL", default="locmemcache://")}
if CACHES["default"]["BACKEND"].endswith("RedisCache"):
    # It is only asked how often somebody came: not worth more than half a second.
    CACHES["default"]["OPTIONS"] = {"socket_connect_timeout": 0.5, "socket_timeout": 0.5}
else:
    CACHES["default"]["OPTIONS"] = {"MAX_ENTRIES": 20_000}
UPLOADS_PER_MINUTE = _whole("UPLOADS_PER_MINUTE", 60)
UPLOADS_PER_MINUTE_PER_ADDRESS = _whole("UPLOADS_PER_MINUTE_PER_ADDRESS", 300)
POLLS_PER_MINUTE_PER_ADDRESS = _whole("POLLS_PER_MINUTE_PER_ADDRESS", 30_000)

UPLOAD_MAX_BYTES = _whole("UPLOAD_MAX_BYTES", 64 * 1024 * 1024, least=1)
UPLOAD_MAX_PIXELS = _whole("UPLOAD_MAX_PIXELS", 220_000_000, least=1)
QUEUE_MAX_PENDING = _whole("QUEUE_MAX_PENDING", 10_000)
DISK_RESERVE_BYTES = _whole("DISK_RESERVE_BYTES", 256 * 1024 * 1024)
RETENTION_DAYS = _whole("RETENTION_DAYS", 30, least=1)
WATERMARK_TEXT = env.str("WATERMARK_TEXT", default="Darkroom")
PROMPT_VERSION = env.str("PROMPT_VERSION", default="v1")
if not (BASE_DIR / "workflows" / "prompts" / f"{PROMPT_VERSION}.txt").is_file():
    raise ImproperlyConfigured(f"PROMPT_VERSION is {PROMPT_VERSION}, and there is no such file in workflows/prompts.")
GENERATOR = env.str("GENERATOR", default="local")
GEMINI_API_KEY = env.str("GEMINI_API_KEY", default="").strip()
if GENERATOR not in {"local", "gemini"}:
    raise ImproperlyConfigured(f"GENERATOR is {GENERATOR}; it may be local or gemini.")
if GENERATOR == "gemini" and not GEMINI_API_KEY:
    raise ImproperlyConfigured("GENERATOR=gemini needs a GEMINI_API_KEY.")
GEMINI_MODEL = env.str("GEMINI_MODEL", default="").strip() or "gemini-3.1-flash-image"
if len(GEMINI_MODEL) > 64:  # the columns that it is written into
    raise ImproperlyConfigured(f"GEMINI_MODEL is {GEMINI_MODEL}; it may have 64 characters at most.")
GEMINI_BASE_URL = env.str("GEMINI_BASE_URL", default="")


def _usd(name: str, default: str) -> Decimal:
    text = env.str(name, default="").strip() or default
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise ImproperlyConfigured(f"{name} is {text}; it must be an amount in US dollars, like 0.50.")
    return amount


# For a million tokens of each kind; thoughts cost as text does.
GEMINI_PRICES = {
    "prompt": _usd("GEMINI_PRICE_PROMPT", "0.50"),
    "image": _usd("GEMINI_PRICE_IMAGE", "60"),
    "text": _usd("GEMINI_PRICE_TEXT", "3"),
}
# What one picture costs, as long as nobody knows better: an ample count of its tokens.
_GEMINI_TOKENS = {"prompt": 2000, "image": 1290, "text": 500}
GENERATE_COST_USD = Decimal(0)
if GENERATOR == "gemini":
    GENERATE_COST_USD = sum((GEMINI_PRICES[kind] * n for kind, n in _GEMINI_TOKENS.items()), Decimal(0)) / 1_000_000
DAILY_BUDGET_USD = _usd("DAILY_BUDGET_USD", "0") if env.str("DAILY_BUDGET_USD", default="").strip() else None
RESULT_LINK_SECONDS = 3600
# For development: webhooks may go to this machine and its neighbours, and over plain HTTP.
WEBHOOK_ALLOW_PRIVATE = env.bool("WEBHOOK_ALLOW_PRIVATE", default=False)
POSTHOG_API_KEY = env.str("POSTHOG_API_KEY", default="").strip()
POSTHOG_HOST = env.str("POSTHOG_HOST", default="").strip() or "https://us.i.posthog.com"
# Longer side, in pixels, of the picture that the steps work on and of the full result.
WORK_MAX_SIDE = 2048

STEP_LEASE = timedelta(seconds=_number("STEP_LEASE_SECONDS", 30, least=1))
STEP_TIMEOUT = timedelta(seconds=_number("STEP_TIMEOUT_SECONDS", 180, least=1))
STEP_MAX_ATTEMPTS = _whole("STEP_MAX_ATTEMPTS", 3, least=1)
SWEEP_SECONDS = _number("SWEEP_SECONDS", 5, least=0.1)
PUBLISH_SECONDS = _number("PUBLISH_SECONDS", 2, least=0.1)
JOB_DEADLINE = timedelta(seconds=_number("JOB_DEADLINE_SECONDS", 86400, least=1))

# Of each child of a worker: a picture that wants more fails by itself, and takes nobody with it.
# 512 MiB are for the process (180 when it is idle), three copies of the file, and pictures scaled down; the rest is
# what a decode may take.
WORKER_MEMORY_BYTES = _whole("WORKER_MEMORY_BYTES", 2 * 1024**3, least=640 * 1024**2)
DECODE_MEMORY_BYTES = WORKER_MEMORY_BYTES - 512 * 1024**2

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="filesystem://localhost")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
# A task that kills its worker would be delivered again for ever; the lease in the row brings the job back.
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = _number("SHUTDOWN_GRACE_SECONDS", 10)
CELERY_TASK_DEFAULT_QUEUE = CELERY_TASK_DEFAULT_ROUTING_KEY = "images"
CELERY_TASK_DEFAULT_EXCHANGE = "darkroom"
CELERY_TASK_SOFT_TIME_LIMIT = STEP_TIMEOUT.total_seconds()
CELERY_TASK_TIME_LIMIT = STEP_TIMEOUT.total_seconds() + 15
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# A hint is not worth more than two seconds, whatever is wrong: the sweeper repeats what was not sent.
_BROKER_PATIENCE = 1
CELERY_BROKER_CONNECTION_TIMEOUT = _BROKER_PATIENCE
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
_broker = urlsplit(CELERY_BROKER_URL).scheme
# Quorum queues survive the loss of a node of a RabbitMQ cluster; other brokers do not know the argument.
_queue_arguments = {"x-queue-type": "quorum"} if _broker in {"amqp", "amqps", "pyamqp"} else None
CELERY_TASK_QUEUES = [
    Queue(name, Exchange("darkroom"), routing_key=name, queue_arguments=_queue_arguments)
    for name in ("images", "generate", "house", "deliver")
]
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "sweep": {
        "task": "workflows.sweep",
        "schedule": SWEEP_SECONDS,
        # A sweep that is late is not worth doing twice. A lease more, for machines whose clocks differ.
        "options": {"queue": "house", "expires": SWEEP_SECONDS + STEP_LEASE.total_seconds()},
    },
    # For minutes, when there is much to remove: not where a sweep would wait for it.
    "retain": {"task": "workflows.retain", "schedule": 3600, "options": {"queue": "deliver", "expires": 3600}},
    "publish": {
        "task": "status.publish",
        "schedule": PUBLISH_SECONDS,
        "options": {"queue": "house", "expires": PUBLISH_SECONDS + STEP_LEASE.total_seconds()},
    },
    # What waits for others is a queue of its own: a receiver that hangs must not keep a sweep waiting.
    "deliver": {
        "task": "status.deliver",
        "schedule": 5,
        "options": {"queue": "deliver", "expires": 5 + STEP_LEASE.total_seconds()},
    },
    "tidy": {"task": "status.tidy", "schedule": 3600, "options": {"queue": "house", "expires": 3600}},
}
if POSTHOG_API_KEY:
    CELERY_BEAT_SCHEDULE["capture"] = {
        "task": "status.capture",
        "schedule": 5,
        "options": {"queue": "deliver", "expires": 5 + STEP_LEASE.total_seconds()},
    }
CELERY_BEAT_SCHEDULER = "config.beat:Scheduler"
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "beat")
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any]
if _broker == "filesystem":
    CELERY_BROKER_TRANSPORT = "config.broker:Transport"
    CELERY_BROKER_TRANSPORT_OPTIONS = {"folder": str(DATA_DIR / "broker")}
    CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
elif _broker.startswith("redis"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        # A message may wait for a step before it and then run for one itself, or be a round of retention; sooner, it
        # would be delivered again. What is lost in it waits for no delivery: the sweeper sees to that.
        "visibility_timeout": max(2 * CELERY_TASK_TIME_LIMIT + 60, 900),
        "socket_connect_timeout": _BROKER_PATIENCE,
        "socket_timeout": _BROKER_PATIENCE,
        "health_check_interval": 10,
    }
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        # Unconfirmed, a message that the broker refuses or loses is lost without a word.
        "confirm_publish": True,
        # A connection that has gone dead is waited for three times: the confirmation, then two goodbyes.
        "read_timeout": _BROKER_PATIENCE / 2,
        "write_timeout": _BROKER_PATIENCE / 2,
    }
    CELERY_BROKER_HEARTBEAT = 10

LOG_FORMAT = env.str("LOG_FORMAT", default="console")
if LOG_FORMAT not in {"console", "json"}:
    raise ImproperlyConfigured(f"LOG_FORMAT is {LOG_FORMAT}; it may be console or json.")
LOGGING = logs.configuration(LOG_FORMAT)
METRICS_PORT = _whole("METRICS_PORT", 0)
# One folder for each machine: process ids are unique on one only.
METRICS_DIR = DATA_DIR / "metrics" / gethostname()
if METRICS_PORT:
    # Prometheus' library decides when it is loaded whether it counts in files, and nothing loads it before this.
    METRICS_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(METRICS_DIR)
SENTRY_DSN = env.str("SENTRY_DSN", default="").strip()
if SENTRY_DSN:
    from config import sentry

    sentry.start(SENTRY_DSN)
