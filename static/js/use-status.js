/**
 * Watch a job: `useStatus(jobId, { token, onChange })` polls its status until it is over.
 *
 *     const watch = useStatus(jobId, { token, onChange: (snapshot) => draw(snapshot) });
 *     watch.progress; watch.error; watch.stop();
 *
 * From a page on another origin, which the server's `CORS_ORIGINS` has to list, `base` says where the server is:
 *
 *     const watch = useStatus(jobId, { base: 'https://darkroom.example', token, onChange });
 *
 * In React the same object serves as an external store, and polls while a component is subscribed:
 *
 *     const watch = useMemo(() => useStatus(jobId, { token, whileSubscribed: true }), [jobId, token]);
 *     const { stage, progress, error } = useSyncExternalStore(watch.subscribe, watch.getSnapshot);
 *
 * @module
 */

/**
 * Why something is wrong. Ask `kind` first:
 *
 * - `job`: the job itself failed. Final; `code`, `message`, `retryable` and `step` are the record's.
 * - `offline`: no answer came (network down, server gone, time out). Goes on by itself.
 * - `unavailable`: the server answered, but could not say (5xx, 429, or no status at all). Goes on by itself.
 * - `unauthorized`: 401, the token opens nothing. Final.
 * - `not-found`: 404, no such job, or not this token's. Final.
 * - `gone`: 410. Final.
 *
 * With every kind the last known status, stage and progress stay in the snapshot.
 *
 * @typedef {object} StatusError
 * @property {'job'|'offline'|'unavailable'|'unauthorized'|'not-found'|'gone'} kind
 * @property {string} code the server's error code, or OFFLINE / UNAVAILABLE
 * @property {string} message a sentence for a person, from the server where it sent one
 * @property {boolean} retryable `job`: a retry of the job may help; else: the hook keeps trying
 * @property {?string} step the step that failed, only with `job`
 */

/**
 * What is known now. Frozen, and the same object until something changes.
 *
 * @typedef {object} Snapshot
 * @property {?string} status pending, processing, completed or failed; null before the first answer
 * @property {?string} stage
 * @property {number} progress 0–100, never less than before within a run
 * @property {?string} resultId
 * @property {boolean} isLoading no answer yet, and one may still come
 * @property {boolean} isComplete
 * @property {boolean} isFailed the job failed; connection trouble does not count
 * @property {?StatusError} error
 * @property {?StatusDocument} job the last answer, whole
 */

/**
 * What the server says; `/api/docs` has all of it.
 *
 * @typedef {object} StatusDocument
 * @property {string} jobId
 * @property {string} status
 * @property {?string} stage
 * @property {number} progress
 * @property {?string} resultId
 * @property {boolean} isTerminal
 * @property {string} createdAt
 * @property {string} updatedAt
 * @property {?string} startedAt
 * @property {?string} completedAt
 * @property {number} run how often it has been begun, by a retry of the failed job
 * @property {number} attempt
 * @property {number} maxAttempts
 * @property {?string} estimatedCompletionAt
 * @property {?number} estimatedRemainingSeconds
 * @property {?number} retryInSeconds only while a step waits to be tried again
 * @property {?number} queuePosition
 * @property {number} costUsd
 * @property {number} eventCount
 * @property {Record<string, string>} urls paths on the server's origin
 * @property {string} [errorMessage]
 * @property {{ code: string, message: string, retryable: boolean, step: ?string }} [error]
 */

/** @typedef {{ code: number, headers: Headers, body: string }} Answer */

/**
 * @typedef {object} StatusOptions
 * @property {?string} [token] sent as X-Session-Token
 * @property {(snapshot: Snapshot) => void} [onChange] called after each change
 * @property {string} [base] the server's origin, when it is not the page's: `https://darkroom.example`
 * @property {string} [statusUrl] where to ask, when not /api/status/{jobId}
 * @property {boolean} [whileSubscribed] poll only while there is a subscriber
 * @property {number} [whileHidden] least milliseconds between two requests while the page is hidden; without it there
 *   are none. For a page whose title says how far the job is: a browser wakes a hidden page once a minute at times.
 * @property {number} [timeout] milliseconds until a request counts as lost
 * @property {typeof globalThis.fetch} [fetch]
 * @property {() => number} [random] 0 ≤ n < 1, for spread and jitter
 * @property {Poller} [poller] whose timer, clock and page visibility to use; all share one by default
 */

