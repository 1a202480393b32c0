import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand
from django.db import connection
from PIL import features

from workflows import health


class Command(BaseCommand):
    help = "Checks the configuration and each component, and says in words what to mend; ends with 1 if anything is."
    requires_system_checks: list[str] = []  # noqa: RUF012 - they are part of what it tells
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        by_use = [("storage, by use", _storage_by_use()), ("cache, by use", _cache_by_use())]
        for name, trouble in [*_components(), *by_use, *_configuration()]:
            wrong += bool(trouble)
            self.stdout.write(f"{'mend' if trouble else 'fine':5} {name}" + (f": {trouble}" if trouble else ""))
        if wrong and settings.OWN_DATABASE:
            self.stdout.write("note  `make up` migrates, collects the static files, and starts what sweeps.")
        for advice in _advice():
            self.stdout.write(f"note  {advice}")
        self.stdout.write(f"{wrong} to mend." if wrong else "All is well.")
        if wrong:
            sys.exit(1)


def _components() -> Iterator[tuple[str, str]]:
    for state in health.states():
        yield state.component, state.trouble


def _storage_by_use() -> str:
    """What no probe does each time: write, read and delete."""
    wanted = os.urandom(32)
    try:
        name = default_storage.save(f"doctor/{wanted.hex()}", ContentFile(wanted))
        with default_storage.open(name) as file:
            found = file.read()
        default_storage.delete(name)
    except Exception as error:  # noqa: BLE001 - every storage has errors of its own, and each is the answer
        return f"{type(error).__name__}: {error}"
    return "" if found == wanted else "It gave back other bytes than were written."


def _cache_by_use() -> str:
    """No part of readiness: without it only the throttles are blind."""
    wanted = os.urandom(16).hex()
    try:
        cache.set("doctor", wanted, 60)
        found = cache.get("doctor")
    except Exception as error:  # noqa: BLE001 - every cache has errors of its own, and each is the answer
        return f"{type(error).__name__}: {error}. Nobody is throttled meanwhile: look at CACHE_URL."
    return "" if found == wanted else "It gave back something else than was kept."


def _configuration() -> Iterator[tuple[str, str]]:
    for message in checks.run_checks(include_deployment_checks=_is_public()):
        if message.level >= checks.WARNING and not message.is_silenced():
            yield f"configuration ({message.id})", " ".join(filter(None, [message.msg, message.hint]))
    yield "DEBUG", "It is on at a public address: unset it." if settings.DEBUG and _is_public() else ""
    yield "PUBLIC_URL", _public_url()
    yield "decoders", _decoders()
    yield "static files", _static_files()


def _is_public() -> bool:
    return urlsplit(settings.PUBLIC_URL).hostname not in {"127.0.0.1", "localhost", "::1"}


def _public_url() -> str:
    public = urlsplit(settings.PUBLIC_URL)
    if public.scheme not in {"http", "https"} or not public.hostname:
        return f"It is {settings.PUBLIC_URL}; write it like https://darkroom.example."
    if public.path or public.query:
        return "Leave out what follows the host: Darkroom wants a host of its own."
    if _is_public() and public.scheme != "https":
        return "Tokens and pictures go over the network in the clear: put TLS in front, and write https://."
    if public.scheme == "https" and not settings.TRUSTED_PROXIES:
        return "Behind a TLS proxy set TRUSTED_PROXIES=1, or every request is redirected for ever."
    return ""


def _decoders() -> str:
    missing = [name for name in ("jpg", "webp", "avif", "zlib", "littlecms2") if not features.check(name)]
    return f"Pillow was built without {', '.join(missing)}: install its wheel." if missing else ""


def _static_files() -> str:
    found = (settings.STATIC_ROOT / "staticfiles.json").is_file()
    return "" if found else "Run `python manage.py collectstatic --no-input`: pages have no styles without it."


def _advice() -> Iterator[str]:
    """What is right on one machine and not on several."""
    if not _is_public():
        return
    if connection.vendor == "sqlite":
        yield "The database is SQLite: fine on one machine; DATABASE_URL=postgres://… for more."
    if settings.CELERY_BROKER_URL.startswith("filesystem"):
        yield "The broker is the embedded one: fine on one machine; CELERY_BROKER_URL=amqp://… for more."
    if settings.CACHES["default"]["BACKEND"].endswith("LocMemCache"):
        yield "Throttles are counted in each web process by itself; CACHE_URL=redis://… counts them together."
    if not settings.SENTRY_DSN:
        yield "SENTRY_DSN is not set: errors are only in the log."
    if not settings.METRICS_PORT:
        yield "METRICS_PORT is not set: nobody counts."
