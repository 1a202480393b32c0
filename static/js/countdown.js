/** Counts down between answers, so that the words stay true while no answer comes. */

const EVERY = 1000;

/**
 * @param {number} seconds from now
 * @param {(seconds: number) => void} tell called now and every second; 0 or less when the time is over
 * @returns {() => void} ends it
 */
export function countDown(seconds, tell) {
  const end = performance.now() + seconds * 1000;
  const tick = () => tell((end - performance.now()) / 1000);
  const timer = setInterval(tick, EVERY);
  tick();
  return () => clearInterval(timer);
}
