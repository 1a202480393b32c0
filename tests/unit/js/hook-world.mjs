/** What the hook's tests share: a clock that is moved by hand, a page, and a small real HTTP server. */

import { createServer } from 'node:http';

import { Poller } from '../../../static/js/use-status.js';

/** Lets everything that is ready run: promises, and what they start. */
export async function settle() {
  for (let turn = 0; turn < 2; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Timers and a monotonic clock that stand still until `pass` moves them. */
export class Clock {
  time = 0;

  #timers = new Map();
  #ids = 0;

  get pending() {
    return this.#timers.size;
  }

  now = () => this.time;

  setTimeout = (run, wait) => {
    this.#timers.set(++this.#ids, { run, at: this.time + wait });
    return this.#ids;
  };

  clearTimeout = (id) => this.#timers.delete(id);

  async pass(milliseconds) {
    const end = this.time + milliseconds;
    await settle();
    for (let next = this.#next(end); next; next = this.#next(end)) {
      const [id, { run, at }] = next;
      this.#timers.delete(id);
      this.time = Math.max(this.time, at);
      run();
      await settle();
    }
    this.time = end;
  }

  #next(end) {
    return [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
  }
}

/** A page with a visibility and a connection, a clock, and a poller that lives in them. */
export class World {
  clock = new Clock();
  window = new EventTarget();
  document = Object.assign(new EventTarget(), { hidden: false });

  constructor(env = {}) {
    const { setTimeout, clearTimeout, now } = this.clock;
    const { document, window } = this;
    this.poller = new Poller({ setTimeout, clearTimeout, now, document, window, ...env });
  }

  show(visible) {
    this.document.hidden = !visible;
    this.document.dispatchEvent(new Event('visibilitychange'));
  }

  online() {
    this.window.dispatchEvent(new Event('online'));
  }
}

/** The status document of a job under way, with what a test cares about. */
export function job(fields = {}) {
  return {
    success: true,
    status: 'processing',
    stage: 'generating',
    progress: 30,
    resultId: null,
    isTerminal: false,
    run: 1,
    ...fields,
  };
}

export const completed = job({ status: 'completed', stage: 'complete', progress: 100, resultId: 'r1', isTerminal: true });

export const failed = job({
  status: 'failed',
  stage: 'failed',
  progress: 45,
  isTerminal: true,
  errorMessage: 'It is damaged.',
  error: { code: 'UNREADABLE_IMAGE', message: 'It is damaged.', retryable: false, step: 'validate' },
});

/** A `fetch` that answers with what `reply` returns ({ status, headers, body }), throws what it throws, and counts. */
export function fakeFetch(world, reply) {
  const requests = [];
  const ask = async (url, { headers, signal }) => {
    const request = { url, headers, signal, at: world.clock.time };
    requests.push(request);
    const { status = 200, headers: sent = {}, body = job() } = (await reply(request, requests.length)) ?? {};
    return new Response(status === 304 ? null : JSON.stringify(body), { status, headers: sent });
  };
  return Object.assign(ask, { requests });
}

/** Times between the requests' starts, in milliseconds. */
export const gaps = ({ requests }) => requests.slice(1).map(({ at }, index) => at - requests[index].at);

/** A real server on a free port; `handler` may be replaced while it runs. */
export async function serve(handler) {
  const server = createServer((request, response) => handler(request, response));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}
