// A loop for as long as the project is processing.
const [base, token, id] = process.argv.slice(2);
const url = `${base}/api/v1/projects/${id}/progress`;

let project;
do {
  if (project) await new Promise((resolve) => setTimeout(resolve, 1000));
  const { data } = await (await fetch(url, { headers: { "X-Session-Token": token } })).json();
  project = data;
  const steps = Object.fromEntries(project.steps.map((step) => [step.name, step.status]));
  console.log(JSON.stringify({ percent: project.pipeline_progress, status: project.status, steps }));
} while (project.is_processing);
console.log(JSON.stringify({ error: project.error, milliseconds: project.steps.map((step) => step.duration_ms ?? null) }));
