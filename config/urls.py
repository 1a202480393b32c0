from django.contrib import admin
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import include, path
from django.utils.translation import gettext_lazy as _

from status.errors import too_often
from status.figures_page import figures_page
from status.throttling import login_wait
from status.urls import urlpatterns as status_urls

admin.site.site_header = admin.site.site_title = "Darkroom"
admin.site.index_title = _("Operation")


def login(request: HttpRequest) -> HttpResponseBase:
    """The admin's own, but not as often as somebody who guesses would like."""
    if request.method == "POST" and (wait := login_wait(request)):
        return too_often(request, wait)
    return admin.site.login(request)


urlpatterns = [
    # First, what is asked for all the time; and not behind another "include", which costs as much as the match.
    *status_urls,
    path("favicon.ico", lambda _request: redirect(static("img/favicon.svg"))),
    path("admin/figures/", admin.site.admin_view(figures_page), name="figures"),
    path("admin/login/", login),
    path("admin/", admin.site.urls),
    path("", include("workflows.urls")),
]
handler400 = "status.errors.bad_request"
handler404 = "status.errors.not_found"
handler500 = "status.errors.server_error"
