"""What `make up` runs: prepares DATA_DIR, the database and the static files, then becomes supervisord.

Everything that it does may be done again: a second `make up` finds the same secret, database and pictures.
"""

import os
import secrets
import shutil
import sys
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    environ.Env.read_env(os.environ.get("ENV_FILE", ROOT / ".env"))
    data = (ROOT / os.environ.get("DATA_DIR", "var")).resolve()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.environ.get("SECRET_KEY"):
        _write_secret(data / "secret_key")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        _prepare()
    except ImproperlyConfigured as error:
        sys.exit(f"Darkroom cannot start with this configuration. {error}")
    os.chdir(ROOT)
    folder = Path(sys.executable).parent
    os.environ.setdefault("SHUTDOWN_GRACE_SECONDS", "2")
    os.environ |= {"DATA_DIR": str(data), "PORT": os.environ.get("PORT", "8000"), "BIN": str(folder)}
    os.environ["METRICS"] = "true" if os.environ.get("METRICS_PORT", "0") not in {"", "0"} else "false"
    as_root = ["--user", "root"] if os.geteuid() == 0 else []
    os.execv(folder / "supervisord", ["supervisord", "--configuration", "config/supervisord.conf", *as_root])  # noqa: S606 - our own


def _write_secret(file: Path) -> None:
    if file.exists():
        return
    aside = file.with_suffix(".new")
    aside.touch(mode=0o600)
    aside.write_text(secrets.token_urlsafe(50))
    aside.rename(file)


def _prepare() -> None:
    import django  # noqa: PLC0415 - reads the settings, which need the secret
    from django.conf import settings  # noqa: PLC0415

    django.setup()
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    # All counts begin anew, and together: a sum of old and new ones would look like a jump.
    shutil.rmtree(settings.METRICS_DIR, ignore_errors=True)
    print(  # noqa: T201 - said to the person who typed `make up`
        f"\n  Darkroom is at {settings.PUBLIC_URL}    (Ctrl-C stops it)\n"
        f"  The admin is at {settings.PUBLIC_URL}/admin/    (`make admin` gives you an account)\n"
        f"  Everything it keeps is in {settings.DATA_DIR}\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