const INTERVAL = 2000;
const SPREAD = 1000;
const FIRST_BACKOFF = 2000;
const LONGEST_BACKOFF = 30_000;
const TIMEOUT = 15_000;
const LONGEST_TIMER = 2 ** 31 - 1; // setTimeout fires at once beyond it

/** @type {Record<number, 'unauthorized'|'not-found'|'gone'>} */
const FINAL_ANSWERS = { 401: 'unauthorized', 404: 'not-found', 410: 'gone' };

/** @type {Snapshot} */
const UNKNOWN = Object.freeze({
  status: null,
  stage: null,
  progress: 0,
  resultId: null,
  isLoading: true,
  isComplete: false,
  isFailed: false,
  error: null,
  job: null,
});

/**
 * The wait that a Retry-After asks for.
 *
 * @param {{ get(name: string): ?string }} headers
 * @returns {number} milliseconds, 0 when it asks for none
 */
export function retryAfter(headers) {
  const value = headers.get('Retry-After')?.trim();
  if (!value) return 0;
  if (/^\d+(\.\d+)?$/.test(value)) return Number(value) * 1000;
  // The server's own clock, where it shows one: a wrong clock here must not turn into a wrong wait.
  const sent = Date.parse(headers.get('Date') ?? '') || Date.now();
  return Math.max(0, Date.parse(value) - sent) || 0;
}

/**
 * Exponential backoff with jitter: between half of and the full 2, 4, 8, 16, 30, 30 … seconds.
 *
 * @param {number} failures in a row, from 1
 * @param {() => number} [random]
 * @returns {number} milliseconds
 */
export function backoff(failures, random = Math.random) {
  const longest = Math.min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (failures - 1));
  return (longest / 2) * (1 + random());
}

/**
 * @typedef {object} PollerEnv
 * @property {number} concurrency requests at once
 * @property {number} spacing least milliseconds between two requests' starts
 * @property {() => number} now monotonic milliseconds
 * @property {typeof globalThis.setTimeout} setTimeout
 * @property {typeof globalThis.clearTimeout} clearTimeout
 * @property {Document} document
 * @property {EventTarget} window
 */

/**
 * One timer for any number of watches: starts what is due, a few requests at a time and a moment apart,
 * ends what takes too long, and rests while the page is hidden, but for those that want to be asked then, too.
 */
export class Poller {
  /** @type {Set<StatusWatch>} */
  #watches = new Set();
  /** @type {Set<StatusWatch>} */
  #asking = new Set();
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  #lastStart = -Infinity;
  #env;

  /**
   * @param {Partial<PollerEnv>} [env] whatever differs from the page's own
   */
  constructor(env = {}) {
    this.#env = { concurrency: 4, spacing: 10, ...env };
  }

  now() {
    return this.#env.now ? this.#env.now() : performance.now();
  }

