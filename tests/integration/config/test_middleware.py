import pytest
from django.conf import LazySettings
from django.test import Client


@pytest.mark.django_db
@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/jobs/any",
        "/admin/login/",
        "/api/docs",
        "/api/schema",
        "/api/nothing",
        "/media/nothing",
        "/nowhere",
        "/static/admin/css/base.css",
    ],
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


GUARDS = {
    "Content-Security-Policy",
    "Cross-Origin-Opener-Policy",
    "Referrer-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
}


@pytest.fixture
def behind_tls(settings: LazySettings) -> None:
    """As `PUBLIC_URL=https://…` makes it; a client that comes afterwards sets up its middleware anew."""
    settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = True, 60


@pytest.mark.django_db
def test_the_api_goes_past_the_middleware_of_pages_and_has_their_headers(behind_tls: None) -> None:
    page, poll = (Client().get(address, secure=True) for address in ("/", "/api/jobs"))
    assert {name: page[name] for name in GUARDS} == {name: poll[name] for name in GUARDS}
    assert (page.status_code, poll.status_code) == (200, 401)


@pytest.mark.django_db
def test_the_api_wants_tls_where_pages_do(behind_tls: None) -> None:
    response = Client().get("/api/jobs?limit=1")
    assert (response.status_code, response["Location"]) == (301, "https://testserver/api/jobs?limit=1")


@pytest.mark.django_db
def test_nobody_is_served_by_another_name() -> None:
    for address in ("/", "/api/jobs"):
        response = Client().get(address, headers={"host": "elsewhere.example"})
        assert response.status_code == 400
        assert "default-src 'self'" in response["Content-Security-Policy"]
        assert response["X-Content-Type-Options"] == "nosniff"
