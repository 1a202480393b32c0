import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import status.models
import status.webhooks


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("uploads", "0001_the_record"),
    ]

    operations = [
        migrations.CreateModel(
            name="WebhookEndpoint",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "url",
                    models.CharField(
                        max_length=2000, validators=[status.webhooks.validate_address], verbose_name="URL"
                    ),
                ),
                ("description", models.CharField(blank=True, max_length=255)),
                ("types", models.JSONField(default=status.webhooks.all_types)),
                ("salt", models.CharField(default=status.models.new_salt, editable=False, max_length=32)),
                ("previous_salt", models.CharField(blank=True, editable=False, max_length=32)),
                ("previous_until", models.DateTimeField(blank=True, editable=False, null=True)),
                ("disabled_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("disabled_reason", models.TextField(blank=True, editable=False)),
                ("failing_since", models.DateTimeField(blank=True, editable=False, null=True)),
                ("last_failure_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("is_slow", models.BooleanField(default=False, editable=False)),
                ("resting_until", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="Capture",
            fields=[
                ("uuid", models.UUIDField(primary_key=True, serialize=False)),
                ("event", models.CharField(max_length=32)),
                ("distinct_id", models.CharField(max_length=64)),
                ("properties", models.JSONField()),
                ("happened_at", models.DateTimeField()),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "indexes": [models.Index(fields=["due_at"], name="capture_due")],
            },
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("url", models.CharField(blank=True, max_length=2000, verbose_name="URL")),
                ("host", models.CharField(blank=True, max_length=255)),
                ("session_id", models.UUIDField(blank=True, editable=False, null=True)),
                ("message_id", models.CharField(max_length=64)),
                ("type", models.CharField(max_length=32)),
                ("body", models.TextField()),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "pending"), ("delivered", "delivered"), ("dead", "dead")],
                        default="pending",
                        max_length=16,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("tries_left", models.PositiveSmallIntegerField(default=12)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("delivered_at", models.DateTimeField(blank=True, null=True)),
                ("last_status", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("last_error", models.TextField(blank=True)),
                ("last_answer", models.TextField(blank=True)),
                ("last_duration_ms", models.PositiveIntegerField(blank=True, null=True)),
                ("history", models.JSONField(blank=True, default=list)),
                (
                    "upload",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="uploads.upload",
                    ),
                ),
                (
                    "endpoint",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="status.webhookendpoint",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "webhook deliveries",
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "pending")), fields=["endpoint", "due_at"], name="delivery_due"
                    ),
                    models.Index(
                        condition=models.Q(("endpoint", None), ("status", "pending")),
                        fields=["host", "due_at", "session_id"],
                        name="delivery_due_host",
                    ),
                    models.Index(
                        condition=models.Q(("status", "pending")), fields=["endpoint", "id"], name="delivery_oldest"
                    ),
                    models.Index(condition=models.Q(("status", "dead")), fields=["-id"], name="delivery_dead"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("endpoint", "message_id"), name="delivery_once_per_endpoint"),
                    models.UniqueConstraint(
                        condition=models.Q(("endpoint", None)), fields=("message_id",), name="delivery_once_per_upload"
                    ),
                ],
            },
        ),
    ]
