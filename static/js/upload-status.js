/**
 * How far jobs are, in any page, with one script tag and without a line of script:
 *
 *     <script type="module" src="/static/js/upload-status.js"></script>
 *     <div data-upload-status="JOB"></div>
 *
 * or from a script, with whatever differs:
 *
 *     const watch = uploadStatus(element, { jobId, token });
 *     watch.stop();
 *
 * The token is the element's `data-token`, else the one that this browser's own uploads have. A page on another origin
 * names Darkroom's in `data-base`; only `data-token` is sent there, never what this origin has stored. Elements may come
 * and go: those that are taken out of the page, or given another job, are watched no more. However many there are,
 * they share one timer and few requests at a time.
 *
 * In the element a `<progress>` and a sentence appear; its `data-status` and `data-stage` are for style sheets, and
 * each change is an event, `upload-status`, whose `detail` is the {@link Snapshot}.
 *
 * @module
 */

import { storedToken } from './session.js';
import { useStatus } from './use-status.js';

/** @typedef {import('./use-status.js').Snapshot} Snapshot */
/** @typedef {import('./use-status.js').StatusWatch} StatusWatch */
/** @typedef {import('./use-status.js').StatusOptions} StatusOptions */

/** @typedef {Record<keyof typeof WORDS, string> & Record<string, string|undefined>} Words */

/**
 * What is said of each stage and status; a page in another language puts its own in their place. For errors, whose
 * sentences are the server's, it may have words by their codes: `{ UNREADABLE_IMAGE: '…', NOT_FOUND: '…' }`.
 */
export const WORDS = {
  loading: 'One moment',
  pending: 'Waiting in line',
  validating: 'Checking',
  generating: 'Developing',
  storing: 'Storing',
  watermarking: 'Watermarking',
  processing: 'Working',
  completed: 'Ready',
  failed: 'Did not come out',
  unknown: 'Cannot be shown',
  stale: '{says} (no connection at the moment)',
};

const ATTRIBUTE = 'data-upload-status';

/** @type {Map<HTMLElement, { jobId: string, watch: StatusWatch }>} */
const shown = new Map();

/**
 * Show a job in an element, in place of what it holds.
 *
 * @param {HTMLElement} element
 * @param {StatusOptions & { jobId: string, words?: Partial<Words> }} options those of `useStatus`, the job, and other words
 * @returns {StatusWatch} whose `stop()` ends it
 */
export function uploadStatus(element, { jobId, words = {}, onChange, ...options }) {
  const bar = document.createElement('progress');
  bar.max = 100;
  const says = document.createElement('span');
  says.setAttribute('role', 'status'); // it changes with the stage, not with every point of progress
  element.replaceChildren(bar, ' ', says);
  /** @param {Snapshot} snapshot */
  const draw = (snapshot) => {
    show(element, { bar, says, words: { ...WORDS, ...words } }, snapshot);
    onChange?.(snapshot);
    element.dispatchEvent(new CustomEvent('upload-status', { detail: snapshot, bubbles: true }));
  };
  const token = options.base ? null : storedToken(); // a stored token belongs to the page's own origin
  const watch = useStatus(jobId, { token, ...options, onChange: draw });
  draw(watch.getSnapshot());
  return watch;
}

/**
 * @param {HTMLElement} element
 * @param {{ bar: HTMLProgressElement, says: HTMLElement, words: Words }} parts
 * @param {Snapshot} snapshot
 */
function show(element, { bar, says, words }, snapshot) {
  const { status, stage, progress, error, isLoading } = snapshot;
  element.dataset.status = status ?? (isLoading ? 'loading' : 'unknown');
  element.dataset.stage = stage ?? '';
  bar.value = progress;
  bar.hidden = element.dataset.status === 'unknown';
  const sentence = sentenceOf(snapshot, words);
  const stale = (error?.kind === 'offline' || error?.kind === 'unavailable') && status !== null;
  const said = stale ? words.stale.replace('{says}', sentence) : sentence;
  bar.setAttribute('aria-label', sentence);
  if (says.textContent !== said) says.textContent = said;
}

/**
 * @param {Snapshot} snapshot
 * @param {Words} words
 * @returns {string}
 */
function sentenceOf({ status, stage, error, isLoading }, words) {
  if (status === 'failed') return words[error?.code ?? ''] || error?.message || words.failed;
  if (status === 'processing') return words[stage ?? ''] ?? words.processing;
  if (status !== null) return words[status] ?? words.processing;
  return isLoading ? words.loading : words[error?.code ?? ''] || error?.message || words.unknown;
}

/** Brings what is watched in line with what the page holds. */
function follow() {
  for (const [element, { jobId, watch }] of shown) {
    if (element.isConnected && element.getAttribute(ATTRIBUTE) === jobId) continue;
    watch.stop();
    shown.delete(element);
  }
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(`[${ATTRIBUTE}]`))) {
    const jobId = element.getAttribute(ATTRIBUTE);
    if (!jobId || shown.has(element)) continue;
    const { base, token } = element.dataset;
    shown.set(element, { jobId, watch: uploadStatus(element, { jobId, base, ...(token && { token }) }) });
  }
}

/** Called by itself when the script is loaded as a page's module. */
function watchPage() {
  follow();
  const changes = { subtree: true, childList: true, attributes: true, attributeFilter: [ATTRIBUTE] };
  new MutationObserver(follow).observe(document.documentElement, changes);
}

watchPage();
