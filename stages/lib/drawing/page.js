// Draw a digit and see what the network says: its own forward pass, with the same bits as PyTorch under exact.py.

"use strict";
/** @typedef {{ inputs: number, weight: Float32Array, grid: Float32Array, bias: Float32Array }} Layer */
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);

// The network. Numbers are float64 and a Float32Array rounds what it is given, so each operation has one right answer.

const ERROR = 2 ** -44; // how far Math.exp, and what is made of it, may be from the true value, relative to it
const POINT = 320n; // bits after the point of the integers that settle what it leaves open

/** exact.factor_bits; 32 - clz32(i) is the number of bits of an integer. */
const factorBits = (terms) => (53 - (32 - Math.clz32(terms - 1))) >> 1;

/** exact.on_grid: float32 values rounded to so few bits that sums of their products are exact. */
function onGrid(/** @type {Float32Array} */ values, /** @type {number} */ bits) {
  const largest = values.reduce((found, value) => Math.max(found, Math.abs(value)), 0);
  let power = 2 ** -126;
  while (power <= largest) power *= 2;
  const magic = (1.5 * 2 ** 52 * power) / 2 ** bits;
  return values.map((value) => value + magic - magic);
}

/** exact.infer: of each unit the exact sum of products, rounded, plus the bias, rounded again. */
function linear(/** @type {Layer} */ { inputs, grid, bias }, /** @type {Float32Array} */ values) {
  const x = onGrid(values, factorBits(inputs));
  return bias.map((offset, unit) => {
    let sum = 0;
    for (let i = 0; i < inputs; i++) sum += x[i] * grid[unit * inputs + i];
    return Math.fround(sum) + offset;
  });
}

/** exact.softmax: the float32 nearest to exp(z) / the sum of all exp(z), by Ziv's test. */
function softmax(/** @type {number[]} */ logits) {
  const largest = Math.max(...logits);
  const exponentials = logits.map((z) => Math.exp(z - largest));
  const total = exponentials.reduce((sum, value) => sum + value);
  return exponentials.map((value, i) => {
    const [low, high] = [1 - ERROR, 1 + ERROR].map((factor) => Math.fround((value / total) * factor));
    return low === high ? low : Math.fround(share(logits, i));
  });
}

/** The float64 nearest to exp(z[i]) / the sum of all exp(z), computed with integers. */
function share(/** @type {number[]} */ logits, /** @type {number} */ i) {
  const fixed = logits.map((z) => BigInt(z * 2 ** 160) << (POINT - 160n)); // float32 has 149 bits after the point
  const largest = fixed.reduce((a, b) => (a > b ? a : b));
  const exponentials = fixed.map((z) => exponential(z - largest));
  return Number((exponentials[i] << POINT) / exponentials.reduce((a, b) => a + b)) / 2 ** Number(POINT);
}

/** exp(x) of x <= 0: the series for x / 2**16, squared 16 times. */
function exponential(/** @type {bigint} */ x) {
  if (x < -400n << POINT) return 0n;
  let term = 1n << POINT;
  let sum = term;
  for (let n = 1n; n < 24n; n++) sum += term = (term * x) / (n << (POINT + 16n));
  for (let n = 0; n < 16; n++) sum = (sum * sum) >> POINT;
  return sum;
}

const sigmoid = (x) => softmax([x, 0])[0];

/** @type {Layer[]} */
const layers = data.layers.map(({ inputs, weight, bias }) => {
  const own = floats(weight);
  return { inputs, weight: own, grid: onGrid(own, factorBits(inputs)), bias: floats(bias) };
});

/** The first layer's activations and the probabilities of the ten classes; pixels: (784) 0 to 255. */
function forward(/** @type {Uint8Array} */ pixels) {
  const active = [Float32Array.from(pixels, (pixel) => pixel / 255)];
  for (const layer of layers.slice(0, -1)) active.push(linear(layer, active.at(-1)).map(sigmoid));
  return { hidden: active[1] ?? [], probabilities: softmax([...linear(layers.at(-1), active.at(-1))]) };
}

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

// The page

const element = (id) => document.getElementById(id);
const [paper, seen] = [element("paper"), element("seen")];
const ink = new Uint8Array(SIDE ** 2); // 0 or 255
const percent = (value) => `${(100 * value).toFixed(1)} %`;
let pen = null; // where it is on the paper, [x, y], if it is down
let sample = -1; // the test image on the paper, or -1
let frame = 0; // the next one to be drawn

