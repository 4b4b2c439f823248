// The newest trades of one market, one below the other; stands still while somebody points at it.

import { make, onceAFrame } from "./frame.js";
import { clock, grouped, moment } from "./words.js";

const ROWS = 200;
// Of more at once nobody sees each appear.
const APPEAR = 12;

export class Tape {
  constructor(list, paused) {
    this.list = list;
    this.paused = paused;
    this.waiting = [];
    this.known = new Set();
    this.held = false;
    this.draw = onceAFrame(() => this.drawWaiting());
    const hold = (held) => () => {
      this.held = held;
      this.draw();
    };
    list.addEventListener("pointerenter", hold(true));
    list.addEventListener("pointerleave", hold(false));
    list.addEventListener("focus", hold(true));
    list.addEventListener("blur", hold(false));
  }

  /** Begin anew with these trades, the oldest first. */
  show(rows) {
    this.waiting = [];
    this.known.clear();
    this.list.replaceChildren();
    this.fill(rows.slice(-ROWS), false);
  }

  /** Take more trades, in any order. */
  put(rows) {
    this.waiting.push(...rows);
    if (this.waiting.length > 2 * ROWS) this.waiting.splice(0, this.waiting.length - ROWS);
    this.draw();
  }

  drawWaiting() {
    const held = this.held && this.waiting.length > 0;
    this.paused.hidden = !this.held;
    this.paused.textContent = held ? `paused · ${Math.min(this.waiting.length, ROWS)} new` : "paused";
    if (this.held || !this.waiting.length) return;
    const rows = this.waiting.splice(0).slice(-ROWS);
    this.fill(rows, rows.length <= APPEAR);
  }

  fill(rows, fresh) {
    for (const row of rows) {
      if (this.known.has(row.message_id)) continue;
      this.known.add(row.message_id);
      this.insert(this.line(row, fresh), moment(row.timestamp));
    }
    while (this.list.childElementCount > ROWS) {
      this.known.delete(this.list.lastElementChild.name);
      this.list.lastElementChild.remove();
    }
  }

  /** A late trade goes where it belongs. */
  insert(line, time) {
    line.time = time;
    let place = this.list.firstElementChild;
    while (place && place.time > time) place = place.nextElementSibling;
    this.list.insertBefore(line, place);
  }

  line(row, fresh) {
    const time = make("time", "", clock(moment(row.timestamp)));
    const line = make("li", fresh ? "new" : "", time, make("span", "at", grouped(row.price)), make("span", "", row.quantity));
    line.name = row.message_id;
    line.dataset.side = row.side;
    line.dataset.origin = row.origin === "live" ? "live" : "repair";
    line.title = row.origin === "live" ? "" : "asked for again and repaired";
    return line;
  }
}
