/** The states that a page shows, from what the API says. */

const CONNECTION = new Set(['offline', 'unavailable']);

const FINAL = { unauthorized: 'unauthorized', 'not-found': 'missing', gone: 'expired' };

/**
 * @param {{ status: ?string, error: ?{ kind?: string, code: string } }} job a hook's snapshot or a status document
 * @returns {'loading'|'pending'|'processing'|'completed'|'failed'|'cancelled'|'unauthorized'|'missing'|'expired'}
 */
export function jobState({ status, error }) {
  if (error?.kind in FINAL) return FINAL[error.kind];
  if (status === 'failed' && error?.code === 'CANCELED') return 'cancelled';
  return status ?? 'loading';
}

/**
 * @param {?{ kind?: string }} error a snapshot's
 * @returns {?string} the kind of connection trouble, null when what is shown is up to date
 */
export function trouble(error) {
  return CONNECTION.has(error?.kind) ? error.kind : null;
}

/**
 * How each step of the timeline stands. The order is the timeline's own.
 *
 * @param {{ stage: string, step: string }[]} steps
 * @param {{ state: string, stage: ?string, failedStep: ?string }} job
 * @returns {('done'|'current'|'failed'|'stopped'|'ahead')[]}
 */
export function timeline(steps, { state, stage, failedStep }) {
  if (state === 'completed' || state === 'expired') return steps.map(() => 'done');
  // The stage was seen at the poll before; the job may have come further until it failed.
  const at = steps.findIndex((entry) => (failedStep ? entry.step === failedStep : entry.stage === stage));
  const here = { failed: 'failed', cancelled: 'stopped' }[state] ?? 'current';
  return steps.map((_, index) => {
    if (index === at) return here;
    return index < at ? 'done' : 'ahead';
  });
}
