/* A plot of what changes over time: lines of the last so many seconds, drawn as SVG.
 *
 *   const plot = new Plot(figure, {
 *     title: 'Latency',                 // its name, shown and read out
 *     series: ['median', 'p99'],        // the names of its lines, three at most
 *     format: (value) => `${value} ms`, // a value in words; whole numbers without it
 *     seconds: 60,                      // how far back it shows
 *     capacity: 600,                    // how many samples are kept: seconds times samples in a second
 *     least: 1,                         // the vertical axis reaches this value at least
 *     empty: 'Nothing yet.',            // what stands there without samples
 *   });
 *   plot.add(milliseconds, [value, value]);  // one sample: a time that never falls, a value for each line or null
 *   plot.draw(milliseconds);                 // draw it as it is at that time; the caller decides how often
 *   plot.clear();
 *   plot.last, plot.description              // the last sample's values; the text alternative
 *
 * `figure` is an empty <figure class="plot">. Colours, dashes, letters and the height (--plot-height) come from
 * base.css, so that a change of the theme needs no script. Times may be of any origin (performance.now(),
 * Date.now()), but of one.
 *
 * Rules: what is kept is bounded by `capacity`, what is drawn by the pixels of the width, whatever the number of
 * samples. A null is a gap in its line. The picture has a text alternative that is no live region: it is read when
 * somebody asks. Who prefers reduced motion gets an axis that jumps now and then instead of gliding.
 *
 * It must not know what is plotted.
 */

const SVG = 'http://www.w3.org/2000/svg';
const LEFT = 60; // for the numbers of the vertical axis, as are the others
const RIGHT = 6;
const TOP = 8;
const BOTTOM = 20;
const REDUCED_MOTION_STEP = 10_000; // milliseconds
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

export class Plot {
  constructor(figure, options) {
    const { title, series, seconds = 60, capacity = 600, format = whole.format, least = 1 } = options;
    Object.assign(this, { title, names: series, seconds, format, least, empty: options.empty ?? 'Nothing yet.' });
    this.samples = new Samples(capacity, series.length);
    this.stillness = matchMedia('(prefers-reduced-motion: reduce)');
    this.build(figure);
    this.draw(0);
  }

  build(figure) {
    const caption = document.createElement('figcaption');
    caption.append(spanned('title', this.title));
    this.canvas = shape('svg', { class: 'canvas', role: 'img' });
    this.grid = shape('path', { class: 'grid' });
    this.labels = shape('g', {});
    this.canvas.append(this.grid, this.labels);
    this.lines = this.names.map((name, index) => {
      const line = shape('path', { class: `series series-${index + 1}` });
      const key = spanned('key', '');
      const swatch = shape('svg', { viewBox: '0 0 24 8', 'aria-hidden': 'true' });
      swatch.append(shape('path', { class: line.getAttribute('class'), d: 'M2 4H22' }));
      key.append(swatch, name);
      if (this.names.length > 1) caption.append(key);
      this.canvas.append(line);
      return line;
    });
    figure.classList.add('plot');
    figure.replaceChildren(caption, this.canvas);
  }

  add(time, values) {
    this.samples.add(time, values);
  }

  clear() {
    this.samples.clear();
  }

  get last() {
    return this.samples.count === 0 ? null : this.names.map((_, index) => this.samples.value(index, -1));
  }

  draw(now) {
    const { width, height } = this.canvas.getBoundingClientRect();
    // In a part of the page that is not shown.
    if (width <= LEFT + RIGHT) return;
    const until = this.stillness.matches ? Math.ceil(now / REDUCED_MOTION_STEP) * REDUCED_MOTION_STEP : now;
    const since = until - this.seconds * 1000;
    const ranges = this.names.map((_, index) => this.samples.range(index, since));
    const { top, step } = scale(Math.max(this.least, ...ranges.filter(Boolean).map((range) => range.highest)));
    const x = (time) => LEFT + ((time - since) / (until - since)) * (width - LEFT - RIGHT);
    const y = (value) => height - BOTTOM - (value / top) * (height - TOP - BOTTOM);
    this.canvas.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.drawAxes(width, height, { top, step, y }, ranges.some(Boolean));
    this.lines.forEach((line, index) => line.setAttribute('d', this.path(index, since, x, y)));
    this.description = this.describe(ranges);
    this.canvas.setAttribute('aria-label', this.description);
  }

