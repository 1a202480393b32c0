import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { ApiError } from '../../../static/js/api.js';
import { recall, send } from '../../../static/js/sending.js';
import { renewSession, storedToken } from '../../../static/js/session.js';

const file = { name: 'a.jpg' };

beforeEach(() => {
  const stored = new Map([['darkroom.session', 'first']]);
  globalThis.localStorage = {
    getItem: (key) => stored.get(key) ?? null,
    setItem: (key, value) => stored.set(key, value),
    removeItem: (key) => stored.delete(key),
  };
  globalThis.fetch = async () => new Response('{"success": true, "sessionToken": "second"}', { status: 201 });
});

/** Sends with these answers, one per try: an ApiError is thrown, anything else is the 202's body. */
function sending(answers, options = {}) {
  const tries = [];
  const waits = [];
  const post = async (_file, token, { key }) => {
    tries.push({ token, key });
    const next = answers[Math.min(tries.length, answers.length) - 1];
    if (next instanceof Error) throw next;
    return next;
  };
  const pause = async (milliseconds) => waits.push(milliseconds);
  const signal = new AbortController().signal;
  const doubts = [];
  const onDoubt = (token) => doubts.push(token);
  const result = send(file, { key: 'k', signal, onProgress: () => {}, onDoubt, post, pause, ...options });
  return { result, tries, waits, doubts };
}

const lost = new ApiError(0);
const said = (status, code, wait) => new ApiError(status, { code, message: '', retryable: true }, wait);

test('a lost connection is tried again with the same key', async () => {
  const { result, tries, waits } = sending([lost, lost, { jobId: 'j' }]);
  assert.deepEqual(await result, { jobId: 'j' });
  assert.deepEqual(tries, Array(3).fill({ token: 'first', key: 'k' }));
  assert.ok(waits[0] >= 1000 && waits[0] <= 2000 && waits[1] >= 2000 && waits[1] <= 4000);
});

test('a stale token is replaced once, and the picture keeps its key', async () => {
  const { result, tries } = sending([said(401, 'UNAUTHORIZED'), { jobId: 'j' }]);
  await result;
  assert.deepEqual(tries, [{ token: 'first', key: 'k' }, { token: 'second', key: 'k' }]);
});

test('a token refused twice is an error', async () => {
  const { result, tries } = sending([said(401, 'UNAUTHORIZED')]);
  await assert.rejects(result, { code: 'UNAUTHORIZED' });
  assert.equal(tries.length, 2);
});

test('what the server wants waited is waited', async () => {
  const { result, waits } = sending([said(429, 'QUEUE_FULL', 45_000), { jobId: 'j' }]);
  await result;
  assert.deepEqual(waits, [45_000]);
});

for (const [status, code] of [[415, 'UNSUPPORTED_TYPE'], [422, 'UNREADABLE_IMAGE'], [413, 'FILE_TOO_LARGE'], [429, 'BUDGET_EXHAUSTED'], [507, 'STORAGE_FULL']]) {
  test(`${code} is final`, async () => {
    const { result, tries } = sending([said(status, code)]);
    await assert.rejects(result, { status, code });
    assert.equal(tries.length, 1);
  });
}

test('it does not go on for ever', async () => {
  const { result, tries } = sending([lost]);
  await assert.rejects(result, { code: 'OFFLINE', retryable: true });
  assert.equal(tries.length, 8);
});

test('a session that cannot be opened is tried again like the upload', async () => {
  globalThis.fetch = () => Promise.reject(new TypeError('network'));
  await renewSession(storedToken()).catch(() => {}); // now there is none
  let opened = 0;
  globalThis.fetch = async () => {
    opened += 1;
    if (opened === 1) throw new TypeError('network');
    return new Response('{"success": true, "sessionToken": "new"}', { status: 201 });
  };
  const { result, tries } = sending([{ jobId: 'j' }]);
  await result;
  assert.deepEqual(tries, [{ token: 'new', key: 'k' }]);
});

test('cancelling ends it, also between two tries', async () => {
  const cancel = new AbortController();
  const pause = async (_wait, signal) => {
    cancel.abort();
    signal.throwIfAborted();
  };
  const { result, tries } = sending([lost], { signal: cancel.signal, pause });
  await assert.rejects(result, { name: 'AbortError' });
  assert.equal(tries.length, 1);
});

test('without an answer there is doubt, in the session that the try was made in', async () => {
  const { result, doubts } = sending([lost, said(502, 'UNAVAILABLE'), { jobId: 'j' }]);
  await result;
  assert.deepEqual(doubts, ['first', 'first']);
});

test('there is no doubt about what was refused, or cannot have gone out', async () => {
  const offline = Object.assign(new ApiError(0), { perhaps: false });
  const { result, doubts } = sending([said(429, 'QUEUE_FULL'), offline, said(401, 'UNAUTHORIZED'), { jobId: 'j' }]);
  await result;
  assert.deepEqual(doubts, []);
});

/** An API with these answers to `/api/jobs`, one for each look; says what it was asked. */
function api(looks, { onCancel = () => ({}) } = {}) {
  const asked = [];
  const waits = [];
  const urls = { cancel: '/cancel', status: '/status' };
  const ask = async (method, url, token) => {
    asked.push(`${method} ${url} ${token}`);
    if (url === urls.cancel) return onCancel();
    if (url === urls.status) return { jobId: 'j', status: 'failed' };
    const next = looks.length > 1 ? looks.shift() : looks[0];
    if (next instanceof Error) throw next;
    return { jobs: next ? [{ jobId: 'j', urls }] : [] };
  };
  return { asked, waits, env: { ask, pause: async (wait) => waits.push(wait) } };
}

test('the job of a picture that had arrived is found by the picture’s key, and stopped', async () => {
  const { asked, env } = api([true]);
  assert.equal((await recall('k', 't', env)).jobId, 'j');
  assert.deepEqual(asked, ['GET /api/jobs?source=k t', 'POST /cancel t', 'GET /status t']);
});

test('one that is over already is told as it is', async () => {
  const { env } = api([true], {
    onCancel: () => {
      throw new ApiError(409, { code: 'ALREADY_FINISHED', message: '', retryable: false });
    },
  });
  assert.equal((await recall('k', 't', env)).jobId, 'j');
});

test('a server that is still busy with it is given time', async () => {
  const { waits, env } = api([false, false, true]);
  assert.equal((await recall('k', 't', env)).jobId, 'j');
  assert.deepEqual(waits, [1000, 2000]);
});

test('what has not come after a while has not arrived', async () => {
  const { asked, env } = api([false]);
  assert.equal(await recall('k', 't', env), null);
  assert.equal(asked.length, 4);
});

test('while nobody answers it is asked again, and in the end it is not known', async () => {
  const soon = api([lost, said(503, 'UNAVAILABLE', 5000), true]);
  assert.equal((await recall('k', 't', soon.env)).jobId, 'j');
  assert.ok(soon.waits[1] >= 5000);
  const never = api([lost]);
  await assert.rejects(recall('k', 't', never.env), { code: 'OFFLINE' });
  assert.equal(never.asked.length, 8);
});
