"""What a client of the API does, in words; over Django's test client."""

from functools import cache
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.support import pictures
from tests.support.contract import ContractClient
from uploads.models import Session, Upload
from uploads.stages import StepName
from workflows import runner


class Api:
    def __init__(self) -> None:
        self.client = ContractClient()
        self.session, self.token = Session.objects.open()

    def get(self, path: str, token: str | None = "", **headers: str) -> Any:
        return self.client.get(path, headers=self._headers(token) | headers)

    def post(self, path: str, token: str | None = "", **headers: str) -> Any:
        return self.client.post(path, headers=self._headers(token) | headers)

    def delete(self, path: str, token: str | None = "") -> Any:
        return self.client.delete(path, headers=self._headers(token))

    def send(
        self,
        picture: bytes | None = None,
        *,
        name: str = "holiday.jpg",
        token: str | None = "",
        key: str | None = None,
        **fields: str,
    ) -> Any:
        """POST a picture; a small landscape when none is given."""
        data = picture if picture is not None else _small_landscape()
        headers = self._headers(token) | ({"Idempotency-Key": key} if key else {})
        return self.client.post("/api/uploads", {"image": SimpleUploadedFile(name, data), **fields}, headers=headers)

    def accepted(self, picture: bytes | None = None, **fields: Any) -> Upload:
        response = self.send(picture, **fields)
        assert response.status_code == 202, response.content
        return Upload.objects.get(pk=response.json()["jobId"])

    def finished(self, picture: bytes | None = None, **fields: Any) -> Upload:
        upload = self.accepted(picture, **fields)
        develop(upload)
        return upload

    def _headers(self, token: str | None) -> dict[str, str]:
        """The session's own token unless another is given; None sends none."""
        if token is None:
            return {}
        return {"X-Session-Token": token or self.token}


@cache
def _small_landscape() -> bytes:
    return pictures.encoded(pictures.landscape(160, 120), "JPEG")


def develop(upload: Upload) -> None:
    """All that is left of the job, by the runner, in this process."""
    for step in StepName:
        runner.run(step, str(upload.pk), "test")
    upload.refresh_from_db()


def stored_files() -> list[str]:
    root = settings.MEDIA_ROOT
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
