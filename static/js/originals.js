/** Small copies of the pictures sent, kept in this browser only: to watch them develop and to compare. */

const STORE = 'originals';
const MOST = 24;
const LONGEST_SIDE = 1280;
/** No copy is made of a larger photo: decoding takes 4 bytes of a phone’s memory per pixel. */
const COPY_MAX_PIXELS = 64e6;

/**
 * @param {File} file
 * @param {number} maxPixels of which more are not decoded: a small file can unfold into gigabytes
 * @returns {Promise<?{ width: number, height: number, small: ?Blob }>} null when the browser cannot show it, as with HEIC in most
 */
export async function look(file, maxPixels) {
  const url = URL.createObjectURL(file);
  try {
    const image = new Image();
    await sized(image, url);
    const { naturalWidth: width, naturalHeight: height } = image;
    if (width * height > Math.min(maxPixels, COPY_MAX_PIXELS)) return { width, height, small: null };
    await image.decode();
    return { width, height, small: await shrink(image, width, height) };
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(url);
  }
}

/**
 * @param {string} jobId
 * @param {Blob} small
 */
export async function keepOriginal(jobId, small) {
  await inStore('readwrite', (store) => {
    store.put({ jobId, small, at: Date.now() });
    // The index is by age: what comes first beyond the limit has waited longest.
    store.count().onsuccess = ({ target }) => {
      let surplus = target.result - MOST;
      store.index('at').openCursor().onsuccess = ({ target: { result: cursor } }) => {
        if (!cursor || surplus-- <= 0) return;
        cursor.delete();
        cursor.continue();
      };
    };
  });
}

/**
 * @param {string} jobId
 * @returns {Promise<?Blob>}
 */
export async function originalOf(jobId) {
  const found = await inStore('readonly', (store) => store.get(jobId));
  return found?.small ?? null;
}

/** @param {string} jobId */
export async function dropOriginal(jobId) {
  await inStore('readwrite', (store) => store.delete(jobId));
}

export async function dropOriginals() {
  await inStore('readwrite', (store) => store.clear());
}

/** The size is known before the pixels are. */
function sized(image, url) {
  return new Promise((resolve, reject) => {
    image.onload = resolve;
    image.onerror = reject;
    image.src = url;
  });
}

function shrink(image, width, height) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/webp', 0.85));
}

/** Storage may be full, private or switched off; the copy is a convenience, so that counts as not found. */
async function inStore(mode, work) {
  let database;
  try {
    database = await opened();
    const transaction = database.transaction(STORE, mode);
    const request = work(transaction.objectStore(STORE));
    await finished(transaction);
    return request?.result ?? null;
  } catch {
    return null;
  } finally {
    database?.close();
  }
}

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open('darkroom', 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(STORE, { keyPath: 'jobId' }).createIndex('at', 'at');
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}
