from decimal import Decimal

import django.db.models.deletion
import django.db.models.functions.datetime
import uuid_utils.compat
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("token_hash", models.CharField(max_length=64, null=True, unique=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="Upload",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("original", models.FileField(max_length=255, upload_to="")),
                ("original_name", models.CharField(blank=True, max_length=255)),
                ("content_type", models.CharField(max_length=64)),
                ("byte_size", models.PositiveBigIntegerField()),
                ("width", models.PositiveIntegerField()),
                ("height", models.PositiveIntegerField()),
                ("sha256", models.CharField(max_length=64)),
                ("source", models.CharField(blank=True, max_length=255)),
                ("idempotency_key", models.CharField(blank=True, max_length=255, null=True)),
                ("prompt_version", models.CharField(max_length=32)),
                ("webhook_url", models.URLField(blank=True, max_length=2000)),
                (
                    "stage",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("validating", "validating"),
                            ("generating", "generating"),
                            ("storing", "storing"),
                            ("watermarking", "watermarking"),
                            ("complete", "complete"),
                            ("failed", "failed"),
                        ],
                        max_length=16,
                        null=True,
                    ),
                ),
                (
                    "status",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(stage=None, then=models.Value("pending")),
                            models.When(stage="complete", then=models.Value("completed")),
                            models.When(stage="failed", then=models.Value("failed")),
                            default=models.Value("processing"),
                        ),
                        output_field=models.CharField(max_length=16),
                    ),
                ),
                ("progress", models.PositiveSmallIntegerField(default=0)),
                ("version", models.PositiveIntegerField(default=1)),
                ("event_count", models.PositiveIntegerField(default=0)),
                ("run", models.PositiveSmallIntegerField(default=1)),
                ("attempt", models.PositiveSmallIntegerField(default=0)),
                ("max_attempts", models.PositiveSmallIntegerField(default=3)),
                ("run_id", models.CharField(blank=True, max_length=64)),
                ("fence", models.PositiveIntegerField(default=0)),
                ("lease_until", models.DateTimeField(blank=True, null=True)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("hinted_at", models.DateTimeField(blank=True, null=True)),
                ("deadline_at", models.DateTimeField()),
                ("error_code", models.CharField(blank=True, max_length=64)),
                ("error_message", models.TextField(blank=True)),
                ("error_detail", models.TextField(blank=True)),
                ("failed_step", models.CharField(blank=True, max_length=16)),
                ("estimated_completion_at", models.DateTimeField(blank=True, null=True)),
                ("cost_usd", models.DecimalField(decimal_places=6, default=0, max_digits=12)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("completed_at", models.DateTimeField(blank=True, null=True)),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("deleted_at", models.DateTimeField(blank=True, null=True)),
                ("files_purged_at", models.DateTimeField(blank=True, null=True)),
                (
                    "session",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="uploads", to="uploads.session"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Step",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=16)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("running", "running"),
                            ("completed", "completed"),
                            ("failed", "failed"),
                            ("skipped", "skipped"),
                        ],
                        max_length=16,
                    ),
                ),
                ("attempt", models.PositiveSmallIntegerField(default=0)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("completed_at", models.DateTimeField(blank=True, null=True)),
                ("error", models.TextField(blank=True)),
                ("output", models.JSONField(blank=True, default=dict)),
                (
                    "upload",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="steps", to="uploads.upload"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Result",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("full", models.FileField(max_length=255, upload_to="")),
                ("preview", models.FileField(blank=True, max_length=255, upload_to="")),
                ("thumbnail", models.FileField(max_length=255, upload_to="")),
                ("width", models.PositiveIntegerField()),
                ("height", models.PositiveIntegerField()),
                ("content_type", models.CharField(max_length=64)),
                ("model", models.CharField(max_length=64)),
                ("prompt_version", models.CharField(max_length=32)),
                ("unlocked_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "upload",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="result", to="uploads.upload"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ProviderCall",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("run", models.PositiveSmallIntegerField()),
                ("attempt", models.PositiveSmallIntegerField()),
                ("fence", models.PositiveIntegerField()),
                ("provider", models.CharField(max_length=32)),
                ("model", models.CharField(max_length=64)),
                ("prompt_version", models.CharField(max_length=32)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("open", "open"),
                            ("settled", "settled"),
                            ("failed", "failed"),
                            ("unknown", "unknown"),
                        ],
                        default="open",
                        max_length=16,
                    ),
                ),
                ("reserved_usd", models.DecimalField(decimal_places=6, max_digits=12)),
                ("cost_usd", models.DecimalField(decimal_places=6, default=Decimal(0), max_digits=12)),
                ("tokens", models.JSONField(blank=True, default=dict)),
                ("outcome", models.CharField(blank=True, max_length=16)),
                ("error_kind", models.CharField(blank=True, max_length=64)),
                ("reason", models.TextField(blank=True)),
                ("started_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("deadline_at", models.DateTimeField()),
                (
                    "upload",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="provider_calls",
                        to="uploads.upload",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("seq", models.PositiveIntegerField()),
                ("type", models.CharField(max_length=32)),
                ("level", models.CharField(max_length=8)),
                ("message", models.TextField()),
                ("data", models.JSONField(blank=True, default=dict)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "upload",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="uploads.upload",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="OutboxEntry",
            fields=[
                (
                    "event",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="unpublished",
                        serialize=False,
                        to="uploads.event",
                    ),
                ),
                ("type", models.CharField(max_length=32)),
                (
                    "upload",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="unpublished", to="uploads.upload"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "outbox entries",
            },
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(condition=models.Q(("completed_at", None)), fields=["due_at"], name="upload_due"),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                condition=models.Q(("completed_at", None), ("started_at", None)), fields=["id"], name="upload_waiting"
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                condition=models.Q(("completed_at__isnull", False), ("files_purged_at", None)),
                fields=["completed_at"],
                name="upload_to_purge",
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                condition=models.Q(("files_purged_at__isnull", False)), fields=["completed_at"], name="upload_purged"
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", False)), fields=["deleted_at"], name="upload_deleted"
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(fields=["session", "-id"], name="upload_session_newest"),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                condition=models.Q(("source", ""), _negated=True), fields=["source", "-id"], name="upload_source"
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                condition=models.Q(("error_code", ""), _negated=True),
                fields=["-id", "error_code"],
                name="upload_failed",
            ),
        ),
        migrations.AddConstraint(
            model_name="upload",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("stage", None),
                    ("stage__in", ["validating", "generating", "storing", "watermarking", "complete", "failed"]),
                    _connector="OR",
                ),
                name="upload_stage_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="upload",
            constraint=models.CheckConstraint(
                condition=models.Q(("progress__gte", 0), ("progress__lte", 100)), name="upload_progress_is_percent"
            ),
        ),
        migrations.AddConstraint(
            model_name="upload",
            constraint=models.CheckConstraint(
                condition=models.Q(("progress", 100), models.Q(("stage", "complete"), _negated=True), _connector="OR"),
                name="upload_complete_is_100",
            ),
        ),
        migrations.AddConstraint(
            model_name="upload",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("stage__in", ["failed"]), ("stage__isnull", False), models.Q(("error_code", ""), _negated=True)
                    ),
                    models.Q(
                        models.Q(("stage__in", ["failed"]), ("stage__isnull", False), _negated=True), ("error_code", "")
                    ),
                    _connector="OR",
                ),
                name="upload_failed_has_a_code",
            ),
        ),
        migrations.AddConstraint(
            model_name="upload",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("stage__in", ["complete", "failed"]), ("stage__isnull", False), ("completed_at__isnull", False)
                    ),
                    models.Q(
                        models.Q(("stage__in", ["complete", "failed"]), ("stage__isnull", False), _negated=True),
                        ("completed_at", None),
                    ),
                    _connector="OR",
                ),
                name="upload_ended_has_a_time",
            ),
        ),
        migrations.AddConstraint(
            model_name="upload",
            constraint=models.UniqueConstraint(fields=("session", "idempotency_key"), name="upload_idempotency"),
        ),
        migrations.AddIndex(
            model_name="step",
            index=models.Index(
                condition=models.Q(("status", "completed")), fields=["name", "-completed_at"], name="step_latest"
            ),
        ),
        migrations.AddConstraint(
            model_name="step",
            constraint=models.UniqueConstraint(fields=("upload", "name"), name="step_once_per_upload"),
        ),
        migrations.AddConstraint(
            model_name="step",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["pending", "running", "completed", "failed", "skipped"])),
                name="step_status_is_known",
            ),
        ),
        migrations.AddIndex(
            model_name="providercall",
            index=models.Index(fields=["started_at", "status", "cost_usd", "reserved_usd"], name="call_day"),
        ),
        migrations.AddIndex(
            model_name="providercall",
            index=models.Index(condition=models.Q(("status", "open")), fields=["deadline_at"], name="call_overdue"),
        ),
        migrations.AddIndex(
            model_name="providercall",
            index=models.Index(
                condition=models.Q(("outcome", "picture")), fields=["model", "-ended_at"], name="call_latest"
            ),
        ),
        migrations.AddConstraint(
            model_name="providercall",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["open", "settled", "failed", "unknown"])),
                name="call_status_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="providercall",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("cost_usd", 0), ("ended_at", None), ("status", "open")),
                    models.Q(models.Q(("status", "open"), _negated=True), ("ended_at__isnull", False)),
                    _connector="OR",
                ),
                name="call_open_has_no_end",
            ),
        ),
        migrations.AddConstraint(
            model_name="providercall",
            constraint=models.CheckConstraint(
                condition=models.Q(("cost_usd__gte", 0), ("reserved_usd__gte", 0)), name="call_costs_nothing_or_more"
            ),
        ),
        migrations.AddConstraint(
            model_name="event",
            constraint=models.UniqueConstraint(fields=("upload", "seq"), name="event_seq_per_upload"),
        ),
        migrations.AddConstraint(
            model_name="event",
            constraint=models.CheckConstraint(
                condition=models.Q(("level__in", ("info", "warn", "error"))), name="event_level_is_known"
            ),
        ),
    ]
