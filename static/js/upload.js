/** The first page: takes pictures in and sends them. */

import { ApiError } from './api.js';
import { remember } from './album.js';
import { Frame } from './frame.js';
import { countDown } from './countdown.js';
import { jobState } from './job-state.js';
import { chosenLook, rememberLook } from './looks.js';
import { offerToForget, showMyPictures } from './my-pictures.js';
import { keepOriginal, look } from './originals.js';
import { mostPixels, refusal } from './precheck.js';
import { newKey, recall, send } from './sending.js';
import { storedToken } from './session.js';
import { duration, errorWords, fileSize, percent, word } from './words.js';

const AT_ONCE = 2;

const page = document.getElementById('send');
const sendingList = document.getElementById('sending');
const announcer = document.getElementById('announcer');
const limits = {
  maxBytes: Number(page.dataset.maxBytes),
  maxPixels: Number(page.dataset.maxPixels),
  maxWebpPixels: Number(page.dataset.maxWebpPixels),
};

const waiting = [];
const followed = [];
let underWay = 0;
let unsent = 0;

/** @param {Iterable<File>} files each becomes its own job; a single one leads on to its page */
function take(files) {
  const all = [...files];
  const alone = all.length === 1 && sendingList.childElementCount === 0;
  const look = chosenLook();
  for (const file of all) {
    const picture = { file, alone, look, key: newKey(), frame: new Frame(file.name || word('list.untitled')) };
    sendingList.append(picture.frame.element);
    attempt(picture);
  }
}

async function attempt(picture) {
  const { frame } = picture;
  const cancel = new AbortController();
  frame.on('cancel', () => cancel.abort());
  frame.on('again', () => attempt(picture));
  frame.on('remove', () => remove(frame));
  frame.show({ state: 'checking', says: word('sending.checking'), actions: ['cancel'] });
  unsent += 1;
  const accepted = await delivered(picture, cancel.signal);
  unsent -= 1; // before the page is left: what is accepted needs no warning
  if (accepted) await welcome(picture, accepted);
}

/** @returns {Promise<?object>} the 202's body, or null: then the row says why */
async function delivered(picture, signal) {
  try {
    const code = await objection(picture);
    if (code) throw new ApiError(422, { code, message: '', retryable: false });
    return await inLine(() => deliver(picture, signal), picture, signal);
  } catch (error) {
    if (signal.aborted) await calledOff(picture);
    else refused(picture, error);
    return null;
  }
}

/** @returns {Promise<?string>} the code that the server would answer with; null, and the thumbnail, if all is well */
async function objection(picture) {
  const code = await refusal(picture.file, limits);
  if (code) return code;
  const most = await mostPixels(picture.file, limits);
  picture.seen ??= await look(picture.file, most);
  if (!picture.seen) return null;
  const { width, height } = picture.seen;
  if (width * height > most) {
    picture.over = { width, height, millions: most / 1e6 };
    return 'IMAGE_TOO_LARGE';
  }
  if (picture.seen.small) picture.frame.picture(URL.createObjectURL(picture.seen.small));
  return null;
}

/** Few at once: more would only share the same line, and all would be late. */
async function inLine(work, { frame }, signal) {
  if (underWay >= AT_ONCE) {
    frame.show({ state: 'queued', says: word('sending.queued'), actions: ['cancel'] });
    await new Promise((go, leave) => {
      waiting.push({ go, signal });
      signal.addEventListener('abort', leave);
    });
  }
  signal.throwIfAborted();
  underWay += 1;
  try {
    return await work();
  } finally {
    underWay -= 1;
    nextInLine();
  }
}

function nextInLine() {
  const next = waiting.findIndex(({ signal }) => !signal.aborted);
  const [entry] = waiting.splice(0, next + 1).slice(-1);
  if (next >= 0) entry.go();
}

