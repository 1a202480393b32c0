import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("uploads", "0002_forward_only"),
    ]

    operations = [
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
    ]
