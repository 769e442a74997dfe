// Draw a digit and see what the network says.

"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);

// The network: its own forward pass, with the same bits as PyTorch under samebits.exact().
// Numbers are float64 and a Float32Array rounds what it is given, so each operation has one right answer.

/** @typedef {{ kind: string, terms?: number, grid?: Float32Array, bias?: Float32Array, groups?: number,
 *   plane?: number, windows?: Int32Array[], divisor?: number }} Layer */

const ERROR = 2 ** -44; // how far Math.exp and Math.tanh, and what is made of them, may be from the truth, relative to it
const POINT = 320n; // bits after the point of the integers that settle what it leaves open

/** The logarithm to base 2, rounded up; 32 - clz32(i) is the number of bits of an integer. */
const bitsOf = (terms) => 32 - Math.clz32(terms - 1);
const termBits = (terms) => 53 - bitsOf(terms); // both as in grid.py
const factorBits = (terms) => termBits(terms) >> 1;

/** grid.on_grid: float32 values rounded to so few bits that sums of them, or of their products, are exact. */
function onGrid(/** @type {Float32Array} */ values, /** @type {number} */ bits) {
  const large = values.reduce((found, value) => Math.max(found, Math.abs(value)), 0) * 2 ** (54 - bits);
  return values.map((value) => value + large - large);
}

/** The same of each row, so many numbers, by itself. */
function onGrids(/** @type {Float32Array} */ values, /** @type {number} */ row, /** @type {number} */ bits) {
  const result = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += row)
    result.set(onGrid(values.subarray(start, start + row), bits), start);
  return result;
}

/** The exact sum of products of a row of weights with what a unit sees, rounded. */
function product(/** @type {Float32Array} */ grid, /** @type {number} */ row, /** @type {Float32Array} */ x) {
  let sum = 0;
  for (let i = 0, j = row * x.length; i < x.length; i++, j++) sum += x[i] * grid[j];
  return Math.fround(sum);
}

/** products.plus: of each unit the sum, plus the bias, rounded again. */
function linear(/** @type {Layer} */ { terms, grid, bias }, /** @type {Float32Array} */ values) {
  const result = new Float32Array((values.length / terms) * bias.length);
  for (let start = 0; start < values.length; start += terms) {
    const x = onGrid(values.subarray(start, start + terms), factorBits(terms));
    result.set(bias.map((offset, unit) => product(grid, unit, x) + offset), (start / terms) * bias.length);
  }
  return result;
}

/** products.convolution: the same of what each window sees of all channels of its group. */
function convolution(/** @type {Layer} */ { terms, grid, bias, groups, plane, windows }, /** @type {Float32Array} */ values) {
  const x = onGrid(values, factorBits(terms));
  const [channels, units] = [values.length / plane / groups, bias.length / groups];
  const result = new Float32Array(bias.length * windows.length);
  const seen = new Float32Array(channels * windows[0].length);
  for (let group = 0; group < groups; group++)
    windows.forEach((window, place) => {
      for (let channel = 0, to = 0; channel < channels; channel++)
        for (const i of window) seen[to++] = i < 0 ? 0 : x[(group * channels + channel) * plane + i];
      for (let unit = group * units; unit < (group + 1) * units; unit++)
        result[unit * windows.length + place] = product(grid, unit, seen) + bias[unit];
    });
  return result;
}

/** One number of all that a window sees, channel by channel. */
function pool(/** @type {Layer} */ { plane, windows }, /** @type {Float32Array} */ values, one) {
  const result = new Float32Array((values.length / plane) * windows.length);
  for (let start = 0, to = 0; start < values.length; start += plane)
    for (const window of windows) result[to++] = one(window.filter((i) => i >= 0).map((i) => start + i));
  return result;
}

const maxPool = (layer, values) => pool(layer, values, (places) => Math.max(...Array.from(places, (i) => values[i])));