/** Paint a pixel of the canvas for each value, in a colour as alpha, blue, green and red. */
function paint(canvas, values, color = (value) => 0xff000000 + value * 0x010101) {
  const colors = new Uint32Array(values.length);
  values.forEach((value, i) => (colors[i] = color(value)));
  const picture = new ImageData(new Uint8ClampedArray(colors.buffer), canvas.width);
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** Draw a line from the pen to a point, and leave the pen there. */
function stroke(to) {
  const [[x0, y0], [dx, dy]] = [pen ?? to, to.map((end, i) => end - (pen ?? to)[i])];
  const from = (a, d) => Math.max(0, Math.floor(Math.min(a, a + d) - PEN));
  const end = (a, d) => Math.min(SIDE - 1, Math.max(a, a + d) + PEN);
  for (let y = from(y0, dy); y <= end(y0, dy); y++)
    for (let x = from(x0, dx); x <= end(x0, dx); x++) {
      const along = Math.min(Math.max(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1), 0), 1);
      if ((x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2 <= PEN ** 2) ink[y * SIDE + x] = 255;
    }
  pen = to;
}

/** Show what the network makes of 28 x 28 pixels, or nothing of null; returns its best guess and the probability. */
function show(pixels) {
  paint(seen, pixels ?? new Uint8Array(28 * 28));
  const { hidden, probabilities } = pixels ? forward(pixels) : { hidden: [], probabilities: Array(10).fill(0) };
  const best = Math.max(...probabilities);
  document.querySelectorAll("#classes tr").forEach((row, i) => {
    row.querySelector("data").value = probabilities[i];
    row.querySelector("data").textContent = pixels ? percent(probabilities[i]) : "";
    row.style.setProperty("--part", probabilities[i]);
    row.classList.toggle("best", pixels !== null && i === probabilities.indexOf(best));
  });
  document.querySelectorAll("#units canvas").forEach((tile, i) => tile.style.setProperty("--active", hidden[i] ?? 0));
  return [probabilities.indexOf(best), best];
}

/** Show what the network makes of the ink; returns the sentence that says it, with what is doubtful. */
function look() {
  cancelAnimationFrame(frame);
  frame = 0;
  paint(paper, ink);
  const area = box(ink);
  const small = area && Math.max(area.width, area.height) < SMALL;
  const [digit, probability] = show(area && !small ? centered(ink) : null);
  if (!area) return "Nothing is drawn yet.";
  if (small) return "Too small to tell: draw one digit that fills the square.";
  const { left, top, width, height } = area;
  const rest = apart(ink);
  const doubts = [
    rest > 0.1 && `${percent(rest)} of the ink lies apart from the rest: draw one digit only`,
    Math.min(left, top, SIDE - left - width, SIDE - top - height) === 0 && "the ink touches the edge: is it cut off?",
    width > 1.5 * height && "it is wider than digits are",
    probability < 0.5 && "the network is not sure: is it a digit?",
  ].filter(Boolean);
  return [guess(digit, probability), ...doubts].join(", but ");
}

const guess = (digit, probability) => `Most likely ${digit} (${percent(probability)})`;
const say = (sentence) => (element("said").textContent = sentence);

function clear() {
  ink.fill(0);
  sample = -1;
  say(look());
}

/** Show the next test image, as the network was tested on it. */
function next() {
  const chosen = (sample + 1) % data.samples.length;
  clear();
  sample = chosen;
  const { index, label, pixels } = data.samples[sample];
  const [digit, probability] = show(bytes(pixels));
  paper.getContext("2d").drawImage(seen, 0, 0, SIDE, SIDE);
  say(`${guess(digit, probability)}: test image ${index}, which is a ${label}.`);
}

function draw(event) {
  if (!event.isPrimary || event.button > 0 || (event.type !== "pointerdown" && !pen)) return;
  if (event.type === "pointerdown") {
    paper.setPointerCapture(event.pointerId);
    if (sample >= 0) clear();
    say("");
  }
  const { left, top, width } = paper.getBoundingClientRect();
  for (const { clientX, clientY } of [...(event.getCoalescedEvents?.() ?? []), event])
    stroke([clientX - left, clientY - top].map((distance) => (distance * SIDE) / width));
  frame ||= requestAnimationFrame(look);
  if (event.type === "pointerdown" || event.type === "pointermove") return;
  pen = null;
  say(look());
}

function start() {
  const row = (i) => `<tr><th scope="row">${i}</th><td><i></i></td><td><data></data></td></tr>`;
  element("classes").innerHTML = [...Array(10).keys()].map(row).join("");
  const [{ inputs, weight, bias }] = layers;
  const largest = weight.reduce((found, value) => Math.max(found, Math.abs(value)), 0);
  const color = (value) =>
    Math.round(255 * Math.sqrt(Math.abs(value) / largest)) * 2 ** 24 + (value > 0 ? 0x4145d6 : 0xc47734);
  const units = layers.length > 1 ? bias.length : 0;
  element("shown").textContent = units > 100 ? `the first 100 of ${units}` : `the ${units}`;
  for (let unit = 0; unit < Math.min(100, units); unit++) {
    const tile = Object.assign(document.createElement("canvas"), { width: 28, height: 28 });
    paint(tile, weight.subarray(unit * inputs).subarray(0, inputs), color);
    element("units").append(tile);
  }
  for (const type of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) paper.addEventListener(type, draw);
  element("clear").addEventListener("click", clear);
  element("next").addEventListener("click", next);
  clear();
}

if (layers.length) start();
else document.body.className = "unknown";
