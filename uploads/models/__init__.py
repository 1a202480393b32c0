"""The record: who sent what, how far it is, what has happened to it, and the rules by which that may change."""

from uploads.models.history import Event, OutboxEntry, Result, Step
from uploads.models.provider_call import ProviderCall
from uploads.models.queries import UploadQuerySet
from uploads.models.session import Session, hash_token
from uploads.models.upload import Upload

__all__ = [
    "Event",
    "OutboxEntry",
    "ProviderCall",
    "Result",
    "Session",
    "Step",
    "Upload",
    "UploadQuerySet",
    "hash_token",
]
