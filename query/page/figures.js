// How the machine is: frames, how long a trade takes to get here, what is committed, refused and came twice.

import { ask } from "./api.js";
import { refresh } from "./details.js";
import { find, say } from "./frame.js";
import { SECOND, count, grouped, lasting, moment } from "./words.js";

// So many of the newest trades say how long one takes.
const ARRIVALS = 1_000;
const LETTERS = 100;
// Reasons that are named; the others are behind the number.
const REASONS = 3;

export class Figures {
  constructor() {
    this.latencies = [];
    this.frames = null; // how many there were, and when
    this.committed = NaN; // until when all is committed
    this.letters = [];
    this.refused = null;
  }

  /** Take what holds for an answer about all markets. */
  put({ provisional_from: from, rows }) {
    this.committed = from === null ? NaN : moment(from);
    const venues = new Map(rows.map((row) => [row.exchange, row.duplicates_of_venue ?? 0]));
    const twice = [...venues.values()].reduce((sum, number) => sum + number, 0);
    say(find("duplicates"), `duplicates ${grouped(twice)}`);
  }

  /** Trades have arrived. */
  arrived(rows, now) {
    for (const row of rows) if (row.origin === "live") this.latencies.push(now - moment(row.timestamp));
    this.latencies.splice(0, this.latencies.length - ARRIVALS);
  }

  async ask() {
    const { rows } = await ask("stats");
    const sum = (table) => rows.filter((row) => row.table === table).reduce((total, row) => total + row.rows, 0);
    const frames = [sum("bronze.frames"), Date.now()];
    if (this.frames) {
      const rate = ((frames[0] - this.frames[0]) * SECOND) / (frames[1] - this.frames[1]);
      say(find("frames"), `${grouped(Math.max(0, Math.round(rate)))} frames/s`);
    }
    this.frames = frames;
    await this.askLetters(sum("silver.dead_letters"));
  }

  async askLetters(refused) {
    if (refused === this.refused) return;
    this.letters = refused ? (await ask("dead-letters", { limit: LETTERS })).rows.reverse() : [];
    this.refused = refused;
    const reasons = new Map();
    for (const { reason } of this.letters) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    const most = [...reasons].sort((one, other) => other[1] - one[1]).slice(0, REASONS);
    const why = most.map(([reason, number]) => `${reason.replaceAll("_", " ")} ${number}`).join(" · ");
    const of = refused > this.letters.length ? `of the newest ${this.letters.length}: ` : "";
    say(find("refused"), `${count(refused, "dead letter")}${why ? ` (${of}${why})` : ""}`);
    refresh();
  }

  draw(now) {
    const latencies = [...this.latencies].sort((one, other) => one - other);
    const slow = Math.max(0, latencies[Math.floor(latencies.length * 0.99)]) / SECOND;
    say(find("latency"), latencies.length ? `event → page ${slow.toFixed(2)} s (p99)` : "");
    const ago = now - this.committed;
    say(find("committed"), Number.isFinite(ago) ? `committed ${lasting(ago)} ago` : "");
  }
}
