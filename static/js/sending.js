/** Send one picture, whatever the connection does: the same key with every try, so there is never a second job. */

import { ApiError, answer, call } from './api.js';
import { renewSession, sessionToken } from './session.js';
import { backoff, retryAfter } from './use-status.js';

const MOST_TRIES = 8;
const STALLED = 45_000;
const LOOKS = 4;
const LOOK_AGAIN = 1000; // then two seconds, then four: a server may still be busy with what it was sent

/** No answer came; `perhaps` the picture has arrived all the same. */
class Lost extends ApiError {
  constructor(perhaps) {
    super(0);
    this.perhaps = perhaps;
  }
}

/**
 * @typedef {object} Progress
 * @property {'sending'|'arrived'|'again'|'later'} state
 * @property {number} [fraction] 0–1, with `sending`
 * @property {number} [wait] milliseconds, with `again` (no answer came) and `later` (the server asked for time)
 */

/**
 * @param {File} file
 * @param {object} options
 * @param {string} options.key the Idempotency-Key of this picture
 * @param {?string} [options.look] the promptVersion; without one the server takes its default
 * @param {AbortSignal} options.signal ends it; the promise is then rejected with the signal's reason
 * @param {(progress: Progress) => void} options.onProgress
 * @param {(token: string) => void} [options.onDoubt] a try has ended without an answer, and may have started a job
 * @param {(file: File, token: string, options: object) => Promise<object>} [options.post] one try
 * @param {(milliseconds: number, signal: AbortSignal) => Promise<void>} [options.pause]
 * @returns {Promise<object>} the 202's body
 * @throws {ApiError} what no further try can mend
 */
export async function send(file, { post = postOnce, pause = pauseOrOnline, ...options }) {
  let renewed = false;
  for (let tries = 1; ; tries += 1) {
    let token = null;
    try {
      token = await sessionToken();
      return await post(file, token, options);
    } catch (error) {
      if (token && mayHaveArrived(error)) options.onDoubt?.(token);
      options.signal.throwIfAborted();
      if (error.status === 401 && token && !renewed) {
        renewed = true;
        await renewSession(token).catch(() => {}); // the next try opens one, or says why not
        continue;
      }
      if (tries === MOST_TRIES || !mayPass(error)) throw error;
      const wait = Math.max(backoff(tries), error.wait);
      options.onProgress({ state: error.status === 0 ? 'again' : 'later', wait });
      await pause(wait, options.signal);
    }
  }
}

/**
 * Stop the job of a picture that was called off when it may have arrived.
 *
 * @param {string} key the picture's
 * @param {string} token of the session that it was sent in
 * @param {object} [env]
 * @param {typeof call} [env.ask]
 * @param {(milliseconds: number) => Promise<void>} [env.pause]
 * @returns {Promise<?object>} the job's status document, stopped, or over before that; null when it has not arrived
 * @throws {ApiError} when it could not be found out
 */
export async function recall(key, token, { ask = call, pause = pauseOrOnline } = {}) {
  let looks = 0;
  for (let tries = 1; ; tries += 1) {
    let wait = LOOK_AGAIN * 2 ** looks;
    try {
      // The key is also its source: there is nothing else to know it by.
      const { jobs } = await ask('GET', `/api/jobs?source=${encodeURIComponent(key)}`, token);
      if (jobs.length > 0) return await stop(jobs[0].urls, token, ask);
      looks += 1;
      if (looks === LOOKS) return null;
    } catch (error) {
      if (tries === MOST_TRIES || !mayPass(error)) throw error;
      wait = Math.max(backoff(tries), error.wait);
    }
    await pause(wait);
  }
}

async function stop(urls, token, ask) {
  try {
    await ask('POST', urls.cancel, token);
  } catch (error) {
    if (error.code !== 'ALREADY_FINISHED') throw error;
  }
  return ask('GET', urls.status, token);
}

/** Also an answer in the server's place, or of its own after all was done, leaves that open. */
function mayHaveArrived({ status, perhaps = true }) {
  return status === 0 ? perhaps : status >= 500;
}

/**
 * @param {ApiError} error
 * @returns {boolean} whether another try, within minutes, may be answered differently
 */
export function mayPass({ status, code }) {
  return [0, 500, 502, 503, 504].includes(status) || (status === 429 && code !== 'BUDGET_EXHAUSTED');
}

/** XMLHttpRequest, because fetch cannot tell how much has been sent. */
function postOnce(file, token, { key, look, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stall = watchdog(() => request.abort());
    let sent = false;
    // Without a connection, or called off in the middle, not all of it can have gone out.
    const lost = () => reject(new Lost(sent || !(signal.aborted || navigator.onLine === false)));

    request.upload.onload = () => {
      sent = true;
    };
    request.upload.onprogress = ({ loaded, total }) => {
      stall.restart();
      onProgress(loaded < total ? { state: 'sending', fraction: loaded / total } : { state: 'arrived' });
    };
    request.onload = () => resolve(request);
    request.onerror = lost;
    request.onabort = lost;
    request.onloadend = () => {
      stall.end();
      signal.removeEventListener('abort', stop);
    };
    const stop = () => request.abort();
    signal.addEventListener('abort', stop);

    request.open('POST', '/api/uploads');
    request.setRequestHeader('X-Session-Token', token);
    request.setRequestHeader('Idempotency-Key', key);
    onProgress({ state: 'sending', fraction: 0 });
    request.send(form(file, key, look));
  }).then((request) => {
    const headers = { get: (name) => request.getResponseHeader(name) };
    return answer(request.status, request.responseText, retryAfter(headers));
  });
}

function form(file, key, look) {
  const data = new FormData();
  if (look) data.append('promptVersion', look);
  data.append('source', key); // so that a job can be found whose answer was lost
  data.append('image', file, file.name || 'picture');
  return data;
}

/** A dead connection raises no error for minutes: no byte for a while counts as lost. */
function watchdog(bite) {
  let timer = setTimeout(bite, STALLED);
  const end = () => clearTimeout(timer);
  const restart = () => {
    end();
    timer = setTimeout(bite, STALLED);
  };
  return { end, restart };
}

function pauseOrOnline(milliseconds, signal = new AbortController().signal) {
  return new Promise((resolve, reject) => {
    const settled = new AbortController();
    const done = (settle, value) => () => {
      clearTimeout(timer);
      settled.abort();
      settle(value?.());
    };
    const timer = setTimeout(done(resolve), milliseconds);
    addEventListener('online', done(resolve), { signal: settled.signal });
    signal.addEventListener('abort', done(reject, () => signal.reason), { signal: settled.signal });
  });
}

/** @returns {string} a new Idempotency-Key; randomUUID exists only on secure origins */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
