import assert from 'node:assert/strict';
import { test } from 'node:test';

import { looksLikePicture, mostPixels, refusal } from '../../../static/js/precheck.js';

const bytes = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const limits = { maxBytes: 1000 };

for (const [name, head] of [
  ['JPEG', '\xff\xd8\xff\xe0\0\x10JFIF\0\x01'],
  ['PNG', '\x89PNG\r\n\x1a\n\0\0\0\r'],
  ['GIF', 'GIF89a\x10\0\x10\0\0\0'],
  ['WebP', 'RIFF\x0a\x01\n\0WEBP'],
  ['AVIF', '\0\0\0\x1cftypavif'],
  ['HEIC', '\0\0\0\x18ftypheic'],
  ['HEIC that says so only as a compatible brand', '\0\0\0\x18ftypmif1\0\0\0\0mif1heic'],
]) {
  test(`${name} may be sent`, async () => {
    assert.equal(looksLikePicture(bytes(head)), true);
    assert.equal(await refusal(new Blob([bytes(head)]), limits), null);
  });
}

for (const [name, head] of [
  ['PDF', '%PDF-1.7\n%\xe2\xe3'],
  ['SVG', '<svg xmlns="h'],
  ['sound in a RIFF', 'RIFF\x24\0\0\0WAVE'],
  ['two bytes', '\xff\xd8'],
  ['a film in MP4', '\0\0\0\x1cftypisom\0\0\x02\0isomiso2mp41'],
  ['a film of a phone', '\0\0\0\x14ftypqt  \0\0\0\0qt  '],
  ['a film with the name of a picture behind its brands', '\0\0\0\x18ftypisom\0\0\0\0isommp41heic'],
]) {
  test(`${name} is no picture, whatever it is called`, async () => {
    assert.equal(await refusal(new File([bytes(head)], 'holiday.jpg', { type: 'image/jpeg' }), limits), 'UNSUPPORTED_TYPE');
  });
}

test('an empty file is refused, and one above the limit, not one at it', async () => {
  assert.equal(await refusal(new Blob([]), limits), 'EMPTY_FILE');
  const jpeg = (size) => new Blob([bytes('\xff\xd8\xff'), new Uint8Array(size - 3)]);
  assert.equal(await refusal(jpeg(1001), limits), 'FILE_TOO_LARGE');
  assert.equal(await refusal(jpeg(1000), limits), null);
});

test('of a WebP fewer pixels are taken, whatever it is called', async () => {
  const most = { maxPixels: 50, maxWebpPixels: 25 };
  assert.equal(await mostPixels(new File([bytes('RIFF\x0a\x01\n\0WEBPVP8 ')], 'holiday.jpg'), most), 25);
  assert.equal(await mostPixels(new File([bytes('\xff\xd8\xff\xe0')], 'holiday.webp'), most), 50);
});

test('a folder, which cannot be read, is refused', async () => {
  const folder = { size: 4096, slice: () => ({ arrayBuffer: () => Promise.reject(new Error('NotReadable')) }) };
  assert.equal(await refusal(folder, { maxBytes: 5000 }), 'UNREADABLE_IMAGE');
});
