from typing import Any

from celery_progress.views import get_progress
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django_celery_results.views import task_status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ModelSerializer
from rest_framework.views import APIView

from uploads.models import Upload


def constant(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"success": True, "status": "processing", "stage": "generating", "progress": 45})


def raw_query(request: HttpRequest, job_id: Any) -> JsonResponse:
    """No model, no token: the least that reads a row. psycopg prepares what comes often."""
    with connection.cursor() as cursor:
        job = job_id.hex if connection.vendor == "sqlite" else job_id
        cursor.execute("SELECT status, stage, progress FROM uploads_upload WHERE id = %s", [job])
        status, stage, progress = cursor.fetchone()
    return JsonResponse({"success": True, "status": status, "stage": stage, "progress": progress})


class UploadSerializer(ModelSerializer):
    class Meta:
        model = Upload
        exclude = ("original", "error_detail")


class SerializedView(APIView):
    """What one would write first: look up by id, serialise; no token is judged."""

    def get(self, request: Request, job_id: str) -> Response:
        return Response(UploadSerializer(Upload.objects.get(pk=job_id)).data)


urlpatterns = [
    path("constant", constant),
    path("raw/<uuid:job_id>", raw_query),
    path("serialized/<uuid:job_id>", SerializedView.as_view()),
    path("celery-progress/<str:task_id>", get_progress),
    path("celery-results/<str:task_id>", task_status),
]
