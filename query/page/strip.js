// A row for each market: a day of cells, how it stands, how old its newest trade is. Only rows in sight exist.

import { find, make, mark, say } from "./frame.js";
import { CELLS, QUARTER, quarterOf, said } from "./ledger.js";
import { clock, lasting } from "./words.js";

const place = find("rows");
// Rows before and behind those in sight, so that scrolling shows no void.
const AROUND = 6;
// Where not all fit, the worst are on top; but nothing jumps more often than this.
const SETTLED = 10_000;
const WORST = ["lost", "repairing", "stale", "waiting", "unproved", "live"];

export class Strip {
  constructor(ledger, { chosen, looked }) {
    this.ledger = ledger;
    this.looked = looked; // somebody wants the holes of a cell
    this.chosen = chosen; // somebody wants to see a market
    this.rows = new Map(); // by market: its element, while it is in sight
    this.order = [];
    this.sorted = 0;
    this.focus = CELLS - 1; // the column that Tab reaches
    this.space = make("div", "space");
    this.space.role = "rowgroup";
    place.append(this.space);
    place.addEventListener("scroll", () => this.draw());
    place.addEventListener("keydown", (event) => this.move(event));
    new ResizeObserver(() => this.draw()).observe(place);
  }

  /** Take how things stand. `venues` and `traded` are by venue and by market. */
  put(markets, venues, traded, now) {
    this.now = now;
    this.words = new Map(markets.map((key) => [key, this.judge(key, venues, traded)]));
    const added = markets.length !== this.order.length || markets.some((key) => !this.known?.has(key));
    if (added || (now - this.sorted > SETTLED && !place.matches(":hover, :focus-within"))) this.sort(markets);
    this.draw();
  }

  judge(key, venues, traded) {
    const venue = venues.get(key.split("\n")[0]);
    const own = traded.get(key);
    const age = venue?.state === "stale" ? venue.age_seconds * 1_000 : own;
    return said(this.ledger.standing(key), venue, lasting(age ?? NaN) || "quiet");
  }

  sort(markets) {
    this.sorted = this.now;
    this.known = new Set(markets);
    this.order = [...markets].sort();
    if (this.order.length * this.height() <= this.most()) return;
    const rank = (key) => WORST.indexOf(this.words.get(key)[0]);
    this.order.sort((one, other) => rank(one) - rank(other) || (one < other ? -1 : 1));
  }

  height() {
    return matchMedia("(max-width: 760px)").matches ? 50 : 25;
  }

  most() {
    const most = parseFloat(getComputedStyle(place).maxHeight);
    return Number.isFinite(most) ? most : innerHeight;
  }

  /** Bring the rows in sight up to date, and only them. */
  draw() {
    if (!this.words) return;
    const height = this.height();
    this.space.style.height = `${this.order.length * height}px`;
    const [top, seen] = this.sight();
    const from = Math.max(0, Math.floor(top / height) - AROUND);
    const until = Math.min(this.order.length, Math.ceil((top + seen) / height) + AROUND);
    const shown = new Set(this.order.slice(from, until));
    for (const [key, row] of this.rows) {
      if (shown.has(key)) continue;
      row.remove();
      this.rows.delete(key);
    }
    for (let number = from; number < until; number += 1) {
      const key = this.order[number];
      const row = this.rows.get(key) ?? this.make(key);
      // For whoever reads or tabs through them they are in the same order.
      const place = this.space.children[number - from] ?? null;
      if (place !== row) this.space.insertBefore(row, place);
      row.style.top = `${number * height}px`;
      row.setAttribute("aria-rowindex", number + 1);
      this.fill(row, key);
    }
  }

  /** Which part of the rows can be seen: in their own frame, or on a phone in the window. */
  sight() {
    if (place.scrollHeight > place.clientHeight) return [place.scrollTop, place.clientHeight];
    return [Math.max(0, -place.getBoundingClientRect().top), innerHeight];
  }

  make(key) {
    const [exchange, symbol] = key.split("\n");
    const name = make("button", "name", `${exchange} ${symbol}`);
    name.title = `Show ${exchange} ${symbol}`;
    name.addEventListener("click", () => this.chosen(exchange, symbol));
    const cells = make("div", "cells");
    cells.role = "presentation";
    for (let cell = 0; cell < CELLS; cell += 1) {
      const button = make("button");
      button.role = "gridcell";
      button.tabIndex = -1;
      cells.append(button);
    }
    cells.addEventListener("click", (event) => {
      const cell = [...cells.children].indexOf(event.target);
      if (cell >= 0) this.looked(key, this.start(cell));
    });
    const row = make("div", "market", make("span", "", name), cells, make("span", "word number"));
    row.role = "row";
    row.firstElementChild.role = "rowheader";
    row.lastElementChild.role = "gridcell";
    row.dataset.market = key;
    this.rows.set(key, row);
    return row;
  }

  fill(row, key) {
    const [standing, word, part] = this.words.get(key);
    const [name, cells, words] = row.children;
    mark(name, "standing", standing);
    if (words.childElementCount !== 2) words.replaceChildren(make("span", "word"), " · ", make("b"));
    mark(words, "word", standing);
    say(words.firstElementChild, word);
    say(words.lastElementChild, part);
    this.ledger.states(key, this.now).forEach((state, cell) => {
      const button = cells.children[cell];
      button.tabIndex = cell === this.focus ? 0 : -1;
      const when = `${clock(this.start(cell), 0).slice(0, 5)} – ${clock(this.start(cell) + QUARTER, 0).slice(0, 5)}`;
      if (button.dataset.state === state && button.dataset.when === when) return;
      mark(button, "state", state);
      mark(button, "when", when);
      button.title = `${when} UTC: ${NAMES[state]}`;
      button.setAttribute("aria-label", button.title);
    });
  }

  start(cell) {
    return quarterOf(this.now) - (CELLS - 1 - cell) * QUARTER;
  }

  /** Arrow keys go from cell to cell. */
  move(event) {
    const row = event.target.closest(".market");
    const cell = [...(row?.children[1].children ?? [])].indexOf(event.target);
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (cell < 0 || !(event.key in steps || ["Home", "End"].includes(event.key))) return;
    event.preventDefault();
    const [along, down] = steps[event.key] ?? [event.key === "Home" ? -CELLS : CELLS, 0];
    const number = this.order.indexOf(row.dataset.market) + down;
    this.focus = Math.min(CELLS - 1, Math.max(0, cell + along));
    const key = this.order[Math.min(this.order.length - 1, Math.max(0, number))];
    if (!this.rows.has(key)) return;
    this.draw();
    this.rows.get(key).children[1].children[this.focus].focus();
  }
}

const NAMES = {
  complete: "complete",
  repaired: "holes found and repaired",
  repairing: "being repaired",
  lost: "ids lost",
  unproved: "cannot be proved: the venue numbers nothing",
  none: "not captured",
};
