import assert from 'node:assert/strict';
import { test } from 'node:test';

import { useStatus } from '../../../static/js/use-status.js';
import { World, completed, failed, fakeFetch, gaps, job, settle } from './hook-world.mjs';

function watching(reply, options = {}) {
  const world = new World();
  const fetch = fakeFetch(world, reply);
  const seen = [];
  const watch = useStatus('j1', { token: 't', fetch, poller: world.poller, onChange: (snapshot) => seen.push(snapshot), ...options });
  return { world, clock: world.clock, fetch, seen, watch };
}

test('asks at once, with the token, where the job is', async () => {
  const { fetch, clock, watch } = watching(() => ({ body: completed }));
  await clock.pass(0);
  assert.equal(fetch.requests.length, 1);
  assert.equal(fetch.requests[0].url, '/api/status/j1');
  assert.equal(fetch.requests[0].headers['X-Session-Token'], 't');
  assert.equal(watch.progress, 100);
});

test('asks the status URL it is given, and escapes the id it is not', async () => {
  const given = watching(() => ({ body: completed }), { statusUrl: '/elsewhere/7' });
  assert.equal(given.fetch.requests[0].url, '/elsewhere/7');
  const world = new World();
  const fetch = fakeFetch(world, () => ({ body: completed }));
  useStatus('a/b', { fetch, poller: world.poller });
  assert.equal(fetch.requests[0].url, '/api/status/a%2Fb');
  assert.equal('X-Session-Token' in fetch.requests[0].headers, false);
});

test('asks the server that base names, on whatever origin the page is', () => {
  for (const [options, url] of [
    [{ base: 'https://darkroom.example' }, 'https://darkroom.example/api/status/j1'],
    [{ base: 'https://darkroom.example/' }, 'https://darkroom.example/api/status/j1'],
    [{ base: 'http://127.0.0.1:8000', statusUrl: '/api/status/7' }, 'http://127.0.0.1:8000/api/status/7'],
    [{ base: 'http://127.0.0.1:8000', statusUrl: 'https://other.example/7' }, 'https://other.example/7'],
    [{ base: '' }, '/api/status/j1'],
  ]) {
    const { fetch, watch } = watching(() => ({ body: completed }), options);
    watch.stop();
    assert.equal(fetch.requests[0].url, url);
  }
});

test('a base that is no address is refused at once', () => {
  assert.throws(() => watching(() => ({}), { base: 'darkroom.example' }), TypeError);
});

test('polls every 2 to 3 seconds', async () => {
  const { fetch, clock, watch } = watching(() => ({ headers: { 'Retry-After': '2' } }));
  await clock.pass(60_000);
  watch.stop();
  assert.ok(fetch.requests.length >= 20 && fetch.requests.length <= 31);
  for (const gap of gaps(fetch)) assert.ok(gap >= 2000 && gap <= 3000, `${gap} ms`);
  assert.ok(new Set(gaps(fetch)).size > 5, 'the times are spread');
});

test('polls every 2 to 3 seconds when the answers say nothing of when', async () => {
  const { fetch, clock, watch } = watching(() => ({}));
  await clock.pass(30_000);
  watch.stop();
  for (const gap of gaps(fetch)) assert.ok(gap >= 2000 && gap <= 3000, `${gap} ms`);
});

test('a slow answer is waited for: one request at a time', async () => {
  let answer;
  const { fetch, clock, watch } = watching(() => new Promise((resolve) => (answer = resolve)));
  await clock.pass(10_000);
  watch.refresh();
  await clock.pass(1000);
  assert.equal(fetch.requests.length, 1);
  answer({});
  await clock.pass(3000);
  assert.equal(fetch.requests.length, 2);
  watch.stop();
});

test('sends the last ETag, and takes 304 for “as before”', async () => {
  const { fetch, clock, watch, seen } = watching(({ headers }) =>
    headers['If-None-Match'] ? { status: 304, headers: { ETag: '"v1"' } } : { headers: { ETag: '"v1"' } },
  );
  await clock.pass(10_000);
  watch.stop();
  assert.equal(fetch.requests[0].headers['If-None-Match'], undefined);
  assert.ok(fetch.requests.slice(1).every(({ headers }) => headers['If-None-Match'] === '"v1"'));
  assert.equal(seen.length, 1);
  assert.equal(watch.progress, 30);
  assert.equal(watch.error, null);
});

test('an answer without an ETag clears the one before it', async () => {
  const { fetch, clock, watch } = watching((_, count) =>
    count === 1 ? { headers: { ETag: '"v1"' } } : { body: job({ progress: 30 + count }) },
  );
  await clock.pass(7000);
  watch.stop();
  assert.equal(fetch.requests[1].headers['If-None-Match'], '"v1"');
  assert.equal(fetch.requests[2].headers['If-None-Match'], undefined);
});

