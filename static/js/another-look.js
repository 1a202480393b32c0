/** On the page of a finished picture: the other looks, one tap apart. Each is a job of its own. */

import { entries, remember } from './album.js';
import { call } from './api.js';
import { keepOriginal, originalOf } from './originals.js';

const section = document.getElementById('another');
const buttons = [...section.querySelectorAll('button')];

/**
 * @param {string} look of the picture that is shown; it is not offered
 */
export function offerOthers(look) {
  for (const button of buttons) button.hidden = button.value === look;
  section.hidden = buttons.every(({ hidden }) => hidden);
}

export function hideOthers() {
  section.hidden = true;
}

/** @param {(button: HTMLButtonElement) => void} choose called with the look that was tapped, as its `value` */
export function onChoice(choose) {
  for (const button of buttons) button.addEventListener('click', () => choose(button));
}

/**
 * Start the job, or find the one that was started before: the same photo and look are one job in this browser.
 *
 * @param {HTMLButtonElement} button of the look
 * @param {{ jobId: string, look: string, url: string, token: string }} shown the job on this page
 * @returns {Promise<string>} the page of the job
 * @throws {import('./api.js').ApiError}
 */
export async function paint(button, { jobId, look, url, token }) {
  const known = entries();
  const own = known.find((entry) => entry.jobId === jobId);
  const first = own?.first ?? { jobId, look, name: own?.name ?? '' };
  const sent = known.find((entry) => entry.jobId === first.jobId);
  if (button.value === first.look && sent) return sent.page;
  for (const each of buttons) each.setAttribute('aria-disabled', 'true');
  try {
    const key = `look ${first.jobId} ${button.value}`;
    const { jobId: its, urls } = await call('POST', url, token, { key, body: { promptVersion: button.value } });
    const name = [first.name, button.querySelector('.named').textContent].filter(Boolean).join(' – ');
    remember({ jobId: its, name, page: urls.page, status: urls.status, first });
    const original = await originalOf(jobId);
    if (original) await keepOriginal(its, original);
    return urls.page;
  } finally {
    for (const each of buttons) each.removeAttribute('aria-disabled');
  }
}
