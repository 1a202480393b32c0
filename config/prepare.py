"""Brings the database and the static files up to date, and prints what `make up` has to know, as JSON.

All of it may be done again. A process of its own: what it loads is gone with it.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import django
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError

from uploads import own_database


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        django.setup()
        if settings.OWN_DATABASE:
            own_database.migrate()
        else:
            call_command("migrate", verbosity=0)
        if not settings.LIVE_FILES:
            collect_static_files()
    except ImproperlyConfigured as error:
        sys.exit(f"Darkroom cannot start with this configuration. {error}")
    except OperationalError as error:
        said = " ".join(str(error).split())
        sys.exit(f"The database cannot be used. Look at DATABASE_URL, and for SQLite at DATA_DIR. ({said})")
    except PermissionError as error:
        sys.exit(f"This user may not use {error.filename}, which is another user's. Give it to this one.")
    # All counts begin anew, and together: a sum of old and new ones would look like a jump.
    shutil.rmtree(settings.METRICS_DIR, ignore_errors=True)
    facts = {"public_url": settings.PUBLIC_URL, "port": settings.PORT, "addresses": settings.OWN_ADDRESSES}
    print(json.dumps(facts))  # noqa: T201 - read by config.up


def collect_static_files() -> None:
    """Only when one of them has changed: to name and compress them takes longer than all else."""
    files = [Path(storage.path(name)) for finder in get_finders() for name, storage in finder.list([])]
    seen = sorted((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    sources = repr([settings.STATIC_ROOT, *seen])
    known = settings.STATIC_ROOT.with_name(f"{settings.STATIC_ROOT.name}.sources")
    if (settings.STATIC_ROOT / "staticfiles.json").exists() and known.exists() and known.read_text() == sources:
        return
    call_command("collectstatic", interactive=False, verbosity=0)
    known.write_text(sources)


if __name__ == "__main__":
    main()
