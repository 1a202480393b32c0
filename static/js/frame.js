/** One picture in a list: thumbnail, name, a sentence, a bar, and what can be done with it. */

import { jobState, trouble } from './job-state.js';
import { errorWords, percent, stageWords, word } from './words.js';
import { useStatus } from './use-status.js';

const MOVING = new Set(['loading', 'pending', 'processing']);

const template = document.getElementById('frame');

export class Frame {
  name;

  element = template.content.firstElementChild.cloneNode(true);

  /** @param {string} name the file's */
  constructor(name) {
    this.name = name;
    this.#part('.name').textContent = name;
    this.#part('.name').title = name;
    for (const control of this.#controls) control.setAttribute('aria-description', name);
  }

  /**
   * @param {object} what
   * @param {string} what.state for the style sheet
   * @param {string} what.says
   * @param {?number} [what.progress] 0–100; null hides the bar
   * @param {string[]} [what.actions] the data-do of the controls that are of use now
   */
  show({ state, says, progress = null, actions = [] }) {
    this.element.dataset.state = state;
    this.#part('.says').textContent = says;
    const bar = this.#part('.bar');
    bar.classList.toggle('off', progress === null);
    bar.setAttribute('aria-valuenow', Math.floor(progress ?? 0));
    bar.style.setProperty('--progress', (progress ?? 0) / 100);
    const focused = document.activeElement;
    for (const control of this.#controls) control.hidden = !actions.includes(control.dataset.do);
    if (this.element.contains(focused)) this.#keepFocus(focused);
  }

  /** A control that goes lets go of the focus: the next one takes it, or the row until there is one. */
  #keepFocus(focused) {
    if (focused !== this.element && !focused.hidden) return;
    const next = this.#controls.find((control) => !control.hidden) ?? this.element;
    next.focus();
  }

  get #controls() {
    return [...this.element.querySelectorAll('[data-do]')];
  }

  /** @param {string} url of a thumbnail */
  picture(url) {
    const image = this.#part('img');
    image.onload = () => {
      image.hidden = false;
    };
    image.src = url;
  }

  /**
   * @param {string} action
   * @param {() => void} act
   */
  on(action, act) {
    this.#part(`[data-do=${action}]`).onclick = act;
  }

  /** @param {string} page of the job */
  link(page) {
    this.#part('[data-do=open]').href = page;
  }

  /** @param {{ status: string, stage: ?string, progress: number, error: ?object }} job snapshot or status document */
  showJob(job) {
    const state = jobState(job);
    const moving = MOVING.has(state);
    const says = sentence(state, job);
    const stale = trouble(job.error) && moving;
    this.show({ state, says: stale ? word('list.stale', { says }) : says, progress: moving ? job.progress : null, actions: ['open'] });
  }

  /**
   * Follow a job until it is over.
   *
   * @param {{ jobId: string, page: string, status: string }} entry
   * @param {string} token
   * @param {(snapshot: object) => void} onOver
   * @returns {import('./use-status.js').StatusWatch}
   */
  follow({ jobId, page, status }, token, onOver = () => {}) {
    this.link(page);
    return useStatus(jobId, {
      token,
      statusUrl: status,
      onChange: (snapshot) => {
        this.showJob(snapshot);
        if (!MOVING.has(jobState(snapshot))) onOver(snapshot);
      },
    });
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }
}

function sentence(state, { stage, progress, error }) {
  if (state === 'failed') return errorWords(error);
  if (state !== 'loading' && MOVING.has(state)) return `${stageWords(stage)} · ${percent(progress / 100)}`;
  return word(`list.${state}`) || word(`state.${state}`);
}
