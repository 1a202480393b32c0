"""The name of a file is never a reason to refuse a picture."""

from io import BytesIO

import pytest

from tests.support import pictures
from tests.support.api import Api
from uploads.models import Upload
from workflows.multipart import LegibleHeaders

pytestmark = [pytest.mark.any_database, pytest.mark.django_db]

PICTURE = pictures.encoded(pictures.quarters(), "JPEG")


def form(name: bytes, *, picture: bytes = PICTURE, end: bytes = b"\r\n--XX--\r\n") -> bytes:
    head = b'--XX\r\nContent-Disposition: form-data; name="image"; ' + name + b"\r\nContent-Type: image/jpeg\r\n\r\n"
    return head + picture + end


def sent(api: Api, body: bytes, content_type: str = "multipart/form-data; boundary=XX") -> Upload:
    response = api.client.post(
        "/api/uploads", data=body, content_type=content_type, headers={"X-Session-Token": api.token}
    )
    assert response.status_code == 202, response.content
    return Upload.objects.get(pk=response.json()["jobId"])


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("café.jpg".encode(), "café.jpg"),
        ("café.jpg".encode("cp1252"), "café.jpg"),
        ("Müller und Söhne.jpg".encode("cp1252"), "Müller und Söhne.jpg"),
        ("写真の館.jpg".encode("cp932"), "写真の館.jpg"),
        ("照片和图像.jpg".encode("gb18030"), "照片和图像.jpg"),
        (b"\xff\xfe\x81.jpg", None),
        (b"..", "picture"),
        (b"/", "picture"),
        (b"\x07", "picture"),
        (b"a/b\\c.jpg", "c.jpg"),
    ],
)
def test_a_picture_is_taken_whatever_its_name(api: Api, name: bytes, kept: str | None) -> None:
    upload = sent(api, form(b'filename="' + name + b'"'))

    assert upload.byte_size == len(PICTURE)
    assert kept is None or upload.original_name == kept


@pytest.mark.parametrize("encoding", ["UTF-8", "gbk", "nothing-known"])
def test_an_extended_name_is_taken_in_any_encoding(api: Api, encoding: str) -> None:
    upload = sent(api, form(b"filename*=" + encoding.encode() + b"''holiday.jpg"))

    assert upload.original_name == "holiday.jpg"


def test_a_form_without_its_closing_boundary_is_read_to_its_end(api: Api) -> None:
    assert sent(api, form(b'filename="a.jpg"', end=b"")).byte_size == len(PICTURE)


@pytest.mark.parametrize("announced", [None, 100_000])
def test_a_form_that_breaks_off_is_not_closed(announced: int | None) -> None:
    """The sender is gone and will send it again; half a form must not take its Idempotency-Key."""
    data = form(b'filename="a.jpg"', end=b"")

    assert LegibleHeaders(BytesIO(data), b"XX", announced).read() == data


def test_the_media_type_is_compared_without_case(api: Api) -> None:
    upload = sent(api, form(b'filename="a.jpg"'), "Multipart/Form-Data; boundary=XX")

    assert upload.byte_size == len(PICTURE)


def test_a_form_without_a_boundary_is_told_so(api: Api) -> None:
    response = api.client.post("/api/uploads", data=b"--XX--", content_type="multipart/form-data")

    assert response.status_code == 400
    assert response.json()["error"]["message"] == "The Content-Type of this form names no boundary."


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 1000, -1])
def test_only_headers_are_changed_however_the_form_comes_in(size: int) -> None:
    """Bytes of the picture that look like a header's stay what they are."""
    picture = b'\xe9 --X \r\n\r\n --Y filename=".." \xff\xd8' * 3_000
    data = form('filename="café.jpg"'.encode("cp1252"), picture=picture)

    class Slow(BytesIO):
        def read(self, _: int | None = -1) -> bytes:
            return super().read(size)

    assert LegibleHeaders(Slow(data), b"XX").read() == form('filename="café.jpg"'.encode(), picture=picture)
