from typing import Any

from django import forms

from status.webhooks import validate_address
from uploads.errors import Rejected
from workflows.generators import PROMPT_VERSIONS


class UploadForm(forms.Form):
    """The fields of `POST /api/uploads`. What the picture itself is, intake finds out."""

    image = forms.FileField(allow_empty_file=True, max_length=None)
    promptVersion = forms.ChoiceField(required=False, choices=[(name, name) for name in PROMPT_VERSIONS])  # noqa: N815 - the API's name
    source = forms.CharField(required=False, max_length=255, strip=False)
    webhookUrl = forms.CharField(required=False, validators=[validate_address])  # noqa: N815 - the API's name


def problem(form: forms.Form) -> Rejected:
    """The first thing that is wrong with it, in words."""
    errors: dict[str, Any] = form.errors
    if "image" in errors:
        return Rejected("MISSING_IMAGE")
    name = next(iter(errors))
    return Rejected("INVALID_PARAMETER", f"“{name}”: {errors[name][0]}")
