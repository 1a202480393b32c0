import assert from 'node:assert/strict';
import { test } from 'node:test';

import { useStatus } from '../../../static/js/use-status.js';
import { World, completed, fakeFetch, job } from './hook-world.mjs';

/** The snapshots that a watch shows when the server gives these answers, one after the other. */
async function shown(...answers) {
  const world = new World();
  const seen = [];
  const fetch = fakeFetch(world, (_, count) => ({ body: answers[Math.min(count, answers.length) - 1] }));
  const watch = useStatus('j', { fetch, poller: world.poller, onChange: (snapshot) => seen.push(snapshot) });
  await world.clock.pass(3100 * answers.length);
  watch.stop();
  return seen.map(({ stage, progress }) => `${stage} ${progress}`);
}

const at = (stage, progress, fields = {}) => job({ stage, progress, status: stage ? 'processing' : 'pending', ...fields });

test('less progress in the same run is an old answer', async () => {
  assert.deepEqual(await shown(at('generating', 55), at('generating', 40), at('generating', 60)), ['generating 55', 'generating 60']);
});

test('a stage that was left does not come back, whatever its progress', async () => {
  assert.deepEqual(
    await shown(at(null, 0), at('generating', 80), at('storing', 80), at('generating', 80), at(null, 90), at('watermarking', 90)),
    ['null 0', 'generating 80', 'storing 80', 'watermarking 90'],
  );
});

test('an earlier time is an old answer', async () => {
  const early = { updatedAt: '2026-11-22T10:00:00.100Z' };
  const late = { updatedAt: '2026-11-22T10:00:00.200Z' };
  assert.deepEqual(await shown(at('generating', 50, late), at('generating', 60, early)), ['generating 50']);
});

test('an old answer still ends the connection trouble, and changes nothing else', async () => {
  const world = new World();
  const fetch = fakeFetch(world, (_, count) => {
    if (count === 2) throw new TypeError('network');
    return { body: at('generating', count === 1 ? 50 : 40) };
  });
  const watch = useStatus('j', { fetch, poller: world.poller });
  await world.clock.pass(7000);
  assert.equal(watch.error, null);
  assert.equal(watch.progress, 50);
  watch.stop();
});

test('a new run may begin below, an old run does not come back', async () => {
  assert.deepEqual(
    await shown(at('storing', 80), at('generating', 70, { run: 2 }), at('storing', 85), at('storing', 80, { run: 2 })),
    ['storing 80', 'generating 70', 'storing 80'],
  );
});

test('a failure keeps the progress reached, even if its answer says less', async () => {
  const failed = job({ status: 'failed', stage: 'failed', progress: 30, isTerminal: true, error: { code: 'INTERNAL', message: '', retryable: true, step: 'store' } });
  assert.deepEqual(await shown(at('storing', 80), failed), ['storing 80', 'failed 80']);
});

test('stages that nobody knew of yet are shown as they come', async () => {
  assert.deepEqual(await shown(at('sharpening', 20), at('framing', 40)), ['sharpening 20', 'framing 40']);
});

test('the snapshot is one object until something changes, and cannot be changed', async () => {
  const world = new World();
  let progress = 30;
  const fetch = fakeFetch(world, () => ({ body: job({ progress }) }));
  const watch = useStatus('j', { fetch, poller: world.poller });
  const first = watch.getSnapshot();
  assert.equal(watch.getSnapshot(), first);
  await world.clock.pass(0);
  const second = watch.getSnapshot();
  assert.notEqual(second, first);
  await world.clock.pass(30_000);
  assert.equal(watch.getSnapshot(), second);
  assert.throws(() => (second.progress = 99), TypeError);
  progress = 31;
  await world.clock.pass(3000);
  assert.notEqual(watch.getSnapshot(), second);
  assert.equal(second.progress, 30);
  watch.stop();
});

test('a long outage is one change, not one per try', async () => {
  const world = new World();
  const seen = [];
  const fetch = fakeFetch(world, () => {
    throw new TypeError('network');
  });
  const watch = useStatus('j', { fetch, poller: world.poller, onChange: (snapshot) => seen.push(snapshot) });
  await world.clock.pass(600_000);
  assert.equal(seen.length, 1);
  watch.stop();
});

test('every getter agrees with the snapshot', async () => {
  const world = new World();
  const fetch = fakeFetch(world, () => ({ body: completed }));
  const watch = useStatus('j', { fetch, poller: world.poller });
  await world.clock.pass(0);
  for (const [name, value] of Object.entries(watch.getSnapshot())) assert.equal(watch[name], value, name);
});

test('subscribers hear of each change until they leave; the functions need no “this”', async () => {
  const world = new World();
  const fetch = fakeFetch(world, (_, count) => ({ body: job({ progress: 30 + count }) }));
  const { subscribe, getSnapshot, stop } = useStatus('j', { fetch, poller: world.poller });
  const heard = [];
  const leave = subscribe((snapshot) => heard.push(snapshot.progress));
  await world.clock.pass(3100);
  leave();
  await world.clock.pass(3100);
  stop();
  assert.deepEqual(heard, [31, 32]);
  assert.ok(getSnapshot().progress > 32);
});

test('with whileSubscribed it polls for its subscribers only, as a component mounts and leaves', async () => {
  const world = new World();
  const fetch = fakeFetch(world, () => ({}));
  const watch = useStatus('j', { fetch, poller: world.poller, whileSubscribed: true });
  await world.clock.pass(10_000);
  assert.equal(fetch.requests.length, 0);
  watch.subscribe(() => {})(); // what React's strict mode does: subscribe, leave, subscribe
  const leave = watch.subscribe(() => {});
  await world.clock.pass(5000);
  const polled = fetch.requests.length;
  assert.ok(polled >= 2);
  leave();
  await world.clock.pass(60_000);
  assert.equal(fetch.requests.length, polled);
  assert.equal(world.clock.pending, 0);
});
