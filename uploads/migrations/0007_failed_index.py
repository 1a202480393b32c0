from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("uploads", "0006_groups")]

    operations = [
        migrations.AddIndex(
            "upload", models.Index(name="upload_failed", fields=["-id", "error_code"], condition=~Q(error_code=""))
        )
    ]
