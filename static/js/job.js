/** The page of one job: shows what the status says, all of it and nothing more. */

import { hideOthers, offerOthers, onChoice, paint } from './another-look.js';
import { call } from './api.js';
import { entries, forget } from './album.js';
import { countDown } from './countdown.js';
import { jobState, timeline, trouble } from './job-state.js';
import { follow } from './history.js';
import { dropOriginal } from './originals.js';
import { develop, showOriginal, showPreview } from './picture.js';
import { storedToken } from './session.js';
import { showInTab } from './tab.js';
import { backoff, useStatus } from './use-status.js';
import { duration, errorWords, percent, remaining, stageWords, word } from './words.js';

const MOST_TRIES = 10;
const WHILE_HIDDEN = 30_000; // the tab's title and icon are all that is seen then
const RUNNING = new Set(['pending', 'processing']);

const jobId = location.pathname.split('/').filter(Boolean).at(-1);
const token = storedToken();
const part = (id) => document.getElementById(id);
const steps = [...part('stages').children];

let watch;
let last = null;
let counted = null;
let endCount = () => {};
let lastStage = null;
let result = null;
let painting = false;
let announced = '';

function start() {
  watch?.stop();
  watch = useStatus(jobId, { token, statusUrl: `/api/status/${jobId}`, whileHidden: WHILE_HIDDEN, onChange: draw });
}

function draw(snapshot) {
  showTrouble(snapshot.error, snapshot.job !== null || last?.job);
  // A new watch over a job that is on screen already knows less than the page until its first answer.
  if (snapshot.isLoading && last) return;
  last = snapshot;
  if (snapshot.status === 'processing') lastStage = snapshot.stage;
  const state = jobState(snapshot);
  showState(state, snapshot);
  if (state === 'completed') showResult(snapshot.resultId);
  if (snapshot.job && (snapshot.error?.kind ?? 'job') === 'job') follow(snapshot.job, token);
}

function showState(state, { stage, progress, error, job }) {
  const running = RUNNING.has(state);
  const headline = running ? stageWords(stage) : word(`state.${state}`);
  part('job').dataset.state = state;
  if (part('headline').textContent !== headline) part('wrong').textContent = ''; // said of the state before
  part('headline').textContent = headline;
  showDetail(state, job, error);
  showProgress(progress);
  showSteps(state, error);
  part('attempt').textContent = running ? attemptWords(job.attempt) : '';
  showActions(state, job, error);
  showInTab(running ? `${percent(progress / 100)} · ${headline} – Darkroom` : `${headline} – Darkroom`, running ? progress : null);
  announce(headline);
}

function showDetail(state, job, error) {
  const detail = part('detail');
  const running = RUNNING.has(state);
  if (running && job === counted) return; // nothing new was said: the time that it told runs on
  counted = running ? job : null;
  endCount();
  if (state === 'failed') detail.textContent = failureWords(error);
  else if (!running) detail.textContent = word(`detail.${state}`);
  else showOutlook(detail, job);
}

function showOutlook(detail, { status, queuePosition, retryInSeconds: pause, estimatedRemainingSeconds: seconds }) {
  if (typeof pause === 'number') {
    endCount = countDown(pause, (left) => {
      detail.textContent = left > 0 ? word('time.pause', { time: duration(left) }) : word('time.again');
    });
    return;
  }
  const queue = status === 'pending' ? queueWords(queuePosition) : '';
  detail.textContent = queue;
  if (typeof seconds !== 'number') return;
  endCount = countDown(seconds, (left) => {
    detail.textContent = [queue, remaining(left)].filter(Boolean).join(' · ');
  });
}

function failureWords(error) {
  const next = word(`next.${error.code}`) || word(error.retryable ? 'next.retry' : 'next.other');
  return `${errorWords(error)} ${next}`;
}

function queueWords(position) {
  if (position === null || position === undefined) return '';
  if (position <= 1) return word('queue.next');
  return word(position >= 100 ? 'queue.beyond' : 'queue.position', { position });
}

function attemptWords(attempt) {
  if (!(attempt > 1)) return '';
  return word(`attempt.${attempt}`) || word('attempt.more', { attempt });
}

function showProgress(progress) {
  const bar = part('bar');
  bar.setAttribute('aria-valuenow', Math.floor(progress));
  bar.style.setProperty('--progress', progress / 100);
  part('percent').textContent = percent(progress / 100);
  develop(progress);
}

