// Watches jobs to their end, each as a page of its own: with the hook, or with the loop that one would write first.
// node watchers.mjs hook|loop URL TOKEN JOB… prints {"requests", "bytes"}, both ways, without what TCP adds.
import { Poller, useStatus } from "../../static/js/use-status.js";

const [how, base, token, ...jobs] = process.argv.slice(2);
let requests = 0;
let bytes = 0;

const headersSize = (headers) => [...new Headers(headers)].reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0);

async function counted(path, options = {}) {
  const response = await fetch(base + path, options);
  const body = await response.text();
  requests += 1;
  bytes += path.length + headersSize(options.headers) + headersSize(response.headers) + Buffer.byteLength(body) + 34;
  return { status: response.status, ok: response.ok, headers: response.headers, text: async () => body, json: async () => JSON.parse(body) };
}

function withTheHook(job) {
  const page = { document: Object.assign(new EventTarget(), { hidden: false }), window: new EventTarget() };
  return new Promise((done) => {
    useStatus(job, { token, fetch: counted, poller: new Poller(page), onChange: (seen) => (seen.job?.isTerminal || seen.error) && done(seen) });
  });
}

async function withALoop(job) {
  for (;;) {
    const answer = await counted(`/api/status/${job}`, { headers: { "X-Session-Token": token } });
    if ((await answer.json()).isTerminal) return;
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

// People do not open their pages all at once.
await Promise.all(
  jobs.map(async (job) => {
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 3000));
    await (how === "hook" ? withTheHook(job) : withALoop(job));
  }),
);
console.log(JSON.stringify({ requests, bytes }));
