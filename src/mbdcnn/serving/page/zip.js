// Writes a ZIP file that stores its files as they are: images are compressed already.

const UTF8 = 0x0800;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

// `files` are [name, Blob or text].
export async function zip(files, date = new Date()) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, content] of files) {
    const bytes = new Uint8Array(await new Blob([content]).arrayBuffer());
    const path = new TextEncoder().encode(name);
    const facts = entryFacts(bytes, path, date);
    const header = fields([[0x04034b50, 4], ...facts]);
    parts.push(header, path, bytes);
    directory.push(fields([[0x02014b50, 4], [20, 2], ...facts, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]), path);
    offset += header.length + path.length + bytes.length;
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  const end = fields([[0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [length, 4], [offset, 4], [0, 2]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

// What a file's own header and the directory at the end both say.
function entryFacts(bytes, path, date) {
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  const day = ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  const size = bytes.length;
  return [[20, 2], [UTF8, 2], [0, 2], [time, 2], [day, 2], [checksum(bytes), 4], [size, 4], [size, 4], [path.length, 2], [0, 2]];
}

function fields(values) {
  const view = new DataView(new ArrayBuffer(values.reduce((sum, [, length]) => sum + length, 0)));
  let at = 0;
  for (const [value, length] of values) {
    if (length === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += length;
  }
  return new Uint8Array(view.buffer);
}

function checksum(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}
