from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("status", "0002_last_failure"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhookdelivery",
            name="session_id",
            field=models.UUIDField(blank=True, editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="webhookdelivery",
            index=models.Index(
                condition=models.Q(("endpoint", None), ("status", "pending")),
                fields=["host", "due_at", "session_id"],
                name="delivery_due_host",
            ),
        ),
    ]
