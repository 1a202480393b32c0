/** The sentences of the page's `<template id="words">`, filled in. They live there so that Django translates them. */

/** @returns {string|undefined} the page’s */
export const language = () => document.documentElement.lang || undefined;

let shelf;

/**
 * @param {string} key a data-word of the template
 * @param {Record<string, string|number>} [values] for the {names} in it
 * @returns {string} '' when there is no such sentence
 */
export function word(key, values = {}) {
  shelf ??= new Map(
    [...document.getElementById('words').content.children].map((entry) => [entry.dataset.word, entry.textContent]),
  );
  return fill(shelf.get(key) ?? '', values);
}

/**
 * @param {string} sentence
 * @param {Record<string, string|number>} values
 * @returns {string}
 */
export function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/**
 * The sentence for an error: ours for its code, else the server's, else the general one.
 *
 * @param {{ code: string, message?: string }} error
 * @param {Record<string, string|number>} [values]
 * @returns {string}
 */
export function errorWords(error, values = {}) {
  const ours = word(`error.${error.code}`, values);
  // A sentence whose numbers are not known here says less than the server's own.
  return (/\{\w+\}/.test(ours) ? error.message : ours || error.message) || word('error.INTERNAL');
}

/** @param {number} fraction 0–1; rounded down, so that 100% is never said early */
export function percent(fraction) {
  const whole = Math.floor(fraction * 100 + 1e-9) / 100;
  return new Intl.NumberFormat(language(), { style: 'percent' }).format(whole);
}

/** @param {number} bytes */
export function fileSize(bytes) {
  const megabytes = bytes / 1024 / 1024;
  const unit = megabytes >= 0.1 ? 'megabyte' : 'kilobyte';
  // Rounded up, so that what is above a limit is never said to be at it.
  const amount = Math.ceil((unit === 'megabyte' ? megabytes : bytes / 1024) * 10) / 10;
  return measured(amount, unit, { unitDisplay: 'short', maximumFractionDigits: 1 });
}

/** @param {number} seconds said in seconds or minutes */
export function duration(seconds) {
  if (seconds < 55) return measured(Math.ceil(seconds), 'second');
  return measured(Math.round(seconds / 60), 'minute');
}

/** @param {number} seconds as short as it can be said, for a small place */
export function briefly(seconds) {
  const brief = { unitDisplay: 'narrow', maximumFractionDigits: seconds < 10 ? 1 : 0 };
  return seconds < 100 ? measured(seconds, 'second', brief) : measured(seconds / 60, 'minute', brief);
}

/**
 * What is left, in words and in steps coarse enough not to flicker.
 *
 * @param {number} seconds
 * @returns {string}
 */
export function remaining(seconds) {
  if (seconds <= 0) return word('time.over');
  if (seconds <= 10) return word('time.seconds');
  return word('time.left', { time: duration(seconds < 55 ? Math.ceil(seconds / 5) * 5 : seconds) });
}

function measured(amount, unit, options = {}) {
  return new Intl.NumberFormat(language(), { style: 'unit', unit, unitDisplay: 'long', ...options }).format(amount);
}

/** @param {?string} stage null while the job waits */
export function stageWords(stage) {
  return word(`stage.${stage ?? 'pending'}`) || word('stage.other');
}