/** pictures.pooled, or adaptive if it has no terms: the exact sum, rounded, over a number, rounded again. */
function averagePool(/** @type {Layer} */ layer, /** @type {Float32Array} */ values) {
  const grid = layer.terms ? onGrids(values, layer.plane, factorBits(layer.terms)) : values;
  return pool(layer, values, (places) => {
    const seen = Float32Array.from(places, (i) => grid[i]);
    const sum = (layer.terms ? seen : onGrid(seen, termBits(places.length))).reduce((a, b) => a + b, 0);
    return Math.fround(sum) / (layer.divisor || places.length);
  });
}

/** The float32 nearest to what `value` nearly is, by Ziv's test; `exact` gives more digits where they are needed. */
function nearest(/** @type {number} */ value, /** @type {() => number} */ exact) {
  const [low, high] = [1 - ERROR, 1 + ERROR].map((factor) => Math.fround(value * factor));
  return low === high ? low : Math.fround(exact());
}

/** functions.probabilities: the float32 nearest to exp(z) / the sum of all exp(z). */
function softmax(/** @type {number[]} */ logits) {
  const largest = Math.max(...logits);
  const exponentials = logits.map((z) => Math.exp(z - largest));
  const total = exponentials.reduce((sum, value) => sum + value);
  return exponentials.map((value, i) => nearest(value / total, () => share(logits, i)));
}

const fixed = (/** @type {number} */ z) => BigInt(z * 2 ** 160) << (POINT - 160n); // float32 has 149 bits after the point
const quotient = (/** @type {bigint} */ a, /** @type {bigint} */ b) => Number((a << POINT) / b) / 2 ** Number(POINT);

/** The float64 nearest to exp(z[i]) / the sum of all exp(z), computed with integers. */
function share(/** @type {number[]} */ logits, /** @type {number} */ i) {
  const all = logits.map(fixed);
  const largest = all.reduce((a, b) => (a > b ? a : b));
  const exponentials = all.map((z) => exponential(z - largest));
  return quotient(exponentials[i], exponentials.reduce((a, b) => a + b));
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

/** tanh(x), computed with integers: (1 - exp(-2 x)) / (1 + exp(-2 x)) of x >= 0. */
function tangent(/** @type {number} */ x) {
  const [one, small] = [1n << POINT, exponential(fixed(-2 * Math.abs(x)))];
  return Math.sign(x) * quotient(one - small, one + small);
}

const LAYERS = {
  linear,
  convolution,
  maxPool,
  averagePool,
  relu: (_, values) => values.map((x) => Math.max(x, 0)),
  sigmoid: (_, values) => values.map((x) => softmax([x, 0])[0]),
  tanh: (_, values) => values.map((x) => nearest(Math.tanh(x), () => tangent(x))),
};

/** A layer as the page's data have it, with the places that each window sees, -1 beyond the edge. */
function prepared({ weight, bias, terms, size, rows, columns, ...layer }) {
  const own = weight && floats(weight);
  const places = (row, column) => Int32Array.from(row.flatMap((y) => column.map((x) => (y < 0 || x < 0 ? -1 : y * size[1] + x))));
  return {
    ...layer,
    terms,
    weight: own,
    grid: own && onGrids(own, own.length / floats(bias).length, factorBits(terms)),
    bias: bias && floats(bias),
    plane: size && size[0] * size[1],
    windows: rows?.flatMap((row) => columns.map((column) => places(row, column))),
  };
}

const layers = data.layers.map(prepared);

/** What each layer makes of pixels (784) 0 to 255, and the probabilities of the ten classes. */
function forward(/** @type {Uint8Array} */ pixels) {
  const active = [Float32Array.from(pixels, (pixel) => pixel / 255)];
  for (const layer of layers) active.push(LAYERS[layer.kind](layer, active.at(-1)));
  return { active: active.slice(1), probabilities: softmax([...active.at(-1)]) };
}
