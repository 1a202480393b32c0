from django import template

from workflows.looks import LOOKS, Look

register = template.Library()


@register.simple_tag
def looks() -> tuple[Look, ...]:
    """Those on offer, also for a page of another package."""
    return LOOKS