  drawAxes(width, height, { top, step, y }, hasSamples) {
    const values = Array.from({ length: Math.round(top / step) + 1 }, (_, index) => index * step);
    this.grid.setAttribute('d', values.map((value) => `M${LEFT} ${y(value)}H${width - RIGHT}`).join(''));
    const labels = values.map((value) => letters(this.format(value), LEFT - 6, y(value) + 4, 'end'));
    labels.push(letters(`${this.seconds} s ago`, LEFT, height - 4, 'start'));
    labels.push(letters('now', width - RIGHT, height - 4, 'end'));
    if (!hasSamples) labels.push(letters(this.empty, (LEFT + width - RIGHT) / 2, y(top / 2) - 6, 'middle'));
    this.labels.replaceChildren(...labels);
  }

  // The line of a series. In each column of pixels it goes from the lowest to the highest value, so that no peak
  // is lost, and no more than two points for each are drawn.
  path(index, since, x, y) {
    const points = [];
    let [column, lowest, highest, isGap] = [null, 0, 0, true];
    const finish = () => {
      if (column === null) return;
      points.push(`${isGap ? 'M' : 'L'}${column} ${y(lowest).toFixed(1)}`);
      // A lone point is seen as the round end of a line without length.
      if (highest > lowest || isGap) points.push(`L${column} ${y(highest).toFixed(1)}`);
      [column, isGap] = [null, false];
    };
    for (const [time, value] of this.samples.since(index, since)) {
      const next = Math.round(x(time));
      if (Number.isNaN(value)) {
        finish();
        isGap = true;
      } else if (next === column) {
        [lowest, highest] = [Math.min(lowest, value), Math.max(highest, value)];
      } else {
        finish();
        [column, lowest, highest] = [next, value, value];
      }
    }
    finish();
    return points.join('');
  }

  describe(ranges) {
    const parts = ranges.flatMap((range, index) => {
      if (range === null) return [];
      const [last, lowest, highest] = [range.last, range.lowest, range.highest].map(this.format);
      return [`${this.names[index]} ${last}, from ${lowest} to ${highest}`];
    });
    return `${this.title}, last ${this.seconds} seconds: ${parts.join('; ') || this.empty}`;
  }
}

/* A ring of samples: when it is full, the oldest goes. */
export class Samples {
  constructor(capacity, series) {
    this.capacity = capacity;
    this.times = new Float64Array(capacity);
    this.values = Array.from({ length: series }, () => new Float64Array(capacity));
    this.clear();
  }

  clear() {
    this.count = 0;
    this.next = 0;
  }

  add(time, values) {
    this.times[this.next] = time;
    this.values.forEach((row, index) => {
      row[this.next] = values[index] ?? NaN;
    });
    this.next = (this.next + 1) % this.capacity;
    this.count = Math.min(this.count + 1, this.capacity);
  }

  // `position` counts from the oldest, or, when negative, from the newest.
  value(index, position) {
    const value = this.values[index][this.slot(position < 0 ? this.count + position : position)];
    return Number.isNaN(value) ? null : value;
  }

  slot(position) {
    return (this.next - this.count + position + this.capacity) % this.capacity;
  }

  // [time, value] of a series from a time on, oldest first; NaN where there is none.
  * since(index, time) {
    for (let position = 0; position < this.count; position += 1) {
      const slot = this.slot(position);
      if (this.times[slot] >= time) yield [this.times[slot], this.values[index][slot]];
    }
  }

  range(index, time) {
    let range = null;
    for (const [, value] of this.since(index, time)) {
      if (Number.isNaN(value)) continue;
      range ??= { lowest: value, highest: value, last: value };
      range.lowest = Math.min(range.lowest, value);
      range.highest = Math.max(range.highest, value);
      range.last = value;
    }
    return range;
  }
}

/* The top of an axis that reaches a value, and the steps to it: at most four, of 1, 2 or 5 times a power of ten. */
export function scale(highest) {
  const power = 10 ** Math.floor(Math.log10(highest));
  const step = [0.5, 1, 2, 5].map((factor) => factor * power).find((one) => highest / one <= 4);
  // Products of powers of ten: 3 * 0.1 is not 0.3.
  const top = Math.ceil(highest / step - 1e-9) * step;
  return { top, step };
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function letters(text, x, y, anchor) {
  const made = shape('text', { x, y, 'text-anchor': anchor });
  made.textContent = text;
  return made;
}

function spanned(className, text) {
  const made = document.createElement('span');
  made.className = className;
  made.textContent = text;
  return made;
}
