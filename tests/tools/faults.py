"""Faults that the tests must notice, for `tests.tools.mutate`: each a change of one file that breaks one promise.

The tests that are named are the cheapest that fail for the fault. `tests/unit/tools/test_faults.py` fails when a
fault no longer fits the code.
"""

from typing import NamedTuple


class Fault(NamedTuple):
    name: str
    promise: str
    """What clients and operators rely on, and the fault breaks."""
    file: str
    old: str
    """Occurs exactly once in the file; `new` takes its place."""
    new: str
    tests: tuple[str, ...]
    """pytest node ids, or one file for `node --test`. Caught when one of them fails."""


RUNNER = "tests/integration/workflows/test_runner.py"
RECOVERY = "tests/integration/workflows/test_recovery.py"
RUN_ON = "tests/integration/workflows/test_run_on.py"
SENDING = "tests/integration/workflows/test_sending.py"
DURABILITY = "tests/integration/workflows/test_durability.py"
UPDATE_STAGE = "tests/integration/uploads/test_update_stage.py"
RETENTION = "tests/integration/uploads/test_retention.py"
BUDGET = "tests/integration/uploads/test_budget.py"
ADMIN = "tests/integration/uploads/test_admin.py"
AUTHORITY = "tests/integration/status/test_authority.py"
STATUS = "tests/integration/status/test_status.py"
EVENTS = "tests/integration/status/test_events.py"
RESULTS = "tests/integration/status/test_results.py"
THROTTLING = "tests/integration/status/test_throttling.py"
ANALYTICS = "tests/integration/status/test_analytics.py"
OUTBOX = "tests/integration/status/webhooks/test_outbox.py"
DELIVERY = "tests/integration/status/webhooks/test_delivery.py"
SHARING = "tests/integration/status/webhooks/test_sharing.py"
ADDRESSES = "tests/unit/status/webhooks/test_addresses.py"
IMAGES = "tests/unit/workflows/test_images.py"
STORAGE = "tests/unit/uploads/test_storage.py"
BROKER = "tests/unit/config/test_filesystem_broker.py"
BODIES = "tests/unit/config/test_bodies.py"
SETTINGS = "tests/unit/config/test_settings.py"
STARTUP = "tests/unit/config/test_parent_death.py"
HOOK = "tests/unit/js/use-status.test.mjs"
HOOK_FORWARD = "tests/unit/js/use-status-forward.test.mjs"
HOOK_PAGE = "tests/unit/js/use-status-page.test.mjs"

