import assert from 'node:assert/strict';
import { test } from 'node:test';

import { jobState, timeline, trouble } from '../../../static/js/job-state.js';

const steps = [
  { stage: 'validating', step: 'validate' },
  { stage: 'generating', step: 'generate' },
  { stage: 'storing', step: 'store' },
  { stage: 'watermarking', step: 'watermark' },
];

test('each state of a job has one name', () => {
  const name = (status, error = null) => jobState({ status, error });
  assert.equal(name(null), 'loading');
  assert.equal(name(null, { kind: 'offline', code: 'OFFLINE' }), 'loading');
  assert.equal(name('pending'), 'pending');
  assert.equal(name('processing', { kind: 'unavailable', code: 'UNAVAILABLE' }), 'processing');
  assert.equal(name('completed'), 'completed');
  assert.equal(name('failed', { kind: 'job', code: 'INTERNAL' }), 'failed');
  assert.equal(name('failed', { code: 'CANCELED' }), 'cancelled');
  assert.equal(name('processing', { kind: 'unauthorized', code: 'UNAUTHORIZED' }), 'unauthorized');
  assert.equal(name(null, { kind: 'not-found', code: 'NOT_FOUND' }), 'missing');
  assert.equal(name(null, { kind: 'gone', code: 'EXPIRED' }), 'expired');
});

test('only the connection’s trouble is trouble', () => {
  assert.equal(trouble(null), null);
  assert.equal(trouble({ kind: 'job' }), null);
  assert.equal(trouble({ kind: 'offline' }), 'offline');
  assert.equal(trouble({ kind: 'unavailable' }), 'unavailable');
});

test('the timeline marks what is done, where it is, and where it ended', () => {
  const line = (state, stage, failedStep = null) => timeline(steps, { state, stage, failedStep }).join(' ');
  assert.equal(line('pending', null), 'ahead ahead ahead ahead');
  assert.equal(line('processing', 'validating'), 'current ahead ahead ahead');
  assert.equal(line('processing', 'storing'), 'done done current ahead');
  assert.equal(line('completed', null), 'done done done done');
  assert.equal(line('failed', null, 'generate'), 'done failed ahead ahead');
  assert.equal(line('failed', 'validating', 'generate'), 'done failed ahead ahead');
  assert.equal(line('cancelled', 'generating'), 'done stopped ahead ahead');
  assert.equal(line('failed', null), 'ahead ahead ahead ahead');
});
