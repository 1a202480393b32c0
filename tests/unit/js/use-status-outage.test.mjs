import assert from 'node:assert/strict';
import { test } from 'node:test';

import { backoff, retryAfter, useStatus } from '../../../static/js/use-status.js';
import { World, fakeFetch, gaps, job, serve, settle } from './hook-world.mjs';

const network = () => {
  throw new TypeError('fetch failed');
};

test('backoff doubles to 30 s, with jitter below it', () => {
  const full = [1, 2, 3, 4, 5, 6, 500].map((failures) => backoff(failures, () => 0.999999));
  assert.deepEqual(full.map((wait) => Math.round(wait / 1000)), [2, 4, 8, 16, 30, 30, 30]);
  const half = [1, 2, 3, 4, 5, 6, 500].map((failures) => backoff(failures, () => 0));
  assert.deepEqual(half, [1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
});

test('Retry-After that cannot be read asks for nothing', () => {
  const read = (value) => retryAfter(new Headers(value === undefined ? {} : { 'Retry-After': value }));
  assert.deepEqual(['3', '0', 'soon', '-5', '', undefined].map(read), [3000, 0, 0, 0, 0, 0]);
});

for (const [name, reply] of [
  ['no answer', network],
  ['500', () => ({ status: 500, body: {} })],
  ['503', () => ({ status: 503, body: {} })],
  ['429', () => ({ status: 429, body: {} })],
]) {
  test(`backs off exponentially after ${name}`, async () => {
    const world = new World();
    const fetch = fakeFetch(world, reply);
    const watch = useStatus('j', { fetch, poller: world.poller });
    await world.clock.pass(200_000);
    watch.stop();
    [2000, 4000, 8000, 16_000, 30_000, 30_000].forEach((longest, index) => {
      const gap = gaps(fetch)[index];
      assert.ok(gap >= longest / 2 && gap <= longest, `wait ${index}: ${gap} ms`);
    });
  });
}

test('a 60 s outage is survived: the state stays, the reason shows, the polling recovers its pace', async () => {
  const world = new World();
  const fetch = fakeFetch(world, ({ at }) => (at > 5000 && at < 65_000 ? network() : { body: job({ progress: at > 65_000 ? 70 : 40 }) }));
  const watch = useStatus('j', { fetch, poller: world.poller });
  await world.clock.pass(30_000);
  assert.equal(watch.error.kind, 'offline');
  assert.equal(watch.progress, 40);
  assert.equal(watch.status, 'processing');
  await world.clock.pass(70_000);
  assert.equal(watch.error, null);
  assert.equal(watch.progress, 70);
  const sinceThen = fetch.requests.length;
  await world.clock.pass(30_000);
  assert.ok(fetch.requests.length - sinceThen >= 10);
  watch.stop();
});

test('an outage of a day is survived with few requests', async () => {
  const world = new World();
  const day = 86_400_000;
  const fetch = fakeFetch(world, ({ at }) => (at < day ? network() : {}));
  const watch = useStatus('j', { fetch, poller: world.poller });
  await world.clock.pass(day + 31_000);
  assert.ok(fetch.requests.length < day / 15_000 + 20);
  assert.equal(watch.error, null);
  watch.stop();
});

test('Retry-After of a busy server is the least wait, also on the return to the page', async () => {
  const world = new World();
  const fetch = fakeFetch(world, () => ({ status: 503, headers: { 'Retry-After': '40' }, body: {} }));
  const watch = useStatus('j', { fetch, poller: world.poller });
  await world.clock.pass(10_000);
  world.online();
  world.show(true);
  await world.clock.pass(29_000);
  assert.equal(fetch.requests.length, 1);
  await world.clock.pass(6000);
  assert.equal(fetch.requests.length, 2);
  watch.stop();
});

test('the server’s own words come with “unavailable”', async () => {
  const world = new World();
  const said = { code: 'UNAVAILABLE', message: 'Back soon.', retryable: true };
  const fetch = fakeFetch(world, () => ({ status: 503, body: { success: false, error: said } }));
  const watch = useStatus('j', { fetch, poller: world.poller });
  await world.clock.pass(0);
  assert.deepEqual(watch.error, { kind: 'unavailable', ...said, step: null });
  watch.stop();
});

test('a page of something in between is no answer', async () => {
  const world = new World();
  const html = async () => new Response('<html>Log in to this network</html>', { status: 200 });
  const watch = useStatus('j', { fetch: html, poller: world.poller });
  await world.clock.pass(0);
  assert.equal(watch.error.kind, 'unavailable');
  assert.equal(watch.isLoading, true);
  watch.stop();
});

test('a request without an answer is given up, and its late answer ignored', async () => {
  const world = new World();
  const answers = [];
  const fetch = fakeFetch(world, () => new Promise((resolve) => answers.push(resolve)));
  const watch = useStatus('j', { fetch, poller: world.poller, timeout: 5000 });
  await world.clock.pass(5000);
  assert.equal(fetch.requests[0].signal.aborted, true);
  assert.equal(watch.error.kind, 'offline');
  await world.clock.pass(2000);
  assert.equal(fetch.requests.length, 2);
  answers[1]({ body: job({ progress: 50 }) });
  await settle();
  answers[0]({ body: job({ progress: 90 }) });
  await settle();
  assert.equal(watch.progress, 50);
  watch.stop();
});

test('against a real server that dies and comes back', async () => {
  const seen = [];
  let requests = 0;
  const server = await serve((request, response) => {
    requests += 1;
    if (requests === 2) return request.socket.destroy();
    if (requests === 3) return response.writeHead(503, { 'Content-Type': 'text/plain' }).end('away');
    if (request.headers['if-none-match'] === '"a"' && requests === 4) return response.writeHead(304, { ETag: '"a"' }).end();
    const body = requests > 4 ? { ...job(), isTerminal: true, status: 'completed', progress: 100 } : job();
    return response.writeHead(200, { ETag: '"a"', 'Content-Type': 'application/json' }).end(JSON.stringify(body));
  });
  const world = new World();
  const watch = useStatus('j', {
    token: 'secret',
    statusUrl: `${server.url}/api/status/j`,
    poller: world.poller,
    onChange: ({ error, progress }) => seen.push(error?.kind ?? progress),
  });
  try {
    while (!watch.isComplete) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      await world.clock.pass(1000);
    }
    assert.deepEqual(seen, [30, 'offline', 'unavailable', 30, 100]);
    assert.equal(requests, 5);
  } finally {
    watch.stop();
    await server.close();
  }
});
