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
  document.querySelectorAll("#units canvas").forEach((tile, i) => tile.style.setProperty("--active", Math.abs(hidden[i] ?? 0) / most));
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
  element("clear").addEventListener("click", clear);
  element("next").addEventListener("click", next);
  clear();
}

if (!data.unknown) start();
else {
  document.body.className = "unknown";
  element("has").textContent = data.unknown;
}
