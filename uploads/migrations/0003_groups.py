"""Two groups for the admin: viewers look, operators also act. Whoever runs Darkroom puts people into them.

Django makes the permissions only after all migrations have run, so those that the groups need are made here;
Django finds them, and makes the others.
"""

from collections.abc import Iterator

from django.apps.registry import Apps
from django.contrib.auth.models import Permission
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

LOOK_AT = {
    "uploads": {
        "upload": "upload",
        "session": "session",
        "step": "step",
        "event": "event",
        "result": "result",
        "providercall": "provider call",
    },
    # By name: this room does not import that one.
    "status": {"webhookendpoint": "webhook endpoint", "webhookdelivery": "webhook delivery"},
}
ACT_ON = {
    "uploads": {"upload": "upload"},
    "status": {"webhookendpoint": "webhook endpoint", "webhookdelivery": "webhook delivery"},
}
MAKE = {"status": {"webhookendpoint": "webhook endpoint"}}


def create(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    looking = list(_permissions(apps, "view", LOOK_AT))
    acting = [*_permissions(apps, "change", ACT_ON), *_permissions(apps, "add", MAKE)]
    group = apps.get_model("auth", "Group")
    group.objects.get_or_create(name="viewer")[0].permissions.add(*looking)
    group.objects.get_or_create(name="operator")[0].permissions.add(*looking, *acting)


def _permissions(apps: Apps, verb: str, models: dict[str, dict[str, str]]) -> Iterator[Permission]:
    for app, names in models.items():
        for model, words in names.items():
            kind, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(app_label=app, model=model)
            permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
                content_type=kind, codename=f"{verb}_{model}", defaults={"name": f"Can {verb} {words}"}
            )
            yield permission


def drop(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """The permissions stay: they are Django's as well."""
    apps.get_model("auth", "Group").objects.filter(name__in=["viewer", "operator"]).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0002_forward_only"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(create, drop)]
