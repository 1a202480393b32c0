from datetime import timedelta
from typing import Any

import factory
from django.utils import timezone
from uuid_utils.compat import uuid7

from uploads.models import Session, Upload


class SessionFactory(factory.django.DjangoModelFactory[Session]):
    class Meta:
        model = Session

    token_hash = factory.Faker("sha256")


class UploadFactory(factory.django.DjangoModelFactory[Upload]):
    """An accepted upload: pending, with its four steps still to come."""

    class Meta:
        model = Upload

    id = factory.LazyFunction(uuid7)
    session = factory.SubFactory(SessionFactory)
    original = factory.LazyAttribute(lambda upload: f"{upload.id}/original.jpg")
    original_name = "holiday.jpg"
    content_type = "image/jpeg"
    byte_size = 1000
    width, height = 640, 480
    sha256 = "0" * 64
    prompt_version = "v1"
    deadline_at = factory.LazyFunction(lambda: timezone.now() + timedelta(days=1))

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> Any:
        upload = super()._create(model_class, *args, **kwargs)
        upload.refresh_from_db()
        return upload
