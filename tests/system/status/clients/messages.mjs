// A loop: /jobs/{id}/status every two seconds, until it says completed or failed.
import { setTimeout as sleep } from "node:timers/promises";

const [base, token, id] = process.argv.slice(2);

for (;;) {
  const response = await fetch(`${base}/jobs/${id}/status`, { headers: { "X-Session-Token": token } });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const job = await response.json();
  console.log(JSON.stringify({ percent: job.percent, step: job.step, state: job.state, errors: job.errors }));
  if (job.state === "completed" || job.state === "failed") {
    console.log(JSON.stringify({ messages: job.messages.map((message) => message.msg) }));
    break;
  }
  await sleep(2000);
}
