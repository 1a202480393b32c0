/** This browser's session: a token in localStorage, shared by its tabs, opened when first needed. */

import { call } from './api.js';

const KEY = 'darkroom.session';

/** @type {?Promise<string>} */
let opening = null;
/** @type {?string} */
let inMemory = null;

/** @returns {?string} the token, or null before the first upload */
export function storedToken() {
  try {
    return localStorage.getItem(KEY) ?? inMemory;
  } catch {
    return inMemory; // storage may be switched off: the page still works until it is closed
  }
}

/** @returns {Promise<string>} the token, of a new session if there is none yet */
export function sessionToken() {
  const token = storedToken();
  if (token) return Promise.resolve(token);
  opening ??= oneTabAtATime(open).finally(() => {
    opening = null;
  });
  return opening;
}

/**
 * Replace a token that the server no longer knows.
 *
 * @param {string} stale only this one is dropped: another tab may have replaced it already
 * @returns {Promise<string>}
 */
export function renewSession(stale) {
  if (storedToken() === stale) store(null);
  return sessionToken();
}

/**
 * The token opens nothing any more, here or anywhere.
 *
 * @throws {import('./api.js').ApiError} when the server could not be told; then all is as before
 */
export async function closeSession() {
  const token = storedToken();
  if (!token) return;
  try {
    await call('DELETE', '/api/sessions/current', token);
  } catch (error) {
    if (/** @type {import('./api.js').ApiError} */ (error).status !== 401) throw error; // it was closed already
  }
  if (storedToken() === token) store(null);
}

/**
 * Two tabs opened together must share one session, or each would hide the other's pictures.
 *
 * @param {() => Promise<string>} work
 * @returns {Promise<string>}
 */
async function oneTabAtATime(work) {
  return globalThis.navigator?.locks ? navigator.locks.request(KEY, work) : work();
}

async function open() {
  const existing = storedToken();
  if (existing) return existing;
  const { sessionToken: token } = await call('POST', '/api/sessions');
  store(token);
  return token;
}

/** @param {?string} token */
function store(token) {
  inMemory = token;
  try {
    if (token === null) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, token);
  } catch {
    // kept in memory
  }
}
