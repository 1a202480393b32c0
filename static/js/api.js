/** One request to the API that is not a poll: JSON in, JSON out, and one kind of error for all that can go wrong. */

import { retryAfter } from './use-status.js';

const TIMEOUT = 20_000;

/** The API said no, or nothing. `status` is 0 when no answer came; `wait` is the Retry-After in milliseconds. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {?{ code: string, message: string, retryable: boolean }} [said] the answer's `error`
   * @param {number} [wait]
   */
  constructor(status, said = null, wait = 0) {
    super(said?.message ?? '');
    this.status = status;
    this.code = said?.code ?? codeOf(status);
    this.retryable = said?.retryable ?? (status === 0 || status >= 500);
    this.wait = wait;
  }
}

/**
 * Something between us and the API answered in its place: an error page, without a code.
 *
 * @param {number} status
 */
function codeOf(status) {
  /** @type {Record<number, string>} */
  const codes = { 0: 'OFFLINE', 401: 'UNAUTHORIZED', 404: 'NOT_FOUND', 405: 'METHOD_NOT_ALLOWED', 410: 'EXPIRED', 413: 'FILE_TOO_LARGE', 429: 'RATE_LIMITED' };
  return codes[status] ?? (status > 500 ? 'UNAVAILABLE' : 'INTERNAL');
}

/**
 * @param {string} method
 * @param {string} url
 * @param {?string} [token]
 * @param {{ key?: string, body?: object }} [more] an Idempotency-Key, and what is sent as JSON
 * @returns {Promise<Record<string, any>>} the answer's JSON, `{}` when it has none
 * @throws {ApiError}
 */
export async function call(method, url, token = null, { key, body } = {}) {
  const headers = {
    Accept: 'application/json',
    ...(token && { 'X-Session-Token': token }),
    ...(key && { 'Idempotency-Key': key }),
    ...(body && { 'Content-Type': 'application/json' }),
  };
  let response;
  let text;
  try {
    response = await fetch(url, {
      method,
      headers,
      body: body && JSON.stringify(body),
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT),
    });
    text = await response.text();
  } catch {
    throw new ApiError(0);
  }
  return answer(response.status, text, retryAfter(response.headers));
}

/**
 * @param {number} status
 * @param {string} text
 * @param {number} wait
 * @returns {Record<string, any>}
 * @throws {ApiError} unless the status is 2xx
 */
export function answer(status, text, wait) {
  /** @type {Record<string, any>} */
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
    if (status === 200 || status === 202) throw new ApiError(502);
  }
  if (status < 200 || status > 299) throw new ApiError(status, body?.error, wait);
  return body;
}
