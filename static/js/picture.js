/** The picture in the tray: the original comes up as the work goes on, the result takes its place. */

import { originalOf } from './originals.js';

const tray = document.getElementById('picture');
const original = document.getElementById('original');
const preview = document.getElementById('preview');
const compare = document.getElementById('compare');

/** @param {number} progress 0–100 */
export function develop(progress) {
  tray.style.setProperty('--developed', progress / 100);
}

/** @param {string} jobId shows the copy of what was sent, if this browser has one */
export async function showOriginal(jobId) {
  const small = await originalOf(jobId);
  if (!small) return;
  await load(original, URL.createObjectURL(small));
  tray.style.setProperty('--ratio', original.naturalWidth / original.naturalHeight);
  tray.classList.add('shown');
  offerComparison();
}

/**
 * @param {string} url
 * @returns {Promise<void>} rejected when it cannot be loaded
 */
export async function showPreview(url) {
  await load(preview, url);
  tray.classList.add('developed');
  offerComparison();
}

async function load(image, url) {
  image.src = url;
  await image.decode();
  image.hidden = false;
}

function offerComparison() {
  const both = !original.hidden && !preview.hidden;
  compare.hidden = !both;
  tray.classList.toggle('comparable', both);
}

compare.addEventListener('input', () => tray.style.setProperty('--cut', compare.value / 100));