FAULTS = (
    # Claims, leases and fencing tokens
    Fault(
        "fence-not-checked",
        "a stale worker changes nothing (6)",
        "uploads/models/upload.py",
        "if fence is not None and row.fence != fence:",
        "if fence is not None and row.fence < fence:",
        (f"{DURABILITY}::test_a_worker_whose_step_was_claimed_anew_changes_nothing",),
    ),
    Fault(
        "fence-outlives-its-step",
        "a late report does not count for the next step (6)",
        "uploads/models/upload.py",
        '            change.columns["fence"] = row.fence + 1\n            return transitions',
        "            return transitions",
        ("tests/system/chaos/test_interrupted.py::test_a_fence_is_void_once_its_step_is_committed",),
    ),
    Fault(
        "lease-ignored-by-claims",
        "a step has one worker; a repeated hint changes nothing (5)",
        "uploads/transitions.py",
        "        or (row.lease_until and row.lease_until > row.db_now)\n",
        "",
        (f"{DURABILITY}::test_a_claimed_step_is_claimed_by_nobody_else",),
    ),
    Fault(
        "lease-never-renewed",
        "a step that works longer than a lease keeps its claim (1)",
        "workflows/runner.py",
        "        while not done.wait(pause):\n",
        "        while not done.wait():\n",
        (f"{RUNNER}::test_the_lease_is_renewed_while_the_work_goes_on",),
    ),
    Fault(
        "renewal-not-repeated",
        "a lease that could not be renewed is tried again soon (4)",
        "workflows/runner.py",
        "pause = third if _renew(job, min(lease, left)) else min(third, RENEW_AGAIN)",
        "pause = third if _renew(job, min(lease, left)) else third",
        (f"{RUNNER}::test_a_lease_that_could_not_be_renewed_is_tried_again_soon",),
    ),
    Fault(
        "lease-renewed-for-ever",
        "a hung step frees its slot by its time limit (12)",
        "workflows/runner.py",
        "            if left <= timedelta(0):\n                return\n"
        "            pause = third if _renew(job, min(lease, left))",
        "            pause = third if _renew(job, max(lease, left))",
        (f"{RUNNER}::test_the_lease_is_not_renewed_past_the_deadline_of_the_step",),
    ),
    Fault(
        "next-step-claimed-late",
        "each step is claimed in the transaction that ends the one before",
        "uploads/models/upload.py",
        "return transitions.gone_on_with(row, change, lease) if lease else change",
        "return change",
        (f"{RUN_ON}::test_a_step_is_claimed_in_the_transaction_that_ends_the_one_before",),
    ),
    # Recovery
    Fault(
        "sweeper-misses-lost-claims",
        "a killed worker's job goes on within lease + sweep (2)",
        "workflows/recovery.py",
        "    free = Q(lease_until=None) | Q(lease_until__lte=Now())\n",
        "    free = Q(lease_until=None)\n",
        (f"{RECOVERY}::test_an_abandoned_step_goes_on_as_the_next_attempt",),
    ),
    Fault(
        "sweeper-misses-lost-hints",
        "an emptied broker delays a job, and does not lose it (3)",
        "workflows/recovery.py",
        "        .exclude(Q(hinted_at__isnull=False) & lately)\n",
        "        .exclude(Q(hinted_at__isnull=False))\n",
        (f"{RECOVERY}::test_a_hint_is_repeated_after_a_minute_then_after_twice_as_long_each_time",),
    ),
    Fault(
        "sweep-ends-with-the-broker",
        "hopeless jobs end also while the broker is away (1, 3)",
        "workflows/pipeline.py",
        "except (OperationalError, OSError) as error:",
        "except ZeroDivisionError as error:",
        (f"{DURABILITY}::test_a_dead_broker_keeps_no_job_from_its_end",),
    ),
    Fault(
        "deadline-ignored",
        "every upload ends before its total deadline (1)",
        "uploads/transitions.py",
        "    if row.deadline_at <= row.db_now:\n",
        "    if row.deadline_at <= row.db_now and row.lease_until is None:\n",
        (f"{RECOVERY}::test_a_job_out_of_time_fails",),
    ),
    Fault(
        "poison-claimed-for-ever",
        "a picture that kills its workers fails after exactly max attempts (10)",
        "uploads/transitions.py",
        "        or row.attempt >= row.max_attempts\n",
        "",
        (f"{DURABILITY}::test_a_late_message_gives_a_poison_picture_no_further_attempt",),
    ),
    Fault(
        "one-attempt-too-many",
        "a step is tried max attempts times (10)",
        "uploads/transitions.py",
        "    if counts and row.attempt >= row.max_attempts:\n",
        "    if counts and row.attempt > row.max_attempts:\n",
        (f"{RUNNER}::test_what_may_pass_is_tried_again_up_to_the_maximum",),
    ),
    Fault(
        "waiting-uses-up-attempts",
        "what is away is waited for without using up attempts (14)",
        "uploads/transitions.py",
        "    attempt = row.attempt if counts else row.attempt - 1\n",
        "    attempt = row.attempt\n",
        (f"{RUNNER}::test_what_is_away_is_waited_for_without_using_up_attempts",),
    ),
    Fault(
        "stopping-uses-up-an-attempt",
        "a deployment costs no attempt (15)",
        "uploads/transitions.py",
        'columns: dict[str, Any] = {"attempt": row.attempt - 1, "fence": row.fence + 1}',
        'columns: dict[str, Any] = {"attempt": row.attempt, "fence": row.fence + 1}',
        (f"{RUNNER}::test_a_worker_that_must_stop_hands_the_step_back",),
    ),
    Fault(
        "stopping-does-not-release",
        "a stopping worker releases its step, and nobody waits for the lease (15)",
        "workflows/runner.py",
        "            job.upload.hand_back(fence=job.fence)\n",
        "            pass\n",
        (f"{RUNNER}::test_a_worker_that_must_stop_hands_the_step_back",),
    ),
    Fault(
        "no-hint-for-the-next-step",
        "the next step begins at once, not with the next sweep",
        "workflows/runner.py",
        "            if _is_done(upload, step):\n                hint(upload)\n",
        "",
        (f"{RUN_ON}::test_what_another_worker_does_is_hinted_there",),
    ),
    # The record goes forward
    Fault(
        "progress-may-fall",
        "no poller sees progress go back (7)",
        "uploads/transitions.py",
        "    if progress <= row.progress:\n",
        "    if progress == row.progress:\n",
        (f"{RUNNER}::test_a_second_attempt_never_shows_less_progress",),
    ),
    Fault(
        "stage-may-go-back",
        "no poller sees the stage go back (7)",
        "uploads/stages.py",
        "return rank(new) >= rank(old) and new_progress >= old_progress",
        "return new_progress >= old_progress",
        (f"{UPDATE_STAGE}::test_nothing_goes_back",),
    ),
    Fault(
        "lost-update",
        "of two writers at once the slower one decides anew (7)",
        "uploads/models/upload.py",
        "Upload.objects.filter(pk=self.pk, version=self.version, lease_until=self.lease_until)",
        "Upload.objects.filter(pk=self.pk)",
        (f"{DURABILITY}::test_a_writer_that_was_overtaken_decides_anew",),
    ),
    Fault(
        "change-in-pieces",
        "a stage, its event and its outbox entry are written together or not at all (4, 8)",
        "uploads/models/upload.py",
        "            with transaction.atomic():\n                # On SQLite",
        "            if True:\n                # On SQLite",
        (f"{DURABILITY}::test_a_change_is_written_whole_or_not_at_all",),
    ),
    Fault(
        "event-numbers-skip",
        "events are numbered 1, 2, 3 … without a gap (9)",
        "uploads/models/upload.py",
        '"event_count": self.event_count + len(change.events),',
        '"event_count": self.event_count + max(1, len(change.events)),',
        (f"{EVENTS}::test_a_job_without_trouble",),
    ),
    Fault(
        "retry-in-the-same-run",
        "a retry is a run of its own",
        "uploads/transitions.py",
        '            "run": row.run + 1,\n',
        '            "run": row.run,\n',
        (f"{UPDATE_STAGE}::test_retry_starts_a_new_run_at_the_failed_step",),
    ),
    Fault(
        "retry-from-the-start",
        "a retry keeps what is done, and pays nothing twice (17)",
        "uploads/transitions.py",
        "    step = StepName(row.failed_step)\n",
        "    step = FIRST_STEP\n",
        (f"{RUNNER}::test_a_retried_job_keeps_what_was_done",),
    ),
    # Files and transactions
    Fault(
        "file-seen-in-part",
        "no partial file is ever visible (14)",
        "uploads/storage.py",
        "        with self._written(target, content.chunks()) as aside:\n            aside.rename(target)\n",
        "        target.parent.mkdir(parents=True, exist_ok=True)\n"
        '        with target.open("wb") as file:\n            file.writelines(content.chunks())\n',
        (f"{STORAGE}::test_a_file_is_seen_once_it_is_whole",),
    ),
    Fault(
        "half-a-file-stays",
        "a full disk leaves nothing behind (14)",
        "uploads/storage.py",
        "        except BaseException:\n            aside.unlink(missing_ok=True)\n            raise\n",
        "        except ZeroDivisionError:\n            raise\n",
        (f"{SENDING}::test_a_disk_that_fills_while_writing_refuses_the_picture_and_leaves_nothing",),
    ),
    Fault(
        "step-in-a-transaction",
        "no transaction is open while a step works (11)",
        "workflows/runner.py",
        "        with _lease(job):\n",
        '        with _lease(job), __import__("django.db.transaction").db.transaction.atomic():\n',
        (f"{DURABILITY}::test_no_transaction_is_open_while_files_are_read_or_written",),
    ),
    Fault(
        "upload-in-a-transaction",
        "no transaction is open while a picture is stored (11)",
        "uploads/intake.py",
        "    with _stored(store) ",
        "    with transaction.atomic(), _stored(store) ",
        (f"{DURABILITY}::test_no_transaction_is_open_while_files_are_read_or_written",),
    ),
    Fault(
        "second-sender-has-an-error",
        "the same Idempotency-Key at the same time is one upload (16)",
        "uploads/intake.py",
        "        except IntegrityError:\n",
        "        except ZeroDivisionError:\n",
        (f"{DURABILITY}::test_who_comes_second_with_a_key_has_the_job_of_the_first",),
    ),
    Fault(
        "deleting-leaves-files",
        "the files of a deleted job go",
        "uploads/retention.py",
        "if not over() and _remove_files(str(upload_id))]",
        "if not over()]",
        (f"{RETENTION}::test_what_is_deleted_goes_once_no_worker_can_be_writing",),
    ),
    Fault(
        "deleted-under-a-worker",
        "files of a deleted job stay until no worker can be writing",
        "uploads/retention.py",
        "    safe = timezone.now() - settings.STEP_TIMEOUT - 2 * settings.STEP_LEASE\n",
        "    safe = timezone.now()\n",
        (f"{RETENTION}::test_what_is_deleted_goes_once_no_worker_can_be_writing",),
    ),
    Fault(
        "retention-too-early",
        "pictures are kept for RETENTION_DAYS",
        "uploads/retention.py",
        "timedelta(days=settings.RETENTION_DAYS) - AFTER_THE_LAST_RETRY",
        "timedelta(days=settings.RETENTION_DAYS - 1) - AFTER_THE_LAST_RETRY",
        (f"{RETENTION}::test_files_go_after_the_retention_and_the_status_stays",),
    ),
    # Pictures
    Fault(
        "exif-kept",
        "no served file says where or when the sender took it (24)",
        "workflows/images.py",
        "    bare.info = {}\n",
        "    bare.info = dict(image.info)\n",
        (f"{IMAGES}::test_nothing_but_pixels_is_left",),
    ),
    Fault(
        "truncated-file-accepted",
        "a file that breaks off is UNREADABLE_IMAGE",
        "workflows/images.py",
        "image.load()\n",
        'vars(__import__("PIL.ImageFile").ImageFile).update(LOAD_TRUNCATED_IMAGES=True) or image.load()\n',
        (f"{IMAGES}::test_a_truncated_file_is_unreadable",),
    ),
    Fault(
        "orientation-ignored",
        "pictures come out upright",
        "workflows/images.py",
        "UPRIGHT.get(formats.orientation_of(outline, image))",
        "UPRIGHT.get(1)",
        (f"{IMAGES}::test_every_orientation_comes_out_upright",),
    ),
    # Authority and limits
    Fault(
        "results-of-other-sessions",
        "a token opens only its own session's results",
        "status/views.py",
        "        upload__session=session, upload__deleted_at=None,",
        "        upload__deleted_at=None,",
        (f"{AUTHORITY}::test_somebody_elses_deleted_unknown_and_malformed_are_all_the_same",),
    ),
    Fault(
        "deleted-job-shown",
        "a deleted job is 404",
        "status/authentication.py",
        "condition=Q(uploads__id=upload_id, uploads__deleted_at=None)",
        "condition=Q(uploads__id=upload_id)",
        (f"{AUTHORITY}::test_somebody_elses_deleted_unknown_and_malformed_are_all_the_same",),
    ),
    Fault(
        "404-before-401",
        "the token is judged before the id",
        "status/authentication.py",
        '    if row is None:\n        raise CodedError("UNAUTHORIZED")\n',
        '    if row is None:\n        raise CodedError("NOT_FOUND")\n',
        (f"{AUTHORITY}::test_without_a_known_token_nothing_is_told",),
    ),
    Fault(
        "etag-misses-progress",
        "304 only while nothing has changed (7)",
        "status/authentication.py",
        "return Found(f'\"{version}\"', stage,",
        "return Found(f'\"{stage}\"', stage,",
        (f"{STATUS}::test_an_unchanged_job_is_304",),
    ),
    Fault(
        "full-picture-without-unlocking",
        "the full picture is private until it is unlocked",
        "status/projections.py",
        '"fullUrl": result.full.url if result.unlocked_at else None,',
        '"fullUrl": result.full.url,',
        (f"{RESULTS}::test_the_full_picture_is_private_until_an_admin_unlocks_it",),
    ),
    Fault(
        "links-for-ever",
        "links to pictures expire",
        "uploads/storage.py",
        "return _to_show.unsign_object(link, max_age=age), False",
        "return _to_show.unsign_object(link), False",
        (f"{RESULTS}::test_a_link_expires",),
    ),
    Fault(
        "throttle-does-not-count",
        "uploads of one session are limited",
        "status/throttling.py",
        "    try:\n        return cache.incr(key)\n",
        "    try:\n        return cache.get(key) or cache.incr(key)\n",
        (f"{THROTTLING}::test_uploads_of_one_session",),
    ),
    Fault(
        "body-without-end",
        "a body in chunks is read to the limit and no further",
        "config/bodies.py",
        "        if self._length is None and self._received >= self._longest:\n",
        "        if self._length is not None and self._received >= self._longest:\n",
        (f"{BODIES}::test_a_body_in_chunks_ends_at_the_limit",),
    ),
    Fault(
        "senders-take-every-thread",
        "slow senders never hold those who only ask",
        "config/bodies.py",
        "                while not (self._free and self._waiting[0] is turn):\n",
        "                while not self._waiting[0] is turn:\n",
        (f"{BODIES}::test_one_body_too_many_is_refused",),
    ),
    # Told outside
    Fault(
        "crash-between-delivery-and-entry",
        "a publisher that is killed leaves the entry for the next one (8)",
        "status/outbox.py",
        "    with transaction.atomic():\n"
        "        held = OutboxEntry.objects.select_for_update(skip_locked=True).filter(pk__in=messages)\n"
        '        mine = [messages[pk] for pk in held.order_by("pk").values_list("pk", flat=True)]\n',
        "    if True:\n        held = OutboxEntry.objects.filter(pk__in=messages)\n"
        '        mine = [messages[pk] for pk in held.order_by("pk").values_list("pk", flat=True)]\n'
        "        held.delete()\n",
        (f"{DURABILITY}::test_a_publisher_that_dies_leaves_all_to_the_next",),
    ),
    Fault(
        "webhook-id-of-the-attempt",
        "a webhook's id is the same on every try (8)",
        "status/deliverer.py",
        "headers = webhooks.headers(delivery.message_id, ",
        'headers = webhooks.headers(f"{delivery.message_id}_{delivery.attempts}", ',
        (f"{DELIVERY}::test_anything_else_is_tried_again_with_the_same_id_and_body",),
    ),
    Fault(
        "signature-over-other-bytes",
        "a receiver can verify what it was sent",
        "status/webhooks.py",
        "Webhook(secret).sign(message, now, text)",
        "Webhook(secret).sign(message, now, text[:100])",
        (f"{DELIVERY}::test_a_message_arrives_and_verifies",),
    ),
    Fault(
        "private-address-behind-a-public-one",
        "every resolved address of a webhook is checked",
        "status/posting.py",
        'original["port"], type=socket.SOCK_STREAM):',
        'original["port"], type=socket.SOCK_STREAM)[:1]:',
        (f"{ADDRESSES}::test_one_bad_address_among_good_ones_is_enough",),
    ),
    Fault(
        "receiver-hangs-for-ever",
        "a hung receiver frees its slot by its time limit (12)",
        "status/posting.py",
        "    timer = threading.Timer(seconds, deadline.end)\n",
        "    timer = threading.Timer(seconds + 20, deadline.end)\n",
        (f"{DELIVERY}::test_a_receiver_that_hangs_or_drips_is_cut_off",),
    ),
    Fault(
        "message-of-a-killed-deliverer-lost",
        "what a killed deliverer had taken is tried again (8)",
        "status/models.py",
        "            due_at=Now() + LEASE,\n",
        "            due_at=Now() + 1000 * LEASE,\n",
        (f"{DELIVERY}::test_what_a_lost_deliverer_had_taken_is_tried_again",),
    ),
    Fault(
        "late-answer-counts",
        "an attempt that was given up does not settle its message",
        "status/models.py",
        "filter(pk=self.pk, attempts=self.attempts, status=self.PENDING)",
        "filter(pk=self.pk, status=self.PENDING)",
        (f"{DURABILITY}::test_the_answer_to_an_attempt_that_was_given_up_does_not_count",),
    ),
    Fault(
        "stopping-deliverer-keeps-its-messages",
        "a stopping deliverer hands back what it has begun (15)",
        "status/deliverer.py",
        "            _insist(delivery.hand_back)\n",
        "            pass\n",
        (f"{SHARING}::test_what_is_on_its_way_when_the_process_stops_is_handed_back",),
    ),
    Fault(
        "stopping-deliverer-goes-on",
        "a stopping deliverer begins nothing more (15)",
        "status/deliverer.py",
        "        while not stopping.is_set():\n",
        "        while True:\n",
        (f"{SHARING}::test_what_is_on_its_way_when_the_process_stops_is_handed_back",),
    ),
    Fault(
        "posthog-counts-twice",
        "one analytics event per transition (8)",
        "status/analytics.py",
        'uuid=uuid5(NAMESPACE, f"{upload.pk}.{event.seq}"),',
        "uuid=UUID(int=random.getrandbits(128)),",
        (f"{DURABILITY}::test_what_is_told_twice_counts_once",),
    ),
    Fault(
        "admin-act-not-audited",
        "what an admin does is written down",
        "uploads/admin.py",
        "        LogEntry.objects.log_actions(request.user.pk or 0, [upload], CHANGE, operation.written)\n",
        "",
        (f"{ADMIN}::test_actions_follow_the_rules_of_the_record_and_are_written_down",),
    ),
    # Money
    Fault(
        "paid-call-repeated",
        "a paid call is not repeated once its picture is stored (17)",
        "workflows/generators/paid.py",
        "        if raw is not None and not _flaw(raw):\n",
        "        if raw is not None and _flaw(raw):\n",
        (f"{DURABILITY}::test_a_worker_that_dies_with_a_picture_it_has_paid_for_leaves_it_to_the_next",),
    ),
    Fault(
        "budget-ignored",
        "no call goes over DAILY_BUDGET_USD",
        "uploads/budget.py",
        "        if sum(_called()) + cost > limit:\n",
        "        if sum(_called()) > limit:\n",
        (f"{BUDGET}::test_a_call_that_the_day_has_no_room_for_waits_for_the_next",),
    ),
    # Processes and brokers
    Fault(
        "broker-shows-half-a-message",
        "a message is seen once it is whole",
        "config/broker.py",
        "        aside = self._aside / uuid4().hex\n        try:\n",
        '        aside = path.with_name(path.name + ".part")\n        try:\n',
        (f"{BROKER}::test_a_message_is_seen_once_it_is_whole_and_by_one_consumer",),
    ),
    Fault(
        "broker-delivers-twice",
        "a message goes to one consumer",
        "config/broker.py",
        "            claimed.unlink()\n",
        "            claimed.rename(path)\n",
        (f"{BROKER}::test_a_message_is_seen_once_it_is_whole_and_by_one_consumer",),
    ),
    Fault(
        "message-kills-worker-after-worker",
        "a message whose worker dies is not delivered again for ever (10)",
        "config/settings.py",
        "CELERY_TASK_REJECT_ON_WORKER_LOST = False",
        "CELERY_TASK_REJECT_ON_WORKER_LOST = True",
        (f"{SETTINGS}::test_a_message_whose_worker_dies_is_not_delivered_again",),
    ),
    Fault(
        "shutdown-grace-ignored",
        "SHUTDOWN_GRACE_SECONDS is what a stopping worker gives its steps (15)",
        "config/settings.py",
        'CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = _number("SHUTDOWN_GRACE_SECONDS", 10)',
        "CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 0.0",
        (f"{SETTINGS}::test_the_grace_of_a_stopping_worker_is_what_was_set",),
    ),
    Fault(
        "uploads-wait-for-a-dead-broker",
        "an upload is accepted within a bounded time without a broker (3)",
        "config/settings.py",
        "_BROKER_PATIENCE = 1\n",
        "_BROKER_PATIENCE = 30\n",
        (f"{SETTINGS}::test_no_broker_is_waited_for_longer_than_two_seconds",),
    ),
    Fault(
        "unconfirmed-publishing",
        "RabbitMQ confirms what it takes (3)",
        "config/settings.py",
        '        "confirm_publish": True,\n',
        "",
        (f"{SETTINGS}::test_rabbitmq_confirms_and_replicates",),
    ),
    Fault(
        "redis-delivers-again-too-early",
        "Redis does not deliver again what is still worked on (5)",
        "config/settings.py",
        '"visibility_timeout": max(2 * CELERY_TASK_TIME_LIMIT + 60, 900),',
        '"visibility_timeout": 900,',
        (f"{SETTINGS}::test_redis_does_not_deliver_again_what_is_still_worked_on",),
    ),
    Fault(
        "orphans-serve-on",
        "a child ends with its parent, whatever kills it",
        "config/startup.py",
        "ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)",
        "ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0)",
        (f"{STARTUP}::test_the_kernel_ends_a_child_with_its_parent",),
    ),
    # The hook
    Fault(
        "hook-shows-less-progress",
        "the hook never shows less progress within a run (7)",
        "static/js/use-status.js",
        "    return job.progress < this.#snapshot.progress || this.#leftStages.has(job.stage);\n",
        "    return this.#leftStages.has(job.stage);\n",
        (HOOK_FORWARD,),
    ),
    Fault(
        "hook-shows-a-left-stage",
        "the hook never shows a stage that was left (7)",
        "static/js/use-status.js",
        " || this.#leftStages.has(job.stage);\n",
        ";\n",
        (HOOK_FORWARD,),
    ),
    Fault(
        "hook-polls-while-hidden",
        "a hidden page asks nothing",
        "static/js/use-status.js",
        "    const hidden = this.#hidden;\n",
        "    const hidden = false;\n",
        (HOOK_PAGE,),
    ),
    Fault(
        "hook-ignores-retry-after",
        "the hook waits as long as Retry-After says",
        "static/js/use-status.js",
        "this.#poller.now() + Math.max(asked, INTERVAL / 2));",
        "this.#poller.now() + INTERVAL / 2);",
        (HOOK,),
    ),
    Fault(
        "hook-polls-for-ever",
        "the hook stops when the job has ended",
        "static/js/use-status.js",
        "    if (job.isTerminal) this.stop();\n",
        "",
        (HOOK,),
    ),
)
