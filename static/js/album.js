/** The jobs that this browser has started, newest first, for lists that work without the server's own. */

const KEY = 'darkroom.jobs';
const MOST = 50;

/**
 * @typedef {object} Entry
 * @property {string} jobId
 * @property {string} name the file's
 * @property {string} page
 * @property {string} status the URL to poll
 */

/** @returns {Entry[]} */
export function entries() {
  try {
    return parsed(localStorage.getItem(KEY));
  } catch {
    return [];
  }
}

/** @param {Entry} entry put first; a known job is not listed twice */
export function remember(entry) {
  store([entry, ...entries().filter(({ jobId }) => jobId !== entry.jobId)].slice(0, MOST));
}

/** @param {string} jobId */
export function forget(jobId) {
  store(entries().filter((entry) => entry.jobId !== jobId));
}

export function forgetAll() {
  store([]);
}

/** @param {(change: { added: Entry[], removed: Entry[] }) => void} tell called when another tab has changed the list */
export function onChangeElsewhere(tell) {
  addEventListener('storage', ({ key, oldValue, newValue }) => {
    if (key !== KEY) return;
    const [before, after] = [parsed(oldValue), parsed(newValue)];
    const without = (list, other) => list.filter(({ jobId }) => !other.some((entry) => entry.jobId === jobId));
    // A full list drops its oldest with every new one: that one is not gone.
    tell({ added: without(after, before), removed: after.length < before.length ? without(before, after) : [] });
  });
}

function parsed(text) {
  try {
    const stored = JSON.parse(text ?? '[]');
    return Array.isArray(stored) ? stored.filter((entry) => typeof entry?.jobId === 'string') : [];
  } catch {
    return [];
  }
}

function store(list) {
  try {
    localStorage.setItem(KEY, JSON.stringify(list));
  } catch {
    // no storage: the list is a convenience
  }
}
