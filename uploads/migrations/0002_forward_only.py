"""PostgreSQL refuses what `update_stage` refuses, from whomever it comes: a CHECK cannot compare old and new.

SQLite has no such trigger: it would be dropped, silently, whenever a later migration remakes the table.
"""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

CREATE = """
CREATE FUNCTION uploads_upload_forward_only() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    stages CONSTANT text[] := ARRAY['validating', 'generating', 'storing', 'watermarking', 'complete', 'failed'];
BEGIN
    IF NEW.progress < OLD.progress THEN
        RAISE EXCEPTION 'progress of upload % may not go from % to %', OLD.id, OLD.progress, NEW.progress
            USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.stage = 'failed' AND NEW.run = OLD.run + 1 AND NEW.stage <> 'complete' THEN
        RETURN NEW;
    END IF;
    IF NEW.run <> OLD.run
        OR (OLD.stage IN ('complete', 'failed') AND NEW.stage IS DISTINCT FROM OLD.stage)
        OR NEW.stage IS NULL AND OLD.stage IS NOT NULL
        -- NULL, which refuses nothing, for a stage that is not in the list: one that was added later.
        OR array_position(stages, NEW.stage::text) < array_position(stages, OLD.stage::text)
    THEN
        RAISE EXCEPTION 'upload % may not go from % (run %) to % (run %)',
            OLD.id, OLD.stage, OLD.run, NEW.stage, NEW.run USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER uploads_upload_forward_only BEFORE UPDATE OF stage, progress, run ON uploads_upload
    FOR EACH ROW EXECUTE FUNCTION uploads_upload_forward_only();
"""
DROP = """
DROP TRIGGER uploads_upload_forward_only ON uploads_upload;
DROP FUNCTION uploads_upload_forward_only();
"""


def create(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE, params=None)


def drop(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP, params=None)


class Migration(migrations.Migration):
    dependencies = [("uploads", "0001_the_record")]

    operations = [migrations.RunPython(create, drop)]
