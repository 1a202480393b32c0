import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { errorWords, fileSize, fill, percent, remaining, stageWords } from '../../../static/js/words.js';

const sentences = {
  'time.left': 'About {time} left',
  'time.seconds': 'A few seconds left',
  'time.over': 'Any moment now',
  'error.INTERNAL': 'Ours.',
  'error.UNSUPPORTED_TYPE': 'Not a picture.',
  'error.FILE_TOO_LARGE': 'Too large: {size}.',
  'stage.pending': 'Waiting',
  'stage.generating': 'Developing',
  'stage.other': 'Working',
};

before(() => {
  const children = Object.entries(sentences).map(([word, textContent]) => ({ dataset: { word }, textContent }));
  globalThis.document = { documentElement: { lang: 'en' }, getElementById: () => ({ content: { children } }) };
});

test('values are filled in as text, once', () => {
  assert.equal(fill('{a} and {b} and {c}', { a: '{b}', b: 0 }), '{b} and 0 and {c}');
});

test('100% is never said early', () => {
  assert.equal(percent(0.999), '99%');
  assert.equal(percent(0.29), '29%');
  assert.equal(percent(1), '100%');
});

test('what is left is said in steps that do not flicker', () => {
  assert.equal(remaining(-3), 'Any moment now');
  assert.equal(remaining(7), 'A few seconds left');
  assert.equal(remaining(31.2), 'About 35 seconds left');
  assert.equal(remaining(64), 'About 1 minute left');
  assert.equal(remaining(200), 'About 3 minutes left');
});

test('sizes are said in the unit that suits, rounded up', () => {
  assert.equal(fileSize(20 * 1024 * 1024), '20 MB');
  assert.equal(fileSize(20 * 1024 * 1024 + 1), '20.1 MB');
  assert.equal(fileSize(3000), '3 kB');
});

test('an error is said in our words, else in the server’s, else in general', () => {
  assert.equal(errorWords({ code: 'UNSUPPORTED_TYPE', message: 'Server.' }), 'Not a picture.');
  assert.equal(errorWords({ code: 'NEW_CODE', message: 'Server.' }), 'Server.');
  assert.equal(errorWords({ code: 'NEW_CODE' }), 'Ours.');
  assert.equal(errorWords({ code: 'FILE_TOO_LARGE', message: 'Server.' }, { size: '30 MB' }), 'Too large: 30 MB.');
  assert.equal(errorWords({ code: 'FILE_TOO_LARGE', message: 'Server.' }), 'Server.');
});

test('a stage without a name of its own is still work', () => {
  assert.equal(stageWords(null), 'Waiting');
  assert.equal(stageWords('generating'), 'Developing');
  assert.equal(stageWords('sharpening'), 'Working');
});
