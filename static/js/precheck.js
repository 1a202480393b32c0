/** What the server would say about a file, said before it is sent. The server judges again, by content. */

/** As many as the server looks at for the kind of a file. */
const HEAD_BYTES = 512;

/** Of AVIF and HEIC; any film of a phone begins with the same box, and other brands in it. */
const BRANDS = new Set(['mif1', 'mif2', 'msf1', 'avif', 'avis', 'heic', 'heix', 'heim', 'heis', 'hevc', 'hevx', 'hevm', 'hevs']);

/**
 * @param {Uint8Array} head the file's first bytes
 * @returns {boolean} whether it begins like one of the formats that are taken
 */
export function looksLikePicture(head) {
  const text = String.fromCharCode(...head.slice(0, HEAD_BYTES)); // one letter for each byte
  return (
    text.startsWith('\xff\xd8\xff') || // JPEG
    text.startsWith('\x89PNG\r\n\x1a\n') ||
    /^GIF8[79]a/.test(text) ||
    isWebp(text) ||
    (text.slice(4, 8) === 'ftyp' && brands(head, text).some((brand) => BRANDS.has(brand)))
  );
}

/**
 * @param {Blob} file
 * @param {{ maxPixels: number, maxWebpPixels: number }} limits
 * @returns {Promise<number>} how many pixels the server takes of a file of this kind
 */
export async function mostPixels(file, { maxPixels, maxWebpPixels }) {
  const head = new Uint8Array(await file.slice(0, 12).arrayBuffer());
  return isWebp(String.fromCharCode(...head)) ? maxWebpPixels : maxPixels;
}

const isWebp = (text) => /^RIFF[^]{4}WEBP/.test(text);

/** The main brand, and those that the file says it is compatible with (ISO 14496-12). */
function brands(head, text) {
  const size = new DataView(head.buffer, head.byteOffset, 4).getUint32(0);
  const found = [text.slice(8, 12)];
  for (let at = 16; at < Math.min(size, text.length); at += 4) found.push(text.slice(at, at + 4));
  return found;
}

/**
 * @param {File} file
 * @param {{ maxBytes: number }} limits
 * @returns {Promise<?string>} an error code, or null when it may be sent
 */
export async function refusal(file, { maxBytes }) {
  if (file.size > maxBytes) return 'FILE_TOO_LARGE';
  if (file.size === 0) return 'EMPTY_FILE';
  try {
    const head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
    return looksLikePicture(head) ? null : 'UNSUPPORTED_TYPE';
  } catch {
    return 'UNREADABLE_IMAGE'; // a folder, or a file that is gone
  }
}
