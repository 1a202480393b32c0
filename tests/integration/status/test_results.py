"""GET /api/results/{resultId}, and the links that it gives."""

from collections.abc import Mapping
from io import BytesIO
from typing import NamedTuple

import pytest
import time_machine
from django.utils import timezone
from PIL import Image

from tests.support import pictures
from tests.support.api import Api, stored_files
from uploads.models import Result, Upload

pytestmark = pytest.mark.django_db


class Served(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def served(api: Api, url: str) -> Served:
    response = api.client.get(url.removeprefix("http://127.0.0.1:8000"))
    data = b"".join(response)
    response.close()
    return Served(response.status_code, response.headers, data)


def test_a_result_gives_links_that_open(api: Api) -> None:
    upload = api.finished(pictures.encoded(pictures.landscape(400, 300), "JPEG"))
    told = api.get(f"/api/results/{upload.result.pk}").json()
    assert told["jobId"] == str(upload.pk)
    assert (told["width"], told["height"], told["promptVersion"]) == (400, 300, "v1")
    assert told["fullUrl"] is None
    for name in ("previewUrl", "thumbnailUrl"):
        assert told[name].startswith("http://127.0.0.1:8000/media/")
        response = served(api, told[name])
        assert response.status == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Type"] in {"image/webp", "image/jpeg"}
        with Image.open(BytesIO(response.body)) as picture:
            picture.load()


def test_the_full_picture_is_private_until_an_admin_unlocks_it(api: Api) -> None:
    upload = api.finished()
    Result.objects.filter(upload=upload).update(unlocked_at=timezone.now())
    url = api.get(f"/api/results/{upload.result.pk}").json()["fullUrl"]
    assert served(api, url).status == 200


def test_links_to_keep_a_picture_save_it_and_open_no_longer_than_the_others(api: Api) -> None:
    upload = api.finished()
    told = api.get(f"/api/results/{upload.result.pk}").json()
    assert told["fullDownloadUrl"] is None
    upload.unlock()
    told = api.get(f"/api/results/{upload.result.pk}").json()
    for kept, shown in (("downloadUrl", "previewUrl"), ("fullDownloadUrl", "fullUrl")):
        to_keep, to_show = served(api, told[kept]), served(api, told[shown])
        assert to_keep.body == to_show.body
        assert to_keep.headers["Content-Disposition"].startswith(f'attachment; filename="darkroom-{upload.pk}-')
        assert to_show.headers["Content-Disposition"].startswith("inline; ")
    with time_machine.travel(told["expiresAt"].replace("Z", "+00:00")) as clock:
        clock.shift(2)
        assert served(api, told["downloadUrl"]).status == 404


def test_a_link_expires(api: Api) -> None:
    upload = api.finished()
    told = api.get(f"/api/results/{upload.result.pk}").json()
    with time_machine.travel(told["expiresAt"].replace("Z", "+00:00")) as clock:
        clock.shift(2)
        assert served(api, told["previewUrl"]).status == 404


@pytest.mark.parametrize("link", ["nonsense", "../../etc/passwd", "a:b:c", "%2e%2e%2fdb.sqlite3"])
def test_only_signed_links_open(api: Api, link: str) -> None:
    assert api.client.get(f"/media/{link}").status_code == 404


def test_a_changed_link_does_not_open(api: Api) -> None:
    upload = api.finished()
    url = api.get(f"/api/results/{upload.result.pk}").json()["previewUrl"]
    assert served(api, url[:-1] + ("A" if url[-1] != "A" else "B")).status == 404


def test_nothing_is_told_of_a_result_before_the_job_is_done(api: Api) -> None:
    upload = api.accepted()
    result = Result.objects.create(
        upload=upload, full="a", thumbnail="b", width=1, height=1, content_type="", model="", prompt_version=""
    )
    assert api.get(f"/api/results/{result.pk}").status_code == 404


def test_after_the_files_are_gone_the_result_is_gone_and_the_status_stays(api: Api) -> None:
    upload = api.finished()
    Upload.objects.filter(pk=upload.pk).update(files_purged_at=timezone.now())
    response = api.get(f"/api/results/{upload.result.pk}")
    assert (response.status_code, response.json()["error"]["code"]) == (410, "EXPIRED")
    assert api.get(f"/api/status/{upload.pk}").status_code == 200


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIC"])
def test_no_metadata_of_the_sender_is_served(api: Api, kind: str) -> None:
    upload = api.finished(pictures.with_everything(kind))
    assert upload.status == "completed", upload.error_detail
    Result.objects.filter(upload=upload).update(unlocked_at=timezone.now())
    told = api.get(f"/api/results/{upload.result.pk}").json()
    for name in ("previewUrl", "thumbnailUrl", "fullUrl"):
        data = served(api, told[name]).body
        with Image.open(BytesIO(data)) as picture:
            picture.load()
            assert not picture.getexif()
            assert not {"exif", "xmp", "icc_profile", "comment", "photoshop"} & set(picture.info)
        assert b"GPS" not in data
        assert b"Exif" not in data


def test_files_lie_below_the_upload_the_step_and_the_fence(api: Api) -> None:
    upload = api.finished()
    names = [name.removeprefix(f"{upload.pk}/").rsplit(".", 1)[0] for name in stored_files()]
    assert names == [
        "generate/3/raw",
        "original",
        "store/5/full",
        "store/5/thumbnail",
        "validate/1/work",
        "watermark/7/preview",
    ]
