/** The tab: its title and icon say how far the picture is, for those who are looking at another one. */

const icon = document.getElementById('favicon');
const ownIcon = icon.href;
let shown = null;
let url = null;

/**
 * @param {string} title
 * @param {?number} progress 0–100, or null for the plain icon
 */
export function showInTab(title, progress) {
  document.title = title;
  const whole = progress === null ? null : Math.floor(progress);
  if (whole === shown) return;
  shown = whole;
  if (url) URL.revokeObjectURL(url);
  url = whole === null ? null : URL.createObjectURL(new Blob([ring(whole)], { type: 'image/svg+xml' }));
  icon.href = url ?? ownIcon;
}

function ring(whole) {
  const length = 2 * Math.PI * 11;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
    <rect width="32" height="32" rx="8" fill="#2a1512"/>
    <circle cx="16" cy="16" r="11" fill="none" stroke="#6b4439" stroke-width="5"/>
    <circle cx="16" cy="16" r="11" fill="none" stroke="#ff7a52" stroke-width="5" transform="rotate(-90 16 16)"
      stroke-dasharray="${(length * whole) / 100} ${length}"/>
  </svg>`;
}
