// What is known to be there and what is missing, of a day: quarters of an hour and gaps, by market. Pure.

import { DAY, MINUTE, count, grouped, moment, share, since } from "./words.js";

export const QUARTER = 15 * MINUTE;
export const CELLS = DAY / QUARTER;
// An answer older than this proves nothing about now.
const OLD = 30_000;

export const keyOf = (row) => `${row.exchange}\n${row.symbol}`;

export class Ledger {
  constructor() {
    this.quarters = new Map(); // by market: quarter → [received, missing], missing null where ids prove nothing
    this.gaps = new Map(); // by market: gap_id → gap
    this.asked = 0; // when the completeness that is known was true
    this.first = new Map(); // by venue: when its first trade was
  }

  /** Take rows of /v1/completeness for windows of a quarter of an hour. */
  put(rows, asked) {
    for (const row of rows) {
      within(this.quarters, keyOf(row)).set(moment(row.window_start), [row.received, row.missing]);
    }
    this.asked = Math.max(this.asked, asked);
  }

  /** Take rows of /v1/gaps; a gap is in the place of what was known of it. */
  note(rows) {
    for (const row of rows) {
      const own = within(this.gaps, keyOf(row));
      if (row.status === "split") own.delete(row.gap_id);
      else own.set(row.gap_id, gapOf(row));
    }
  }

  /** Forget what is older than a day, so that a page that stays open does not grow. */
  forget(now) {
    const oldest = quarterOf(now) - DAY;
    for (const own of this.quarters.values()) {
      for (const quarter of own.keys()) if (quarter < oldest) own.delete(quarter);
    }
    for (const own of this.gaps.values()) {
      for (const [name, gap] of own) if (gap.found < oldest) own.delete(name);
    }
  }

  /** Every market that has anything, by venue and symbol. */
  markets() {
    return [...new Set([...this.quarters.keys(), ...this.gaps.keys()])].sort();
  }

  /** The gaps of a market, or of all, that were found within some time; the newest first. */
  holes(key = null, from = -Infinity, until = Infinity) {
    const chosen = key === null ? [...this.gaps.values()] : [this.gaps.get(key) ?? new Map()];
    return chosen
      .flatMap((own) => [...own.values()])
      .filter((gap) => gap.found >= from && gap.found < until)
      .sort((one, other) => other.found - one.found);
  }

  /** The state of each of the last quarters of a market, the oldest first. */
  states(key, now) {
    const last = quarterOf(now);
    const states = new Array(CELLS).fill("none");
    const own = this.quarters.get(key) ?? new Map();
    for (let cell = 0; cell < CELLS; cell += 1) {
      const known = own.get(last - (CELLS - 1 - cell) * QUARTER);
      if (known) states[cell] = known[1] === null ? "unproved" : "complete";
    }
    for (const gap of this.gaps.get(key)?.values() ?? []) {
      const cell = CELLS - 1 - (last - quarterOf(gap.found)) / QUARTER;
      if (cell >= 0 && cell < CELLS && RANK[gap.state] > RANK[states[cell]]) states[cell] = gap.state;
    }
    return states;
  }

  /** How a market stands: ids that came, are being asked for, and are lost. */
  standing(key) {
    const found = { received: 0, open: 0, lost: 0, again: 0, unproved: false, holes: 0 };
    for (const [received, missing] of this.quarters.get(key)?.values() ?? []) {
      found.received += received;
      found.unproved ||= missing === null;
    }
    const gaps = [...(this.gaps.get(key)?.values() ?? [])];
    const begun = Math.min(...gaps.filter((gap) => gap.state === "repairing").map((gap) => gap.found));
    for (const gap of gaps) {
      found.holes += 1;
      if (gap.state === "repairing") found.open += gap.ids;
      else if (gap.state === "lost") found.lost += gap.ids;
      else if (gap.found >= begun) found.again += gap.ids;
    }
    return found;
  }

  /** All markets together. */
  totals() {
    const found = { received: 0, open: 0, lost: 0, holes: 0, repaired: 0, repairing: 0, gone: 0, unproved: new Set() };
    for (const key of this.markets()) {
      const own = this.standing(key);
      found.open += own.open;
      found.lost += own.lost;
      found.holes += own.holes;
      if (own.unproved) found.unproved.add(key.split("\n")[0]);
      else found.received += own.received;
    }
    for (const gap of this.holes()) {
      if (gap.state === "repairing") found.repairing += 1;
      else if (gap.state === "lost") found.gone += 1;
      else found.repaired += 1;
    }
    return found;
  }

  /** From when on it is known what came. */
  begun(now) {
    const quarters = [...this.quarters.values()].flatMap((own) => [...own.keys()]);
    if (!quarters.length) return NaN;
    const first = Math.min(...this.first.values());
    const oldest = Math.min(...quarters);
    return first >= oldest && first < now ? first : Math.max(oldest, quarterOf(now) - DAY + QUARTER);
  }

  /** The sentence, its kind, and what stands below it. */
  sentence(now) {
    const { received, open, lost, holes, repaired, repairing, gone, unproved } = this.totals();
    const details = [count(holes, "hole") + " found"];
    for (const [number, word] of [[repaired, "repaired"], [repairing, "repairing"], [gone, "lost"]]) {
      if (number) details.push(`${grouped(number)} ${word}`);
    }
    if (unproved.size) details.push(`${[...unproved].join(", ")} cannot be proved`);
    const below = details.join(" · ");
    if (now - this.asked > OLD) return { kind: "checking", claim: "Checking…", below };
    if (!received && !open && !lost) {
      return { kind: "checking", claim: unproved.size ? "Cannot be proved" : "Nothing captured yet", below };
    }
    const begun = this.begun(now);
    const when = now - begun > DAY - QUARTER ? "for 24 hours" : `since ${since(begun, now)}`;
    if (!open && !lost) return { kind: "complete", claim: `Complete ${when}`, below };
    const all = grouped(received + open + lost);
    return { kind: "missing", claim: `All but ${grouped(open + lost)} of ${all} trades ${when}`, below };
  }
}

/** What is said of a market beside its cells, and the standing that its shape shows. */
export function said(own, venue, age) {
  const part = own.unproved ? "no ids" : share(own.received, own.open + own.lost);
  if (venue === undefined || !Number.isFinite(venue.age_seconds ?? NaN)) return ["waiting", "waiting", part];
  if (venue.state === "stale") return ["stale", `stale · ${age}`, part];
  if (own.open) return ["repairing", `repairing ${grouped(own.again)} of ${grouped(own.open + own.again)}`, part];
  if (own.lost) return ["lost", `live · ${age}`, `lost ${count(own.lost, "id")}`];
  return [own.unproved ? "unproved" : "live", `live · ${age}`, part];
}

export const quarterOf = (time) => time - (time % QUARTER);

const RANK = { none: 0, unproved: 1, complete: 1, repaired: 2, repairing: 3, lost: 4 };

function gapOf(row) {
  return {
    ...row,
    found: moment(row.found),
    ended: moment(row.ended),
    ids: row.ids ?? row.last_missing - row.first_missing + 1,
    state: row.status === "open" ? "repairing" : row.status,
  };
}

function within(map, key) {
  let found = map.get(key);
  if (found === undefined) map.set(key, (found = new Map()));
  return found;
}
