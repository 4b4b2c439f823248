// Candles and volume of one market: what is incomplete is hollow, what is provisional is shaded.

import { CandlestickSeries, HistogramSeries, createChart, createSeriesMarkers } from "./vendor/lightweight-charts.mjs";
import { find, make, onceAFrame, say } from "./frame.js";
import { SECOND, amount, clock, count, grouped, moment, places } from "./words.js";

// How many bars are asked for at once, and how many are kept while somebody looks on or into the past.
export const BARS = 500;
const KEPT = 5_000;
// So near to the oldest bar more of them are asked for.
const EDGE = 20;

export class Chart {
  constructor(place, older) {
    this.legend = find("legend");
    this.words = find("word");
    this.bars = new Map(); // by time in seconds
    this.holes = [];
    this.changed = new Set();
    this.digits = 2;
    // Its own mark would bring an inline style; the page names TradingView below the chart.
    this.chart = createChart(place, { autoSize: true, layout: { attributionLogo: false } });
    this.shade = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "shade",
      lastValueVisible: false,
      priceLineVisible: false,
      autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 1 } }),
    });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      lastValueVisible: false,
      priceLineVisible: false,
      priceFormat: { type: "volume" },
    });
    this.candles = this.chart.addSeries(CandlestickSeries, { borderVisible: true });
    this.chart.priceScale("shade").applyOptions({ scaleMargins: { top: 0, bottom: 0 } });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0.2 } });
    this.markers = createSeriesMarkers(this.candles, []);
    this.chart.subscribeCrosshairMove(({ time }) => this.tell(this.bars.get(time)));
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      this.note();
      if (range && range.from < EDGE && this.oldest) older(this.oldest);
    });
    this.draw = onceAFrame(() => this.drawChanged());
    this.theme();
  }

  /** Take the colours of the page as they are now. */
  theme() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colours = Object.fromEntries(
      ["panel", "line", "text", "soft", "up", "down", "repaired", "shade"].map((name) => [name, colour(name)]),
    );
    this.colours.repairing = colour("repairing-text");
    this.colours.lost = colour("lost-text");
    const { panel, line, soft } = this.colours;
    const grid = { color: `${line}80` };
    const label = { color: soft, labelBackgroundColor: colour("raised") };
    this.chart.applyOptions({
      layout: {
        background: { color: panel },
        textColor: soft,
        fontFamily: colour("figures"),
        fontSize: 11,
      },
      grid: { vertLines: { visible: false }, horzLines: grid },
      rightPriceScale: { borderVisible: false },
      timeScale: { borderColor: line, timeVisible: true, rightOffset: 4 },
      crosshair: { vertLine: label, horzLine: label },
      localization: { locale: "en-GB", priceFormatter: (price) => grouped(price.toFixed(this.digits)) },
    });
    this.drawAll();
  }

  /** Show another market or interval. */
  show(rows, interval) {
    this.bars = new Map();
    this.oldest = rows.length >= BARS ? moment(rows[0].window_start) : null;
    for (const row of rows) this.keep(row);
    this.digits = places(rows.flatMap((row) => [row.open, row.high, row.low, row.close]));
    const step = { type: "price", precision: this.digits, minMove: 10 ** -this.digits };
    this.candles.applyOptions({ priceFormat: step });
    this.chart.applyOptions({ timeScale: { secondsVisible: interval === "1s", timeVisible: interval !== "1d" } });
    this.drawAll();
    this.chart.timeScale().applyOptions({ barSpacing: rows.length < 60 ? 12 : innerWidth < 760 ? 6 : 8 });
    this.chart.timeScale().scrollToRealTime();
  }

  /** Put windows that have changed in their places. */
  put(rows) {
    for (const row of rows) this.changed.add(this.keep(row).time);
    this.draw();
  }

  /** Put older windows before the others. */
  before(rows) {
    this.oldest = rows.length >= BARS && this.bars.size < KEPT ? moment(rows[0].window_start) : null;
    for (const row of rows) this.keep(row);
    this.drawAll();
  }

  /** Take what is known of the market's gaps. */
  gaps(holes) {
    this.holes = holes;
    for (const bar of this.bars.values()) {
      const before = `${bar.missing} ${bar.state}`;
      this.judge(bar);
      if (`${bar.missing} ${bar.state}` !== before) this.changed.add(bar.time);
    }
    if (this.changed.size) this.draw();
  }

  keep(row) {
    const start = moment(row.window_start);
    const bar = {
      time: start / SECOND,
      start,
      end: moment(row.window_end),
      row,
      open: Number(row.open),
      high: Number(row.high),
      low: Number(row.low),
      close: Number(row.close),
    };
    this.judge(bar);
    this.bars.set(bar.time, bar);
    return bar;
  }

  /** What is missing of a bar: what its row says; of a window whose row does not know yet, what gaps say. */
  judge(bar) {
    const own = this.holes.filter((gap) => gap.found >= bar.start && gap.found < bar.end);
    const open = own.filter((gap) => gap.state === "repairing");
    const gone = own.filter((gap) => gap.state !== "repaired");
    bar.missing = bar.row.missing || gone.reduce((sum, gap) => sum + gap.ids, 0);
    bar.state = !bar.missing ? "" : open.length ? "repairing" : "lost";
  }

  drawAll() {
    this.changed.clear();
    const bars = [...this.bars.values()].sort((one, other) => one.time - other.time);
    this.last = bars.at(-1);
    this.drawn = new Set(this.bars.keys());
    this.candles.setData(bars.map((bar) => this.candle(bar)));
    this.volume.setData(bars.map((bar) => this.column(bar)));
    this.shade.setData(bars.map((bar) => this.shaded(bar)));
    this.sign(bars);
    this.tell();
  }

  /** Forget the oldest bars, so that a chart that stays open does not grow. */
  trim() {
    const times = [...this.bars.keys()].sort((one, other) => one - other);
    for (const time of times.slice(0, -KEPT / 2)) this.bars.delete(time);
    this.oldest = times.at(-KEPT / 2) * SECOND;
    this.drawAll();
  }

  drawChanged() {
    if (this.bars.size > KEPT) return this.trim();
    const times = [...this.changed].sort((one, other) => one - other);
    // A window between others that begins late, with a repaired trade, has no place yet.
    if (times.some((time) => time < this.last?.time && !this.drawn.has(time))) return this.drawAll();
    this.changed.clear();
    let signs = false;
    for (const time of times) {
      const bar = this.bars.get(time);
      if (!bar) continue;
      const past = this.last !== undefined && time < this.last.time;
      this.candles.update(this.candle(bar), past);
      this.volume.update(this.column(bar), past);
      this.shade.update(this.shaded(bar), past);
      if (!past) this.last = bar;
      this.drawn.add(time);
      signs ||= past || bar.missing > 0 || bar.row.revision > 0;
    }
    if (signs) this.sign([...this.bars.values()].sort((one, other) => one.time - other.time));
    return this.tell();
  }

  candle({ time, open, high, low, close, missing }) {
    const colour = close >= open ? this.colours.up : this.colours.down;
    const body = missing ? this.colours.panel : colour;
    return { time, open, high, low, close, color: body, borderColor: colour, wickColor: colour };
  }

  column({ time, open, close, row }) {
    const colour = close >= open ? this.colours.up : this.colours.down;
    return { time, value: Number(row.volume), color: `${colour}66` };
  }

  shaded({ time, row }) {
    return { time, value: row.is_closed ? 0 : 1, color: this.colours.shade };
  }

  /** An arrow and words over the newest incomplete bar, a dot under each that was revised. */
  sign(bars) {
    this.incomplete = bars.findLast((bar) => bar.state === "repairing") ?? bars.findLast((bar) => bar.missing);
    this.markers.setMarkers(
      bars.flatMap((bar) => [
        ...(bar === this.incomplete ? [this.marker(bar, "aboveBar", "arrowDown", 0.5, bar.state)] : []),
        ...(bar.row.revision > 0 ? [this.marker(bar, "belowBar", "circle", 0.1, "repaired")] : []),
      ]),
    );
    requestAnimationFrame(() => this.note());
  }

  marker({ time }, position, shape, size, colour) {
    return { time, position, shape, size, color: this.colours[colour] };
  }

  /** The words over the newest incomplete bar, within the chart wherever the bar is. */
  note() {
    const bar = this.incomplete;
    const [across, down] = bar
      ? [this.chart.timeScale().timeToCoordinate(bar.time), this.candles.priceToCoordinate(bar.high)]
      : [null, null];
    const width = this.chart.timeScale().width();
    const seen = across !== null && down !== null && across >= 0 && across <= width;
    this.words.hidden = !seen;
    if (!seen) return;
    this.words.className = `note number ${bar.state}`;
    say(this.words, `${incompleteness(bar)}, ${bar.state}`);
    const half = this.words.offsetWidth / 2;
    const left = Math.max(0, Math.min(width - 2 * half - 4, across - half));
    this.words.style.transform = `translate(${left}px, ${Math.max(18, down - 34)}px)`;
  }

  /** The legend: of the bar under the pointer, else of the newest. */
  tell(bar = this.last) {
    if (!bar) {
      this.legend.replaceChildren();
      return;
    }
    const { row } = bar;
    const day = new Date(bar.start).toISOString().slice(0, 10);
    const parts = [make("span", "wide", `${day} ${clock(bar.start, 0)} `)];
    for (const [letter, value] of [["O", row.open], ["H", row.high], ["L", row.low], ["C", row.close]]) {
      parts.push(make("span", letter === "C" ? "" : "wide", `${letter} `, make("b", "", `${grouped(value)} `)));
    }
    parts.push(make("span", "wide", "V ", make("b", "", `${amount(row.volume)} `)));
    if (bar.missing) parts.push(make("span", bar.state, `${incompleteness(bar)}, ${bar.state} `));
    else parts.push(make("span", "wide", `${count(row.trade_count, "trade")} `));
    if (row.revision > 0) parts.push(make("span", "repaired", `revision ${row.revision} `));
    if (!row.is_closed) parts.push("provisional");
    this.legend.replaceChildren(...parts);
  }
}

function incompleteness(bar) {
  const came = bar.row.trade_count;
  return `${grouped(came)} of ${count(came + bar.missing, "trade")}`;
}
