from django.urls import path

from status import views

urlpatterns = [
    path("api/status/<str:job_id>", views.StatusView.as_view(), name="status"),
    path("api/status/<str:job_id>/events", views.EventsView.as_view(), name="events"),
    path("api/results/<str:result_id>", views.ResultView.as_view(), name="result"),
    path("api/jobs", views.JobsView.as_view(), name="jobs"),
    path("api/jobs/stats", views.StatsView.as_view(), name="stats"),
    path("api/jobs/<str:job_id>", views.JobView.as_view(), name="job"),
    path("api/builds/<str:build_id>/events", views.BuildEventsView.as_view(), name="build-events"),
    path("api/builds/<str:build_id>/status", views.BuildStatusView.as_view(), name="build-status"),
    path("api/v1/projects/<str:project_id>/progress", views.ProgressView.as_view(), name="progress"),
    path("api/schema", views.SchemaView.as_view(), name="schema"),
    path("api/docs", views.docs_page, name="docs"),
    path("jobs/<str:job_id>/status", views.MessagesView.as_view(), name="messages"),
    path("jobs/<str:job_id>", views.job_page, name="page"),
    path("media/<str:link>", views.media, name="media"),
]
