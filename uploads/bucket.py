"""Pictures in a bucket: S3, R2, and whatever speaks like them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import urlsplit

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.files import File
from storages.backends.s3 import S3Storage

from uploads.storage import shown_as

MEBIBYTE = 1024 * 1024
PATIENCE = 15
"""Seconds without a word from the bucket, after which it is asked once more, and then given up."""
PAGE = 1000
"""Names in one answer; no server tells more."""
PART = 8 * MEBIBYTE
"""What is larger is sent in parts of this size, one after the other: an upload takes no more memory than one part."""


class BucketStorage(S3Storage):
    """A file is seen whole or not at all, and never replaced. No object is public: links are signed, and expire."""

    def get_default_settings(self) -> dict[str, Any]:
        own_address = bool(settings.S3_ENDPOINT_URL)
        defaults: dict[str, Any] = super().get_default_settings()
        return defaults | {
            "bucket_name": settings.S3_BUCKET,
            "endpoint_url": settings.S3_ENDPOINT_URL or None,
            "access_key": settings.S3_ACCESS_KEY_ID or None,
            "secret_key": settings.S3_SECRET_ACCESS_KEY or None,
            "region_name": settings.S3_REGION,
            "default_acl": None,
            "file_overwrite": False,
            "querystring_expire": settings.RESULT_LINK_SECONDS,
            "transfer_config": TransferConfig(
                multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=1, use_threads=False
            ),
            "client_config": Config(
                signature_version="s3v4",
                # Few servers of one's own know a bucket by its host name.
                s3={"addressing_style": "path" if own_address else "auto"},
                # R2 knows no other checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=PATIENCE / 3,
                read_timeout=PATIENCE,
                retries={"mode": "standard", "total_max_attempts": 2},
            ),
        }

    @cached_property
    def connection(self) -> Any:
        """One for all threads: a client may be shared, and each costs as much as the errand of a short thread."""
        return self._create_session().resource(
            "s3", region_name=self.region_name, endpoint_url=self.endpoint_url, config=self.client_config
        )

    @property
    def _client(self) -> Any:
        return self.connection.meta.client

    def get_object_parameters(self, name: str) -> dict[str, Any]:
        """What the sender called the file says nothing about it."""
        return {"ContentType": shown_as(name)[1], "CacheControl": f"private, max-age={settings.RESULT_LINK_SECONDS}"}

    def url(
        self,
        name: str,
        parameters: dict[str, Any] | None = None,
        expire: int | None = None,
        http_method: str | None = None,
    ) -> str:
        shown = self._shown(name, "inline") | (parameters or {})
        return str(super().url(name, shown, expire, http_method))

    def download_url(self, name: str | None) -> str:
        return self.url(str(name), self._shown(str(name), "attachment"))

    def _shown(self, name: str, disposition: str) -> dict[str, Any]:
        file, kind = shown_as(name)
        return {"ResponseContentType": kind, "ResponseContentDisposition": f'{disposition}; filename="{file}"'}

    def origin(self) -> str:
        link = urlsplit(self.url("any/file"))
        return f"{link.scheme}://{link.netloc}"

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        """All of it, here: once it is open, no network can fail."""
        file = SpooledTemporaryFile(max_size=PART)  # noqa: SIM115 - closed by whoever asked for it
        try:
            self._fetch(name, file)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return File(file, name)

    def _fetch(self, name: str, file: IO[bytes]) -> None:
        with _as_os_error("read", name):
            response = self._client.get_object(Bucket=self.bucket_name, Key=self._normalize_name(name))
            # Not as a context: that would hand out what is below it, which does not miss the end of a broken answer.
            with closing(response["Body"]) as body:
                copyfileobj(body, file, MEBIBYTE)

    def _save(self, name: str, content: File[Any]) -> str:
        with _as_os_error("write", name):
            return str(super()._save(name, content))

    def put_if_absent(self, name: str, data: bytes) -> bool:
        try:
            with _as_os_error("write", name):
                self._client.put_object(
                    Bucket=self.bucket_name,
                    Key=self._normalize_name(name),
                    Body=data,
                    IfNoneMatch="*",
                    **self.get_object_parameters(name),
                )
        except FileExistsError:
            return False
        return True

    def copy(self, name: str, to: str) -> str:
        """By the bucket itself."""
        if self.exists(to):
            raise FileExistsError(f"could not copy {name}: there is {to}")
        with _as_os_error("copy", name):
            self._client.copy_object(
                Bucket=self.bucket_name,
                Key=self._normalize_name(to),
                CopySource={"Bucket": self.bucket_name, "Key": self._normalize_name(name)},
                **self.get_object_parameters(to),
                MetadataDirective="REPLACE",
            )
        return to

    def exists(self, name: str) -> bool:
        with _as_os_error("look for", name):
            return bool(super().exists(name))

    def delete(self, name: str) -> None:
        with _as_os_error("delete", name):
            super().delete(name)

    def listdir(self, name: str) -> tuple[list[str], list[str]]:
        with _as_os_error("list", name):
            folders, files = super().listdir(name)
            return list(folders), list(files)

    def folders(self) -> Iterator[str]:
        for page in self._pages(Delimiter="/"):
            yield from (entry["Prefix"].rstrip("/") for entry in page.get("CommonPrefixes", ()))

    def delete_folder(self, folder: str) -> None:
        # One by one: there are few, and not every server knows how to delete many.
        for page in self._pages(Prefix=f"{folder}/"):
            for entry in page.get("Contents", ()):
                self.delete(entry["Key"])

    def _pages(self, **what: str) -> Iterator[dict[str, Any]]:
        listing = self._client.get_paginator("list_objects_v2")
        pages = iter(listing.paginate(Bucket=self.bucket_name, PaginationConfig={"PageSize": PAGE}, **what))
        while True:
            with _as_os_error("list", what.get("Prefix", "")):
                page = next(pages, None)
            if page is None:
                return
            yield page


@contextmanager
def _as_os_error(doing: str, name: str) -> Iterator[None]:
    """The bucket's refusals and the network's failures, as a disk would tell them."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        words = f"could not {doing} {name}: the bucket says {code}"
        if code in {"NoSuchKey", "404"}:
            raise FileNotFoundError(words) from error
        if code in {"PreconditionFailed", "412"}:
            raise FileExistsError(words) from error
        raise OSError(words) from error
    except (BotoCoreError, Boto3Error) as error:
        raise OSError(f"could not {doing} {name}: {type(error).__name__}: {error}") from error
