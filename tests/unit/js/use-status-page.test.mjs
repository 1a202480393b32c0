import assert from 'node:assert/strict';
import { test } from 'node:test';

import { useStatus } from '../../../static/js/use-status.js';
import { World, completed, fakeFetch, job } from './hook-world.mjs';

test('is silent while the page is hidden, and asks at once when it is back', async () => {
  const world = new World();
  const fetch = fakeFetch(world, () => ({}));
  const watch = useStatus('j', { fetch, poller: world.poller });
  await world.clock.pass(1000);
  world.show(false);
  await world.clock.pass(3_600_000);
  assert.equal(fetch.requests.length, 1);
  assert.equal(world.clock.pending, 0);
  world.show(true);
  await world.clock.pass(0);
  assert.equal(fetch.requests.length, 2);
  watch.stop();
});

test('a page that opens in the background asks when it is first seen', async () => {
  const world = new World();
  world.document.hidden = true;
  const fetch = fakeFetch(world, () => ({ body: completed }));
  const watch = useStatus('j', { fetch, poller: world.poller });
  await world.clock.pass(60_000);
  assert.equal(fetch.requests.length, 0);
  world.show(true);
  await world.clock.pass(0);
  assert.equal(watch.isComplete, true);
});

test('an answer that arrives while hidden still counts', async () => {
  const world = new World();
  let answer;
  const fetch = fakeFetch(world, () => new Promise((resolve) => (answer = resolve)));
  const watch = useStatus('j', { fetch, poller: world.poller });
  await world.clock.pass(0);
  world.show(false);
  answer({ body: completed });
  await world.clock.pass(0);
  assert.equal(watch.isComplete, true);
});

test('who wants to be told while the page is hidden is told seldom, and as ever when it is back', async () => {
  const world = new World();
  const fetch = fakeFetch(world, () => ({}));
  const slow = useStatus('slow', { fetch, poller: world.poller, whileHidden: 30_000 });
  const silent = useStatus('silent', { fetch, poller: world.poller });
  await world.clock.pass(1000);
  world.show(false);
  await world.clock.pass(119_000);
  const whileHidden = fetch.requests.slice(2);
  assert.deepEqual(whileHidden.map(({ url, at }) => [url, Math.round(at / 1000)]), [30, 60, 90, 120].map((at) => ['/api/status/slow', at]));
  world.show(true);
  await world.clock.pass(10_000);
  assert.ok(fetch.requests.length >= 6 + 2 * 3);
  slow.stop();
  silent.stop();
});

test('a wait that the server asks for holds while the page is hidden, too', async () => {
  const world = new World();
  const fetch = fakeFetch(world, () => ({ status: 503, headers: { 'Retry-After': '100' } }));
  const watch = useStatus('j', { fetch, poller: world.poller, whileHidden: 30_000 });
  await world.clock.pass(0);
  world.show(false);
  await world.clock.pass(99_000);
  assert.equal(fetch.requests.length, 1);
  await world.clock.pass(12_000);
  assert.equal(fetch.requests.length, 2);
  watch.stop();
});

test('asks at once when the connection is back', async () => {
  const world = new World();
  let up = false;
  const fetch = fakeFetch(world, () => {
    if (!up) throw new TypeError('network');
    return {};
  });
  const watch = useStatus('j', { fetch, poller: world.poller });
  await world.clock.pass(100_000);
  const before = fetch.requests.length;
  up = true;
  world.online();
  await world.clock.pass(0);
  assert.equal(fetch.requests.length, before + 1);
  assert.equal(watch.error, null);
  watch.stop();
});

test('200 hooks share one timer and do not stampede', async () => {
  const world = new World();
  let underWay = 0;
  let most = 0;
  let timers = 0;
  const fetch = fakeFetch(world, async () => {
    underWay += 1;
    most = Math.max(most, underWay);
    timers = Math.max(timers, world.clock.pending);
    await new Promise((resolve) => world.clock.setTimeout(resolve, 60)); // the answer's way, on the same clock
    underWay -= 1;
    return {};
  });
  const watches = Array.from({ length: 200 }, (_, index) => useStatus(`j${index}`, { fetch, poller: world.poller }));
  await world.clock.pass(3100);
  assert.equal(new Set(fetch.requests.map(({ url }) => url)).size, 200, 'everybody had a first answer');
  assert.ok(most <= 4, `${most} at once`);
  assert.ok(timers <= 1 + 4, 'one timer besides those of the answers under way');

  await world.clock.pass(8000);
  const starts = fetch.requests.map(({ at }) => at);
  starts.slice(10).forEach((at, index) => assert.ok(at - starts[index] >= 100, 'at most ten within 100 ms'));

  world.show(false);
  await world.clock.pass(60_000);
  const before = fetch.requests.length;
  world.show(true);
  await world.clock.pass(100);
  assert.ok(fetch.requests.length - before <= 11, 'also on the return to the page');

  for (const watch of watches) watch.stop();
  await world.clock.pass(100);
  assert.equal(world.clock.pending, 0);
});

test('a slow job does not keep the others waiting beyond their turn', async () => {
  const world = new World({ concurrency: 2 });
  const fetch = fakeFetch(world, ({ url }) => (url.endsWith('slow') ? new Promise(() => {}) : {}));
  const watches = ['slow', 'a', 'b', 'c'].map((id) => useStatus(id, { fetch, poller: world.poller }));
  await world.clock.pass(10_000);
  for (const id of ['a', 'b', 'c']) {
    assert.ok(fetch.requests.filter(({ url }) => url.endsWith(id)).length >= 4, id);
  }
  for (const watch of watches) watch.stop();
});

test('the page’s events are let go with the last watch', () => {
  const world = new World();
  const held = new Set();
  for (const target of [world.document, world.window]) {
    const add = target.addEventListener.bind(target);
    target.addEventListener = (type, listener) => (held.add(type), add(type, listener));
    target.removeEventListener = (type) => held.delete(type);
  }
  const fetch = fakeFetch(world, () => ({}));
  const watches = [useStatus('a', { fetch, poller: world.poller }), useStatus('b', { fetch, poller: world.poller })];
  assert.deepEqual([...held].sort(), ['online', 'visibilitychange']);
  watches[0].stop();
  assert.equal(held.size, 2);
  watches[1].stop();
  assert.equal(held.size, 0);
});

test('works where there is no page at all, with the timers of the platform', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  let count = 0;
  const fetch = async () => {
    count += 1;
    return new Response(JSON.stringify(count === 3 ? completed : job()), { status: 200 });
  };
  const watch = useStatus('j', { fetch });
  for (let second = 0; second < 8; second += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    context.mock.timers.tick(1000);
  }
  assert.equal(count, 3);
  assert.equal(watch.isComplete, true);
});
