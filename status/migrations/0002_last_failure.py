from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("status", "0001_webhooks"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhookendpoint",
            name="last_failure_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
    ]
