/** The look that pictures are sent with: chosen on the first page, and remembered in this browser. */

const KEY = 'darkroom.look';

const looks = [...document.querySelectorAll('#looks input')];

/** @returns {?string} the promptVersion; null when the page offers none, or none is chosen */
export function chosenLook() {
  return looks.find(({ checked }) => checked)?.value ?? null;
}

/** @returns {?string} of an earlier visit */
function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be switched off: then the page's default is chosen
  }
}

function remember() {
  try {
    localStorage.setItem(KEY, chosenLook());
  } catch {
    // it holds for as long as the page is open
  }
}

/** What was chosen on this page before the script came stays. */
export function rememberLook() {
  const look = looks.find(({ value }) => value === remembered());
  if (look && looks.every(({ checked, defaultChecked }) => checked === defaultChecked)) look.checked = true;
  for (const each of looks) each.addEventListener('change', remember);
}
