"""The looks on offer: what a person chooses between, and what it costs."""

from typing import Any, NamedTuple

from django.conf import settings
from django.templatetags.static import static
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Look(NamedTuple):
    prompt_version: str
    name: str | Promise
    description: str | Promise

    @property
    def sample(self) -> str:
        """A static file: the sample photo in this look, by the local generator (`python -m tests.tools.samples`)."""
        return f"img/look-{self.prompt_version}.webp"


LOOKS = (
    Look("v1", _("Ink & wash"), _("Pen lines and transparent washes on ivory paper")),
    Look("v2", _("Watercolour"), _("Loose, wet colours that run into each other")),
    Look("v3", _("Screen print"), _("A few flat inks, dots and bold outlines")),
)
"""A prompt that has no look here can be asked for by its name, and is not on offer."""


def looks_document() -> dict[str, Any]:
    """What every generator offers; each draws by the same prompts."""
    return {
        "success": True,
        "looks": [
            {
                "promptVersion": look.prompt_version,
                "name": str(look.name),
                "description": str(look.description),
                "sampleUrl": settings.PUBLIC_URL + static(look.sample),
                "costUsd": float(settings.GENERATE_COST_USD),
                "isDefault": look.prompt_version == settings.PROMPT_VERSION,
            }
            for look in LOOKS
        ],
    }
