from django.urls import path

from workflows import views

urlpatterns = [
    path("", views.upload_page, name="send"),
    path("api/sessions", views.SessionsView.as_view(), name="sessions"),
    path("api/sessions/current", views.CurrentSessionView.as_view(), name="current-session"),
    path("api/uploads", views.UploadsView.as_view(), name="uploads"),
    path("api/looks", views.LooksView.as_view(), name="looks"),
    path("api/jobs/<str:job_id>/again", views.AgainView.as_view(), name="again"),
    path("api/jobs/<str:job_id>/retry", views.RetryView.as_view(), name="retry"),
    path("api/jobs/<str:job_id>/cancel", views.CancelView.as_view(), name="cancel"),
]
