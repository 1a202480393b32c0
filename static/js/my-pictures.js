/** “My pictures”: those that this browser has sent, newest first, a page at a time; and how to let go of them all. */

import { call } from './api.js';
import { entries, forget, forgetAll, onChangeElsewhere } from './album.js';
import { Frame } from './frame.js';
import { dropOriginals, originalOf } from './originals.js';
import { closeSession, storedToken } from './session.js';
import { errorWords, word } from './words.js';

const LISTED = 12;

const part = (id) => document.getElementById(id);
const list = part('pictures');
const more = part('more');

/** @type {Map<string, { frame: Frame, watch?: import('./use-status.js').StatusWatch }>} by the job's id */
const shown = new Map();
let cursor = null;
let reading = false;

/** @param {() => void} onForgotten called when the browser has let go of its session */
export async function showMyPictures(onForgotten) {
  listen(onForgotten);
  if (!storedToken()) return;
  offerToForget();
  confirmDeletion();
  try {
    await showPage();
  } catch (error) {
    if (error.status === 401) letGo(); // the session was ended elsewhere
    list.append(...(await rows(entries().slice(0, LISTED))));
  }
  tidy();
}

/** The page of a job that was deleted leads here. */
function confirmDeletion() {
  if (location.hash !== '#deleted') return;
  history.replaceState(null, '', location.pathname);
  say('own-note', word('list.deleted'));
}

/** From the first job of this browser on. */
export function offerToForget() {
  part('own').hidden = false;
  part('own-note').textContent = '';
}

/** Nothing of the session can be opened any more. */
function letGo() {
  forgetAll();
  more.hidden = true;
  part('own').hidden = true;
  for (const jobId of [...shown.keys()]) drop(jobId);
}

/** @returns {Promise<Element[]>} the new rows */
async function showPage() {
  const after = cursor ? `&cursor=${cursor}` : '';
  const names = new Map(entries().map(({ jobId, name }) => [jobId, name]));
  const { jobs, nextCursor } = await call('GET', `/api/jobs?limit=${LISTED}${after}`, storedToken());
  const added = await rows(jobs.map((job) => entryOf(job, names.get(job.jobId))));
  list.append(...added);
  cursor = nextCursor;
  more.hidden = cursor === null;
  return added;
}

function entryOf(job, name = word('list.untitled')) {
  return { jobId: job.jobId, name, page: job.urls.page, status: job.urls.status, job };
}

async function showMore() {
  if (reading) return;
  reading = true;
  part('album-wrong').textContent = '';
  try {
    const [first] = await showPage();
    first?.querySelector('[data-do=open]').focus({ preventScroll: true }); // it stands where the button was
  } catch (error) {
    say('album-wrong', errorWords(error));
  } finally {
    reading = false;
  }
}

function rows(listed) {
  return Promise.all(listed.filter(({ jobId }) => !shown.has(jobId)).map(row));
}

async function row(entry) {
  const frame = new Frame(entry.name);
  const kept = { frame };
  shown.set(entry.jobId, kept);
  const original = await originalOf(entry.jobId);
  if (original) frame.picture(URL.createObjectURL(original));
  frame.link(entry.page);
  const over = ({ error, resultId }) => {
    if (error?.kind === 'not-found' || error?.kind === 'unauthorized') {
      forget(entry.jobId);
      drop(entry.jobId);
    } else if (!original && resultId) showThumbnail(frame, resultId);
  };
  if (entry.job?.isTerminal) {
    frame.showJob(entry.job);
    over(entry.job);
  } else {
    frame.showJob(entry.job ?? { status: null, progress: 0, error: null });
    kept.watch = frame.follow(entry, storedToken(), over);
  }
  return frame.element;
}

async function showThumbnail(frame, resultId) {
  try {
    const { thumbnailUrl } = await call('GET', `/api/results/${resultId}`, storedToken());
    frame.picture(thumbnailUrl);
  } catch {
    // the row says all that matters; the placeholder stays
  }
}

function drop(jobId) {
  const { frame, watch } = shown.get(jobId) ?? {};
  if (!frame) return;
  watch?.stop();
  shown.delete(jobId);
  if (frame.element.contains(document.activeElement)) part('pick').focus();
  frame.element.remove();
  tidy();
}

function tidy() {
  part('album').hidden = shown.size === 0;
}

async function forgetThisBrowser(onForgotten) {
  try {
    await closeSession();
  } catch (error) {
    say('own-note', errorWords(error));
    return;
  }
  await dropOriginals();
  letGo();
  onForgotten();
  say('own-note', word('list.forgotten'));
  part('pick').focus();
}

function say(place, words) {
  part(place).textContent = words;
  part('announcer').textContent = words;
}

function listen(onForgotten) {
  more.addEventListener('click', showMore);
  part('forget').addEventListener('click', () => part('sure').showModal());
  part('sure').addEventListener('close', () => {
    if (part('sure').returnValue === 'forget') forgetThisBrowser(onForgotten);
    part('sure').returnValue = '';
  });
  onChangeElsewhere(async ({ added, removed }) => {
    list.prepend(...(await rows(added)));
    for (const { jobId } of removed) drop(jobId);
    tidy();
  });
}
