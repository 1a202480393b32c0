"""A deploy without downtime: `migrate` first, while the old processes go on; then they are replaced one by one.

So a migration only adds, and what it adds has a default in the database: code that knows nothing of it goes on
writing. What is no longer used is removed one release after the last code that did.
"""

import pytest
from django.db import connection, migrations
from django.db.migrations.loader import MigrationLoader
from django.db.models import CheckConstraint, DateTimeField, Index, IntegerField, Q
from django.db.models.functions import Now

from tests.support import pictures
from tests.support.api import Api, develop
from uploads.models import Upload

OURS = {"uploads", "status", "workflows"}
THOUGHT_THROUGH = {
    ("uploads", "0001_the_record"),
    ("uploads", "0002_forward_only"),
    ("uploads", "0003_groups"),
    ("status", "0001_webhooks"),
    ("workflows", "0001_heartbeat"),
}
"""Nothing ran before these; what is added needs a reason here."""


@pytest.mark.any_database
def test_migrations_only_add_what_old_code_need_not_know() -> None:
    refused = [
        f"{app}.{name}: {operation.describe()}"
        for (app, name), migration in MigrationLoader(None).disk_migrations.items()
        if app in OURS and (app, name) not in THOUGHT_THROUGH
        for operation in migration.operations
        if not only_adds(operation)
    ]
    assert not refused, "first add; remove one release later"


@pytest.mark.any_database
def test_what_came_first_is_still_there() -> None:
    assert set(MigrationLoader(None).disk_migrations) >= THOUGHT_THROUGH


def only_adds(operation: migrations.operations.base.Operation) -> bool:
    """A constraint may refuse what old code writes, whoever writes waits while an index is built (unless concurrently),
    and what code or SQL does cannot be told from here: think it through, and name it in `THOUGHT_THROUGH`."""
    if isinstance(operation, migrations.AddField):
        return bool(operation.field.null or operation.field.has_db_default() or operation.field.many_to_many)
    return isinstance(operation, migrations.CreateModel | migrations.AlterModelOptions)


@pytest.mark.parametrize(
    ("operation", "allowed"),
    [
        (migrations.AddField("upload", "x", IntegerField(null=True)), True),
        (migrations.AddField("upload", "x", DateTimeField(db_default=Now())), True),
        (migrations.AddField("upload", "x", IntegerField(default=0)), False),
        (migrations.RemoveField("upload", "source"), False),
        (migrations.RenameField("upload", "source", "x"), False),
        (migrations.AlterField("upload", "progress", IntegerField()), False),
        (migrations.DeleteModel("Step"), False),
        (migrations.AddIndex("upload", Index(name="x", fields=["source"])), False),
        (migrations.AddConstraint("upload", CheckConstraint(name="x", condition=Q(progress__gte=0))), False),
        (migrations.RunSQL("DELETE FROM uploads_upload"), False),
    ],
)
@pytest.mark.any_database
def test_what_breaks_running_code_is_seen(operation: migrations.operations.base.Operation, allowed: bool) -> None:
    assert only_adds(operation) is allowed


@pytest.mark.django_db(transaction=True)
def test_this_code_goes_on_while_the_next_ones_migration_is_applied(api: Api) -> None:
    """As that of the next release will be: a job that began before it ends after it, and others begin."""
    begun = api.accepted(pictures.encoded(pictures.quarters(), "JPEG"))
    field = IntegerField(db_default=7)
    field.set_attributes_from_name("of_the_next_release")
    field.model = Upload
    with connection.schema_editor() as editor:
        editor.add_field(Upload, field)
    try:
        develop(begun)
        assert begun.status == "completed"
        assert api.finished().status == "completed"
        assert api.get(f"/api/status/{begun.pk}").json()["progress"] == 100
        with connection.cursor() as cursor:
            cursor.execute("SELECT DISTINCT of_the_next_release FROM uploads_upload")
            assert cursor.fetchall() == [(7,)]
    finally:
        with connection.schema_editor() as editor:
            editor.remove_field(Upload, field)