function showSteps(state, error) {
  const job = { state, stage: lastStage, failedStep: error?.step ?? null };
  const standings = timeline(steps.map(({ dataset }) => dataset), job);
  standings.forEach((standing, index) => {
    const step = steps[index];
    step.dataset.standing = standing;
    step.querySelector('.unseen').textContent = word(`step.${standing}`);
    if (standing === 'current') step.setAttribute('aria-current', 'step');
    else step.removeAttribute('aria-current');
  });
}

function showActions(state, job, error) {
  const over = ['completed', 'failed', 'cancelled', 'expired'].includes(state);
  part('retry').hidden = !(over && error?.retryable && job.urls?.retry);
  part('cancel').hidden = !(RUNNING.has(state) && job.urls?.cancel);
  // It comes with the download, not before, so that neither moves the other.
  part('delete').hidden = !(over && job?.urls?.job) || (state === 'completed' && !result);
  part('home').hidden = !['unauthorized', 'missing', 'expired'].includes(state) && !(state === 'failed' && !error.retryable);
  part('download').hidden = !(state === 'completed' && result);
  part('full').hidden = !(state === 'completed' && result?.fullUrl);
  if (state === 'completed' && result && job.urls?.again) offerOthers(result.promptVersion);
  else hideOthers();
}

function showTrouble(error, known) {
  const kind = trouble(error);
  const note = part('connection');
  const says = kind ? word(known ? `kind.${kind}` : `kind.${kind}.first`) : '';
  if (kind) announce(says);
  else if (note.textContent) announce(word('kind.restored'));
  note.textContent = says;
}

async function showResult(resultId, failures = 0) {
  try {
    await fetchResult(resultId);
  } catch (error) {
    if (error.status === 410 || error.status === 404) {
      showState('expired', last);
      return;
    }
    const again = failures + 1 < MOST_TRIES;
    part('detail').textContent = word(again ? 'detail.result' : 'detail.unfetched');
    if (again) setTimeout(showResult, backoff(failures + 1), resultId, failures + 1);
  }
}

async function fetchResult(resultId) {
  result = await call('GET', `/api/results/${resultId}`, token);
  await showPreview(result.previewUrl);
  part('download').href = result.downloadUrl;
  if (result.fullUrl) part('full').href = result.fullDownloadUrl;
  showState('completed', last);
}

/** Links to results end after a while; a page left open asks for new ones. They save a file, so the page stays. */
async function followFresh(event) {
  if (Date.parse(result.expiresAt) > Date.now()) return;
  event.preventDefault();
  await act(async () => {
    await fetchResult(last.resultId);
    location.assign(event.target.href);
  });
}

async function act(work) {
  part('wrong').textContent = '';
  try {
    await work();
  } catch (error) {
    part('wrong').textContent = errorWords(error);
    announce(part('wrong').textContent);
    if (error.status === 409) start(); // it is not in the state that the page shows
  }
}

function retry() {
  return act(async () => {
    await call('POST', last.job.urls.retry, token);
    part('headline').textContent = word('state.retrying');
    part('headline').focus();
    part('retry').hidden = true;
    start();
  });
}

function cancel() {
  return act(async () => {
    await call('POST', last.job.urls.cancel, token);
    part('headline').focus();
    watch.refresh();
  });
}

async function tryAnother(button) {
  if (painting) return;
  painting = true;
  await act(async () => {
    const shown = { jobId, look: result.promptVersion, url: last.job.urls.again, token };
    location.assign(await paint(button, shown));
  });
  painting = false;
}

function remove() {
  return act(async () => {
    await call('DELETE', last.job.urls.job, token);
    forget(jobId);
    await dropOriginal(jobId);
    location.assign('/#deleted');
  });
}

function announce(text) {
  if (text === announced) return;
  announced = text;
  part('announcer').textContent = text;
}

function listen() {
  part('retry').addEventListener('click', retry);
  part('cancel').addEventListener('click', cancel);
  part('delete').addEventListener('click', () => part('sure').showModal());
  part('sure').addEventListener('close', () => {
    if (part('sure').returnValue === 'delete') remove();
    part('sure').returnValue = '';
  });
  onChoice(tryAnother);
  part('download').addEventListener('click', followFresh);
  part('full').addEventListener('click', followFresh);
  document.addEventListener('visibilitychange', () => {
    // It may have been tried again meanwhile, in another tab.
    if (!document.hidden && last?.isFailed) start();
  });
}

const known = entries().find((entry) => entry.jobId === jobId);
part('name').textContent = known?.name ?? '';
part('name').title = known?.name ?? '';
if (token) {
  listen();
  start();
  showOriginal(jobId);
} else {
  showState('unauthorized', { stage: null, progress: 0, error: null, job: null });
}
