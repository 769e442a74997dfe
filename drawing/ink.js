// The digit, scaled and centred as in tools/photo.py

const SIDE = 560; // pixels of the paper
const PEN = 26; // pixels, half its width
const SMALL = 140; // pixels: a smaller digit is mostly the width of the pen
const CELL = 16; // pixels: ink that is nearer is one part
const round = (x) => x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52; // half to even, as Python does

/** The rectangle of the ink, or null if there is none. */
function box(/** @type {Uint8Array} */ ink) {
  let [left, right, top, bottom] = [SIDE, -1, SIDE, -1];
  ink.forEach((value, i) => {
    if (!value) return;
    const [x, y] = [i % SIDE, Math.floor(i / SIDE)];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), y];
  });
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** Each row averaged down to `size` pixels as Pillow's box filter does, and made a column. */
function narrowed(/** @type {Uint8Array} */ image, /** @type {number} */ width, /** @type {number} */ size) {
  const height = image.length / width;
  const scale = width / size;
  const result = new Uint8Array(size * height);
  for (let to = 0; to < size; to++) {
    const center = (to + 0.5) * scale;
    const start = Math.floor(center - scale / 2 + 0.5);
    const reached = Math.min(Math.floor(center + scale / 2 + 0.5), width) - start;
    const place = (x) => (x - center + 0.5) * (1 / scale); // in the box if more than -0.5 and at most 0.5
    const from = [...Array(reached).keys()].map((i) => start + i).filter((x) => place(x) > -0.5 && place(x) <= 0.5);
    const weight = Math.floor(0.5 + (1 / from.length) * 2 ** 22);
    for (let y = 0; y < height; y++)
      result[to * height + y] = from.reduce((sum, x) => sum + image[y * width + x] * weight, 2 ** 21) >> 22;
  }
  return result;
}

/** Ink in a box of 20 x 20 pixels, keeping its aspect ratio, the centre of mass in the middle of (28, 28). */
function centered(/** @type {Uint8Array} */ ink) {
  const { left, top, width, height } = box(ink);
  const crop = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) crop.set(ink.subarray((top + y) * SIDE + left).subarray(0, width), y * width);
  const [w, h] = [width, height].map((size) => Math.max(1, round((size * 20) / Math.max(width, height))));
  const small = narrowed(narrowed(crop, width, w), height, h);
  const mass = small.reduce((a, b) => a + b);
  const start = (size, place) => {
    const middle = small.reduce((sum, value, i) => sum + value * place(i), 0) / mass;
    return Math.min(Math.max(round(14 - middle), 0), 28 - size);
  };
  const column = (i) => i % w;
  const row = (i) => Math.floor(i / w);
  const first = start(h, row) * 28 + start(w, column);
  const pixels = new Uint8Array(28 * 28);
  small.forEach((value, i) => (pixels[first + row(i) * 28 + column(i)] = value));
  return pixels;
}

/** The fraction of the ink that is not in the largest part. */
function apart(/** @type {Uint8Array} */ ink) {
  const across = SIDE / CELL + 2; // an empty cell at both ends, so that every other has eight neighbours
  const cells = new Uint32Array(across ** 2);
  const cell = (i) => Math.floor(i / SIDE / CELL + 1) * across + Math.floor((i % SIDE) / CELL) + 1;
  ink.forEach((value, i) => value && cells[cell(i)]++);
  const total = cells.reduce((a, b) => a + b);
  const near = [-across, 0, across].flatMap((step) => [step - 1, step, step + 1]);
  /** @type {(i: number) => number} */
  const take = (i) => {
    const found = cells[i];
    cells[i] = 0;
    return found && near.reduce((sum, step) => sum + take(i + step), found);
  };
  return 1 - Math.max(...cells.map((_, i) => take(i))) / total;
}