  /** @param {StatusWatch} watch */
  add(watch) {
    if (this.#watches.size === 0) this.#listen('addEventListener');
    this.#watches.add(watch);
    this.#run();
  }

  /** @param {StatusWatch} watch */
  remove(watch) {
    if (!this.#watches.delete(watch)) return;
    this.#asking.delete(watch);
    if (this.#watches.size === 0) this.#listen('removeEventListener');
    this.#run();
  }

  /**
   * The watch's request is over, or it wants to be asked at another time.
   *
   * @param {StatusWatch} watch
   */
  changed(watch) {
    if (!watch.asking) this.#asking.delete(watch);
    this.#run();
  }

  /** @returns {Document|undefined} none where there is no page */
  get #document() {
    return this.#env.document ?? globalThis.document;
  }

  get #hidden() {
    return this.#document?.hidden === true;
  }

  /** @param {'addEventListener'|'removeEventListener'} method */
  #listen(method) {
    /** @type {Partial<EventTarget>} */
    const page = this.#env.window ?? globalThis;
    this.#document?.[method]('visibilitychange', this.#wake);
    page[method]?.('online', this.#wake);
  }

  #wake = () => {
    if (this.#hidden) return;
    const now = this.now();
    for (const watch of this.#watches) watch.hasten(now);
    this.#run(now);
  };

  #run(now = this.now()) {
    for (const watch of this.#asking) {
      if (watch.deadline > now) continue;
      this.#asking.delete(watch);
      watch.expire();
    }
    let next = this.#nextStart();
    while (next && next.at <= now) {
      this.#lastStart = this.now();
      this.#asking.add(next.watch);
      next.watch.ask();
      next = this.#nextStart();
    }
    this.#arm(next?.at ?? Infinity);
  }

  /** @returns {?{ watch: StatusWatch, at: number }} */
  #nextStart() {
    if (this.#asking.size >= this.#env.concurrency) return null;
    const hidden = this.#hidden;
    /** @type {?{ watch: StatusWatch, due: number }} */
    let first = null;
    for (const watch of this.#watches) {
      const due = hidden ? watch.dueWhileHidden : watch.dueAt;
      if (!watch.asking && due < Infinity && (first === null || due < first.due)) first = { watch, due };
    }
    return first && { watch: first.watch, at: Math.max(first.due, this.#lastStart + this.#env.spacing) };
  }

  /** @param {number} start of the next request */
  #arm(start) {
    const { setTimeout: later = globalThis.setTimeout, clearTimeout: clear = globalThis.clearTimeout } = this.#env;
    clear(this.#timer);
    const at = Math.min(start, ...[...this.#asking].map((watch) => watch.deadline));
    if (at === Infinity) return;
    const wait = Math.max(0, at - this.now());
    // A timer may fire a hair early by the other clock; what it was set for is due all the same.
    const planned = wait < LONGEST_TIMER ? at : -Infinity;
    this.#timer = later(() => this.#run(Math.max(this.now(), planned)), Math.min(wait, LONGEST_TIMER));
  }
}

const sharedPoller = new Poller();

/**
 * Poll a job's status every 2–3 s until it is over.
 *
 * @param {string} jobId
 * @param {StatusOptions} [options]
 * @returns {StatusWatch}
 */
export function useStatus(jobId, options = {}) {
  return new StatusWatch(jobId, options);
}

/** What `useStatus` returns: the snapshot's fields as live getters, and the means to follow or end it. */
export class StatusWatch {
  /** For the poller: when to ask next, and when the request under way counts as lost. */
  dueAt = -Infinity;
  deadline = Infinity;

  /** @type {Snapshot} */
  #snapshot = UNKNOWN;
  /** @type {Set<(snapshot: Snapshot) => void>} */
  #listeners = new Set();
  #url;
  #options;
  #poller;
  /** @type {?AbortController} */
  #request = null;
  /** @type {?string} */
  #etag = null;
  /** @type {?string} */
  #body = null;
  #askedAt = -Infinity;
  #failures = 0;
  #notBefore = -Infinity;
  #stopped = false;
  /** @type {Set<?string>} */
  #leftStages = new Set();

  /**
   * @param {string} jobId
   * @param {StatusOptions} [options]
   */
  constructor(jobId, options = {}) {
    const path = options.statusUrl ?? `/api/status/${encodeURIComponent(jobId)}`;
    this.#url = options.base ? new URL(path, options.base).href : path;
    this.#options = { random: Math.random, timeout: TIMEOUT, whileHidden: Infinity, ...options };
    this.#poller = options.poller ?? sharedPoller;
    if (options.onChange) this.#listeners.add(options.onChange);
    if (!options.whileSubscribed) this.#poller.add(this);
  }

  get status() { return this.#snapshot.status; }
  get stage() { return this.#snapshot.stage; }
  get progress() { return this.#snapshot.progress; }
  get resultId() { return this.#snapshot.resultId; }
  get isLoading() { return this.#snapshot.isLoading; }
  get isComplete() { return this.#snapshot.isComplete; }
  get isFailed() { return this.#snapshot.isFailed; }
  get error() { return this.#snapshot.error; }
  get job() { return this.#snapshot.job; }

  /** @returns {Snapshot} */
  getSnapshot = () => this.#snapshot;

  /**
   * @param {(snapshot: Snapshot) => void} listener called after each change
   * @returns {() => void} ends the subscription
   */
  subscribe = (listener) => {
    /** @type {(snapshot: Snapshot) => void} */
    const entry = (snapshot) => listener(snapshot);
    this.#listeners.add(entry);
    if (this.#options.whileSubscribed && !this.#stopped) this.#poller.add(this);
    return () => {
      this.#listeners.delete(entry);
      if (this.#options.whileSubscribed && this.#subscribers === 0) this.#rest();
    };
  };

  /** Ask now instead of later, whatever the wait; not a second time while a request is under way. */
  refresh = () => {
    this.#notBefore = -Infinity;
    this.dueAt = -Infinity;
    this.#poller.changed(this);
  };

  /** End for good: no request, no timer, no further change. */
  stop = () => {
    this.#stopped = true;
    this.#rest();
  };

  /** For the poller: a request is under way. */
  get asking() {
    return this.#request !== null;
  }

  /** For the poller: when to ask next if the page stays hidden. */
  get dueWhileHidden() {
    const { whileHidden } = this.#options;
    return whileHidden < Infinity ? Math.max(this.dueAt, this.#askedAt + whileHidden) : Infinity;
  }

  /**
   * For the poller: the page is back. Sooner than planned, but not before the server wants to be asked.
   *
   * @param {number} now
   */
  hasten(now) {
    this.dueAt = Math.min(this.dueAt, Math.max(now, this.#notBefore));
  }

  /** For the poller: the time is up. */
  expire() {
    const request = this.#release();
    this.#failed('offline', 'OFFLINE', 'The server did not answer in time.');
    request?.abort();
  }

  /** For the poller: send one request and take its answer. */
  async ask() {
    const request = new AbortController();
    const startedAt = this.#poller.now();
    this.#request = request;
    this.#askedAt = startedAt;
    this.deadline = startedAt + this.#options.timeout;
    const answer = await this.#fetch(request.signal);
    // Given up or stopped meanwhile: an answer that comes late is none.
    if (this.#request !== request) return;
    this.#release();
    this.#take(answer, startedAt);
    this.#poller.changed(this);
  }

  get #subscribers() {
    return this.#listeners.size - (this.#options.onChange ? 1 : 0);
  }

  #rest() {
    this.#release()?.abort();
    this.#poller.remove(this);
  }

  #release() {
    const request = this.#request;
    this.#request = null;
    this.deadline = Infinity;
    return request;
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<?Answer>} null when there was none
   */
  async #fetch(signal) {
    /** @type {Record<string, string>} */
    const headers = { Accept: 'application/json' };
    if (this.#options.token) headers['X-Session-Token'] = this.#options.token;
    if (this.#etag) headers['If-None-Match'] = this.#etag;
    try {
      const ask = this.#options.fetch ?? globalThis.fetch;
      const response = await ask(this.#url, { headers, signal, cache: 'no-store' });
      return { code: response.status, headers: response.headers, body: await response.text() };
    } catch {
      return null;
    }
  }

  /**
   * @param {?Answer} answer
   * @param {number} startedAt
   */
  #take(answer, startedAt) {
    if (answer === null) {
      this.#failed('offline', 'OFFLINE', 'The server cannot be reached.');
      return;
    }
    const unchanged = answer.code === 304 && this.#snapshot.job !== null;
    const job = parse(answer.body);
    const wait = retryAfter(answer.headers);
    if (unchanged || (answer.code === 200 && typeof job?.status === 'string')) {
      this.#answered(startedAt, wait);
      if (unchanged) this.#confirm();
      else this.#see(job, answer);
    } else if (answer.code in FINAL_ANSWERS) {
      this.#refused(FINAL_ANSWERS[answer.code], job?.error);
    } else {
      const said = job?.error;
      this.#failed('unavailable', said?.code ?? 'UNAVAILABLE', said?.message ?? 'The server is busy.', wait);
    }
  }

  /**
   * @param {number} startedAt
   * @param {number} wait
   */
  #answered(startedAt, wait) {
    const { random } = this.#options;
    // A longer wait than ours went to everybody: spread those who come back, and never before it.
    const asked = wait > INTERVAL + SPREAD ? wait * (1 + random() / 10) : wait;
    this.#failures = 0;
    this.#notBefore = -Infinity;
    this.dueAt = Math.max(startedAt + INTERVAL + random() * SPREAD, this.#poller.now() + Math.max(asked, INTERVAL / 2));
  }

  /**
   * @param {'offline'|'unavailable'} kind
   * @param {string} code
   * @param {string} message
   */
  #failed(kind, code, message, wait = 0) {
    const { random } = this.#options;
    const now = this.#poller.now();
    this.#failures += 1;
    this.#notBefore = now + wait;
    this.dueAt = now + Math.max(backoff(this.#failures, random), wait * (1 + random() / 10));
    if (this.#snapshot.error?.code === code) return;
    this.#change({ error: Object.freeze({ kind, code, message, retryable: true, step: null }) });
  }

  /**
   * @param {'unauthorized'|'not-found'|'gone'} kind
   * @param {{ code?: string, message?: string }|undefined} said
   */
  #refused(kind, said) {
    this.stop();
    const code = said?.code ?? kind.toUpperCase().replace('-', '_');
    const error = Object.freeze({ kind, code, message: said?.message ?? '', retryable: false, step: null });
    this.#change({ isLoading: false, error });
  }

  #confirm() {
    if (this.#snapshot.error) this.#change({ error: null });
  }

  /**
   * @param {StatusDocument} job
   * @param {Answer} answer
   */
  #see(job, answer) {
    if (answer.body === this.#body || this.#isOlder(job)) {
      this.#confirm();
      return;
    }
    this.#body = answer.body;
    this.#etag = answer.headers.get('ETag');
    if (job.isTerminal) this.stop();
    this.#change(this.#read(job));
  }

  /**
   * Servers and caches behind one address can lag behind each other. Within a run, whatever has been
   * seen stays seen: less progress, an earlier time or a stage that was left before is an old answer.
   *
   * @param {StatusDocument} job
   */
  #isOlder(job) {
    const seen = this.#snapshot.job;
    if (seen === null) return false;
    if ((job.run ?? 0) !== (seen.run ?? 0)) return job.run < seen.run;
    if (Date.parse(job.updatedAt) < Date.parse(seen.updatedAt) || job.eventCount < seen.eventCount) return true;
    if (job.isTerminal) return false;
    return job.progress < this.#snapshot.progress || this.#leftStages.has(job.stage);
  }

  /**
   * @param {StatusDocument} job
   * @returns {Snapshot}
   */
  #read(job) {
    const sameRun = (job.run ?? 0) === (this.#snapshot.job?.run ?? 0);
    if (!sameRun) this.#leftStages.clear();
    else if (this.#snapshot.job && job.stage !== this.#snapshot.stage) this.#leftStages.add(this.#snapshot.stage);
    const progress = Number(job.progress) || 0;
    return {
      status: job.status,
      stage: job.stage ?? null,
      progress: sameRun ? Math.max(progress, this.#snapshot.progress) : progress,
      resultId: job.resultId ?? null,
      isLoading: false,
      isComplete: job.status === 'completed',
      isFailed: job.status === 'failed',
      error: job.status === 'failed' ? jobError(job) : null,
      job,
    };
  }

  /** @param {Partial<Snapshot>} fields */
  #change(fields) {
    this.#snapshot = Object.freeze({ ...this.#snapshot, ...fields });
    for (const listener of [...this.#listeners]) call(listener, this.#snapshot);
  }
}

/**
 * @param {StatusDocument} job
 * @returns {StatusError}
 */
function jobError(job) {
  /** @type {Partial<NonNullable<StatusDocument['error']>>} */
  const said = job.error ?? {};
  const { code = 'INTERNAL', message = job.errorMessage ?? '', retryable = false, step = null } = said;
  return Object.freeze({ kind: 'job', code, message, retryable, step });
}

/**
 * @param {string} body
 * @returns {any} null when it is no JSON
 */
function parse(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

/**
 * A listener that throws must not end the polling, and must not go unnoticed.
 *
 * @param {(snapshot: Snapshot) => void} listener
 * @param {Snapshot} snapshot
 */
function call(listener, snapshot) {
  try {
    listener(snapshot);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