test('waits as long as Retry-After says, in seconds', async () => {
  const { fetch, clock, watch } = watching(() => ({ headers: { 'Retry-After': '20' } }));
  await clock.pass(60_000);
  watch.stop();
  for (const gap of gaps(fetch)) assert.ok(gap >= 20_000 && gap <= 22_000, `${gap} ms`);
});

test('waits as long as Retry-After says, as a date on the server’s own clock', async () => {
  const headers = { Date: 'Sun, 22 Nov 2026 10:00:00 GMT', 'Retry-After': 'Sun, 22 Nov 2026 10:00:30 GMT' };
  const { fetch, clock, watch } = watching((_, count) => (count === 1 ? { status: 503, headers } : {}));
  await clock.pass(29_999);
  assert.equal(fetch.requests.length, 1);
  await clock.pass(3_001);
  assert.ok(fetch.requests.length >= 2);
  watch.stop();
});

test('a Retry-After beyond what a timer can hold is still a wait', async () => {
  const { fetch, clock, watch } = watching(() => ({ status: 429, headers: { 'Retry-After': '4000000' } }));
  await clock.pass(3_999_000_000);
  assert.equal(fetch.requests.length, 1);
  await clock.pass(500_000_000);
  assert.ok(fetch.requests.length >= 2);
  watch.stop();
});

test('stops for good when the job is completed', async () => {
  const { fetch, clock, watch } = watching(() => ({ body: completed }));
  await clock.pass(600_000);
  assert.equal(fetch.requests.length, 1);
  assert.equal(clock.pending, 0);
  assert.equal(watch.isComplete, true);
  assert.equal(watch.isFailed, false);
  assert.equal(watch.resultId, 'r1');
});

test('stops for good when the job has failed, and says why', async () => {
  const { fetch, clock, watch } = watching(() => ({ body: failed }));
  await clock.pass(600_000);
  watch.refresh();
  await clock.pass(600_000);
  assert.equal(fetch.requests.length, 1);
  assert.equal(watch.isFailed, true);
  assert.equal(watch.progress, 45);
  assert.deepEqual(watch.error, { kind: 'job', code: 'UNREADABLE_IMAGE', message: 'It is damaged.', retryable: false, step: 'validate' });
});

for (const [status, kind] of [[401, 'unauthorized'], [404, 'not-found'], [410, 'gone']]) {
  test(`stops for good at ${status}, keeping what is known`, async () => {
    const error = { code: 'SOME_CODE', message: 'No.', retryable: false };
    const { fetch, clock, watch } = watching((_, count) => (count === 1 ? {} : { status, body: { success: false, error } }));
    await clock.pass(600_000);
    assert.equal(fetch.requests.length, 2);
    assert.equal(clock.pending, 0);
    assert.deepEqual(watch.error, { kind, code: 'SOME_CODE', message: 'No.', retryable: false, step: null });
    assert.equal(watch.progress, 30);
    assert.equal(watch.isLoading, false);
    assert.equal(watch.isFailed, false);
  });
}

test('stop() ends the request under way, the timer and every change', async () => {
  let answer;
  const { fetch, clock, watch, seen } = watching(() => new Promise((resolve) => (answer = resolve)));
  await settle();
  watch.stop();
  assert.equal(fetch.requests[0].signal.aborted, true);
  answer({ body: completed });
  await clock.pass(60_000);
  watch.refresh();
  await clock.pass(60_000);
  assert.equal(seen.length, 0);
  assert.equal(fetch.requests.length, 1);
  assert.equal(clock.pending, 0);
});

test('refresh() asks at once', async () => {
  const { fetch, clock, watch } = watching(() => ({}));
  await clock.pass(1000);
  watch.refresh();
  await clock.pass(1);
  assert.equal(fetch.requests.length, 2);
  watch.stop();
});

test('is loading until the first answer, not failed while there is none', async () => {
  const { clock, watch } = watching((_, count) => {
    if (count === 1) throw new TypeError('network');
    return {};
  });
  assert.equal(watch.isLoading, true);
  await clock.pass(0);
  assert.equal(watch.isLoading, true);
  assert.equal(watch.error.kind, 'offline');
  assert.equal(watch.isFailed, false);
  await clock.pass(3000);
  assert.equal(watch.isLoading, false);
  assert.equal(watch.error, null);
  watch.stop();
});

test('a listener that throws neither ends the polling nor silences the others', async (context) => {
  const thrown = [];
  context.mock.method(globalThis, 'queueMicrotask', (run) => {
    Promise.resolve().then(run).catch(({ message }) => thrown.push(message));
  });
  const { fetch, clock, watch } = watching(() => ({}), {
    onChange: () => {
      throw new Error('mine');
    },
  });
  let heard = 0;
  watch.subscribe(() => (heard += 1));
  await clock.pass(5000);
  watch.stop();
  assert.deepEqual(thrown, ['mine']);
  assert.equal(heard, 1);
  assert.ok(fetch.requests.length >= 2);
});
