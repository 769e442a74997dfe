// The page

const element = (id) => document.getElementById(id);
const [paper, seen] = [element("paper"), element("seen")];
const ink = new Uint8Array(SIDE ** 2); // 0 or 255
const past = []; // the ink before each stroke and each clearing, for undo
const STEPS = { ArrowLeft: [-20, 0], ArrowRight: [20, 0], ArrowUp: [0, -20], ArrowDown: [0, 20] }; // pixels
const percent = (value) => `${(100 * value).toFixed(1)}\u00a0%`;
let pen = null; // where it is on the paper, [x, y], if it is down
let cursor = [SIDE / 2, SIDE / 2]; // where the arrow keys have moved it
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
  const { active, probabilities } = pixels ? forward(pixels) : { active: [], probabilities: Array(10).fill(0) };
  const hidden = active[1] ?? [];
  const most = hidden.reduce((found, value) => Math.max(found, Math.abs(value)), 1);
  const best = Math.max(...probabilities);
  document.querySelectorAll("#classes tr").forEach((row, i) => {
    row.querySelector("data").value = probabilities[i];
    row.querySelector("data").textContent = pixels ? percent(probabilities[i]) : "";
    row.style.setProperty("--part", probabilities[i]);
    row.classList.toggle("best", pixels !== null && i === probabilities.indexOf(best));
  });
  const part = (i) => Math.abs(hidden[i] ?? 0) / most;
  document.querySelectorAll("#units canvas").forEach((tile, i) => tile.style.setProperty("--active", part(i)));
  return [probabilities.indexOf(best), best];
}

/** Show what the network makes of the ink; returns the sentence that says it, with the first doubt. */
function look() {
  cancelAnimationFrame(frame);
  frame = 0;
  paint(paper, ink);
  if (paper.matches(":focus-visible")) ring(cursor);
  const area = box(ink);
  const small = area && Math.max(area.width, area.height) < SMALL;
  const pixels = area && !small ? centered(ink) : null;
  const [digit, probability] = show(pixels);
  if (!area) return "Nothing is drawn yet.";
  if (small) return "Too small to tell: draw one digit that fills the square.";
  const { left, top, width, height } = area;
  const rest = apart(ink);
  const doubts = [
    rest > data.doubt.apart && `${percent(rest)} of the ink lies apart from the rest: draw one digit only`,
    Math.min(left, top, SIDE - left - width, SIDE - top - height) === 0 && "the ink touches the edge: is it cut off?",
    width > 1.5 * height && "it is wider than digits are",
    unlike(pixels) && "it looks like none of the digits that the network learned from",
    probability < data.doubt.sure && "the network is not sure: is it a digit?",
  ];
  return [`Most likely ${digit} (${percent(probability)})`, doubts.find(Boolean)].filter(Boolean).join(", but ");
}

/** Show where the keyboard's pen is. */
function ring(/** @type {number[]} */ [x, y]) {
  const context = paper.getContext("2d");
  context.beginPath();
  context.arc(x, y, PEN, 0, 2 * Math.PI);
  Object.assign(context, { lineWidth: 5, strokeStyle: pen ? "#ff9d5c" : "#888" }).stroke();
}

const say = (sentence) => (element("said").textContent = sentence);

function empty() {
  ink.fill(0);
  sample = -1;
  element("row").textContent = "index,actual,predicted,probability";
  say(look());
}

function clear() {
  if (box(ink)) past.push(ink.slice());
  empty();
}

/** Take back the last stroke or clearing. */
function undo() {
  const before = past.pop();
  pen = null;
  if (sample >= 0) empty();
  ink.set(before ?? ink);
  say(look());
}

/** Show the next test image, as the network was tested on it, and the row that predictions.csv has for it. */
function next() {
  const chosen = (sample + 1) % data.samples.length;
  clear();
  sample = chosen;
  const { index, label, pixels } = data.samples[sample];
  const [digit, probability] = show(bytes(pixels));
  paper.getContext("2d").drawImage(seen, 0, 0, SIDE, SIDE);
  element("row").textContent = [index, label, digit, probability].join();
  const verdict = `the network says ${digit} (${percent(probability)}) and is ${digit === label ? "right" : "wrong"}`;
  say(`Test image ${index}, ${label === 8 ? "an" : "a"} ${label}: ${verdict}.`);
}

/** Begin a stroke. */
function begin(/** @type {string} */ sentence) {
  if (sample >= 0) empty();
  past.push(ink.slice());
  say(sentence);
}

/** Lift the pen. */
function lift() {
  pen = null;
  say(look());
}

function draw(event) {
  if (!event.isPrimary || event.button > 0 || (event.type !== "pointerdown" && !pen)) return;
  if (event.type === "pointerdown") {
    paper.setPointerCapture(event.pointerId);
    begin("");
  }
  const { left, top, width } = paper.getBoundingClientRect();
  for (const { clientX, clientY } of [...(event.getCoalescedEvents?.() ?? []), event])
    stroke([clientX - left, clientY - top].map((distance) => (distance * SIDE) / width));
  frame ||= requestAnimationFrame(look);
  if (event.type === "pointerdown" || event.type === "pointermove") return;
  lift();
}

/** Move the pen by the arrow keys, and put it down and lift it by the space bar. */
function type(event) {
  const [right, down] = STEPS[event.key] ?? [0, 0];
  if (event.ctrlKey || event.metaKey || event.altKey || !(right || down || event.key === " ")) return;
  event.preventDefault();
  if (event.key === " " && pen) return lift();
  if (event.key === " ") begin("The pen is down: arrow keys draw, the space bar lifts it.");
  else if (sample >= 0) empty();
  cursor = [cursor[0] + right, cursor[1] + down].map((place) => Math.min(Math.max(place, PEN), SIDE - PEN));
  if (pen || event.key === " ") stroke(cursor);
  frame ||= requestAnimationFrame(look);
}

/** Show the weights of each hidden unit that sees the pixels. */
function showUnits(/** @type {Layer} */ { weight, bias }) {
  const largest = weight.reduce((found, value) => Math.max(found, Math.abs(value)), 0);
  const color = (value) =>
    Math.round(255 * Math.sqrt(Math.abs(value) / largest)) * 2 ** 24 + (value > 0 ? 0x4145d6 : 0xc47734);
  element("shown").textContent = bias.length > 100 ? `the first 100 of ${bias.length}` : `the ${bias.length}`;
  for (let unit = 0; unit < Math.min(100, bias.length); unit++) {
    const tile = Object.assign(document.createElement("canvas"), { width: 28, height: 28 });
    paint(tile, weight.subarray(unit * 28 * 28).subarray(0, 28 * 28), color);
    element("units").append(tile);
  }
}

function start() {
  const row = (i) => `<tr><th scope="row">${i}</th><td><i></i></td><td><data></data></td></tr>`;
  element("classes").innerHTML = [...Array(10).keys()].map(row).join("");
  if (layers.length > 1 && layers[0].kind === "linear" && layers[0].terms === 28 * 28) showUnits(layers[0]);
  for (const type of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) paper.addEventListener(type, draw);
  paper.addEventListener("keydown", type);
  paper.addEventListener("focus", () => sample < 0 && look()); // shows or hides where the keyboard's pen is
  paper.addEventListener("blur", () => sample < 0 && lift());
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.key !== "z") return;
    event.preventDefault();
    undo();
  });
  element("clear").addEventListener("click", clear);
  element("undo").addEventListener("click", undo);
  element("next").addEventListener("click", next);
  empty();
}

if (!data.unknown) start();
else {
  document.body.className = "unknown";
  element("has").textContent = data.unknown;
}
