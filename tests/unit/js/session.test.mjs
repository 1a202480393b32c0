import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { renewSession, sessionToken, storedToken } from '../../../static/js/session.js';

let stored;
let opened;

beforeEach(() => {
  stored = new Map();
  opened = 0;
  globalThis.localStorage = {
    getItem: (key) => stored.get(key) ?? null,
    setItem: (key, value) => stored.set(key, value),
    removeItem: (key) => stored.delete(key),
  };
  globalThis.fetch = async () => new Response(JSON.stringify({ sessionToken: `token-${++opened}` }), { status: 201 });
});

test('a session is opened once, however many ask, and kept', async () => {
  const tokens = await Promise.all([sessionToken(), sessionToken(), sessionToken()]);
  assert.deepEqual(tokens, ['token-1', 'token-1', 'token-1']);
  assert.equal(await sessionToken(), 'token-1');
  assert.equal(opened, 1);
  assert.equal(storedToken(), 'token-1');
});

test('a stale token is replaced, a newer one from another tab is not', async () => {
  stored.set('darkroom.session', 'old');
  assert.equal(await renewSession('old'), 'token-1');
  stored.set('darkroom.session', 'newer');
  assert.equal(await renewSession('old'), 'newer');
  assert.equal(opened, 1);
});

test('a failure to open is told, and the next call tries again', async () => {
  await renewSession(storedToken()).catch(() => {});
  stored.clear();
  const working = globalThis.fetch;
  globalThis.fetch = async () => new Response('{"error": {"code": "UNAVAILABLE", "message": "", "retryable": true}}', { status: 503 });
  await assert.rejects(renewSession(storedToken()), { code: 'UNAVAILABLE' });
  globalThis.fetch = working;
  assert.match(await sessionToken(), /^token-/);
});

test('without storage the session lasts as long as the page', async () => {
  const refuse = () => {
    throw new Error('storage is switched off');
  };
  globalThis.localStorage = { getItem: refuse, setItem: refuse, removeItem: refuse };
  const token = await renewSession(storedToken());
  assert.equal(await sessionToken(), token);
});
