/** What has happened to the job so far: how long its stages took, and, for those who want to know, every event. */

import { call } from './api.js';
import { briefly, language, word } from './words.js';

const activity = document.getElementById('activity');
const list = document.getElementById('events');
const steps = [...document.getElementById('stages').children];

let job = null;
let token = null;
let timed = '';
let lastEvent = 0;
let said = '';
let reading = false;

/**
 * To be told of every answer; asks for more only when a stage is over, or while the log is open.
 *
 * @param {object} document the job's status
 * @param {string} itsToken
 */
export function follow(document, itsToken) {
  job = document;
  token = itsToken;
  activity.hidden = false;
  showTimes();
  readOn();
}

async function showTimes() {
  const place = `${job.run} ${job.stage}`;
  if (place === timed) return;
  timed = place;
  try {
    const { steps: told } = await call('GET', job.urls.job, token);
    if (place === timed) steps.forEach((step) => showTime(step, told.find(({ name }) => name === step.dataset.step)));
  } catch {
    // the next stage asks again; the times are a convenience
  }
}

function showTime(step, told) {
  const known = told?.status === 'completed' && told.durationMs !== null;
  step.querySelector('.took').textContent = known ? briefly(told.durationMs / 1000) : '';
}

/** One reader at a time, from the last event that is shown. */
async function readOn() {
  if (!activity.open || reading || !job || job.eventCount <= lastEvent) return;
  reading = true;
  try {
    let more = true;
    while (more) {
      const answer = await call('GET', `${job.urls.events}?lastEventId=${lastEvent}&limit=500`, token);
      list.append(...answer.events.filter(isNews).map(line));
      lastEvent = answer.lastEventId;
      more = answer.hasMore;
    }
    document.getElementById('events-wrong').textContent = '';
  } catch {
    document.getElementById('events-wrong').textContent = word('log.unread');
  } finally {
    reading = false;
  }
}

/** A step that fails for good ends the job, with the same words. */
function isNews({ type, message }) {
  const isSaid = type === 'job.failed' && message === said;
  said = message;
  return !isSaid;
}

function line({ level, message, timestamp }) {
  const entry = document.createElement('li');
  entry.dataset.level = level;
  const time = document.createElement('time');
  time.dateTime = timestamp;
  time.textContent = new Intl.DateTimeFormat(language(), { timeStyle: 'medium' }).format(new Date(timestamp));
  const said = document.createElement('span');
  said.textContent = message;
  entry.append(time, said);
  return entry;
}

activity.addEventListener('toggle', readOn);