function deliver(picture, signal) {
  const { file, key, look, frame } = picture;
  let endCount = () => {};
  const onProgress = ({ state, fraction = 1, wait }) => {
    endCount();
    if (wait === undefined) {
      const says = word(`sending.${state}`, { percent: percent(fraction) });
      frame.show({ state, says, progress: fraction * 100, actions: ['cancel'] });
      return;
    }
    endCount = countDown(wait / 1000, (left) => {
      const says = word(`sending.${state}`, { time: duration(Math.max(left, 1)) });
      frame.show({ state, says, actions: ['cancel'] });
    });
  };
  const onDoubt = (token) => {
    picture.doubt = token;
  };
  return send(file, { key, look, signal, onProgress, onDoubt }).finally(() => endCount());
}

async function welcome({ file, alone, seen, frame }, { jobId, urls }) {
  const entry = { jobId, name: file.name, page: urls.page, status: urls.status };
  remember(entry);
  if (seen?.small) await keepOriginal(jobId, seen.small);
  if (alone && sendingList.childElementCount === 1) {
    frame.show({ state: 'arrived', says: word('sending.accepted'), progress: 100 });
    location.assign(urls.page);
    return;
  }
  announce(frame, word('sending.accepted'));
  offerToForget();
  followed.push({ frame, watch: frame.follow(entry, storedToken()) });
}

/** The browser has let go of its session: what was sent in it cannot be opened any more. */
function letGo() {
  for (const { frame, watch } of followed.splice(0)) {
    watch.stop();
    frame.element.remove();
  }
}

function refused({ file, frame, over }, error) {
  const values = { size: fileSize(file.size), limit: fileSize(limits.maxBytes), ...over };
  const says = errorWords(error, values);
  frame.show({ state: 'refused', says, actions: error.retryable ? ['again', 'remove'] : ['remove'] });
  announce(frame, says);
}

/** The person wants it back: not sent is only said of what has not arrived. */
async function calledOff(picture) {
  const { file, frame, key, doubt } = picture;
  if (!doubt) {
    settle(frame, 'cancelled', ['again', 'remove']);
    return;
  }
  frame.show({ state: 'recalling', says: word('sending.recalling') });
  try {
    const job = await recall(key, doubt);
    picture.doubt = null;
    if (!job) {
      settle(frame, 'cancelled', ['again', 'remove']);
      return;
    }
    remember({ jobId: job.jobId, name: file.name, page: job.urls.page, status: job.urls.status });
    frame.link(job.urls.page);
    picture.key = newKey(); // the other one stands for that job
    if (jobState(job) === 'cancelled') settle(frame, 'recalled', ['again', 'open', 'remove']);
    else frame.showJob(job);
  } catch {
    settle(frame, 'doubt', ['again', 'remove']);
  }
}

function settle(frame, state, actions) {
  const says = word(`sending.${state}`);
  frame.show({ state, says, actions });
  announce(frame, says);
}

function remove(frame) {
  frame.element.remove();
  document.getElementById('pick').focus();
}

function announce(frame, says) {
  announcer.textContent = `${frame.name}: ${says}`;
}

function listen() {
  for (const input of document.querySelectorAll('input[type=file]')) {
    input.addEventListener('change', () => {
      take(input.files);
      input.value = ''; // the same picture may be chosen again
    });
  }
  addEventListener('paste', ({ clipboardData }) => take(clipboardData?.files ?? []));
  addEventListener('dragover', (event) => {
    event.preventDefault(); // also keeps a near miss from opening the file in place of the page
    page.classList.toggle('dragging', event.dataTransfer.types.includes('Files'));
  });
  addEventListener('dragleave', ({ relatedTarget }) => {
    if (!relatedTarget) page.classList.remove('dragging');
  });
  addEventListener('drop', (event) => {
    event.preventDefault();
    page.classList.remove('dragging');
    take(event.dataTransfer.files);
  });
  addEventListener('beforeunload', (event) => {
    if (unsent > 0) event.preventDefault();
  });
  addEventListener('pageshow', ({ persisted }) => {
    if (persisted) location.reload(); // back from a job: its row here stood still meanwhile
  });
}

listen();
rememberLook();
showMyPictures(letGo);
