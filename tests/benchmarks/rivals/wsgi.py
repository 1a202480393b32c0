import os

from celery import Celery
from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.rivals.settings"
app = Celery("rivals")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
application = get_wsgi_application()
