/** The README's example for React, as it stands there, in a page that jsdom plays: `node readme.mjs URL TOKEN JOB`. */

import { readFile, writeFile } from 'node:fs/promises';
import { JSDOM } from 'jsdom';
import { createElement } from 'react';
import { createRoot } from 'react-dom/client';
import { transform } from 'sucrase';

const [url, token, jobId] = process.argv.slice(2);
const { README, HOOK } = process.env;

const readme = await readFile(README, 'utf8');
const [, block] = /In React, with the same file:\n\n((?: {4}.*\n|\n)+)/.exec(readme);
const source = block.replace(/^ {4}/gm, '');
const { code } = transform(source, { transforms: ['jsx'], jsxRuntime: 'automatic', production: true });
const example = `${code.replace('"/static/js/use-status.js"', JSON.stringify(HOOK))}\nexport { Developing };`;
await writeFile('./example.mjs', example);

const { window } = new JSDOM('<!doctype html><main></main>', { url, pretendToBeVisual: true }); // or it would be hidden, and the hook silent
globalThis.window = window;
globalThis.document = window.document;
const ask = globalThis.fetch;
globalThis.fetch = (path, options) => ask(new URL(path, url), options);

const { Developing } = await import('./example.mjs');
const onUncaughtError = (error) => {
  console.error(error);
  process.exit(1);
};
const root = createRoot(window.document.querySelector('main'), { onUncaughtError });
root.render(createElement(Developing, { jobId, token }));

let last = null;
const look = setInterval(() => {
  const bar = window.document.querySelector('progress');
  const seen = bar && JSON.stringify({ percent: bar.value, label: bar.getAttribute('aria-label') });
  if (seen && seen !== last) console.log(seen);
  last = seen ?? last;
  if (bar?.value !== 100) return;
  clearInterval(look);
  root.unmount();
  window.close();
}, 20);
