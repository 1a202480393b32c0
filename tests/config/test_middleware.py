import pytest
from django.test import Client


@pytest.mark.django_db
@pytest.mark.parametrize(
    "address", ["/", "/jobs/any", "/admin/login/", "/api/nothing", "/nowhere", "/static/admin/css/base.css"]
)
def test_nothing_inline_and_nothing_from_elsewhere(address: str) -> None:
    response = Client().get(address)
    policy = response["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert response["X-Content-Type-Options"] == "nosniff"
    body = b"".join(response)
    response.close()
    if "html" in response["Content-Type"]:
        for inline in (b"<script>", b"<style", b' style="', b" onclick"):
            assert inline not in body
