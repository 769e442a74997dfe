// Whether a digit looks like those of the training images at all: doubt.py once more, in whole numbers as there

const DIRECTIONS = [[1, 0], [0, 1], [1, 1], [-1, 1]];
const [CELLS, SCALE] = [7, 255];
const centres = bytes(data.doubt.centres);

/** doubt.outlines: how strong the edges of four directions are in each cell, of pixels (784). */
function outline(/** @type {Uint8Array} */ pixels) {
  const at = (x, y) => (x < 0 || y < 0 || x > 27 || y > 27 ? 0 : pixels[y * 28 + x]);
  const strengths = new Float64Array(4 * CELLS ** 2);
  for (let y = 0; y < 28; y++)
    for (let x = 0; x < 28; x++) {
      const [across, along, falling, rising] = DIRECTIONS.map(([dx, dy]) => Math.abs(at(x + dx, y + dy) - at(x - dx, y - dy)));
      const cell = (y >> 2) * CELLS + (x >> 2);
      [across - along, along - across, falling - rising, rising - falling].forEach(
        (edge, direction) => (strengths[direction * CELLS ** 2 + cell] += Math.max(edge, 0)),
      );
    }
  const total = Math.max(strengths.reduce((a, b) => a + b), 1);
  return strengths.map((strength) => Math.floor(Math.sqrt(Math.floor((SCALE * SCALE * strength) / total))));
}

/** doubt.unlike: whether it is further from every typical outline than that one's limit. */
function unlike(/** @type {Uint8Array} */ pixels) {
  const own = outline(pixels);
  return data.doubt.limits.every(
    (limit, i) => own.reduce((sum, value, j) => sum + (value - centres[i * own.length + j]) ** 2, 0) > limit,
  );
}
