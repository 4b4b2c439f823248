// The venues: how each stands, how old its newest message is, and how lively it is.

import { find, make, mark, say } from "./frame.js";
import { SECOND, count, grouped, lasting } from "./words.js";

/** Rows of /v1/health as a line of states; beside the name of the page how many venues and symbols there are. */
export function drawVenues(healths, markets) {
  const rows = [...healths].sort((one, other) => (one.exchange < other.exchange ? -1 : 1));
  const list = find("venues");
  while (list.childElementCount > rows.length) list.lastElementChild.remove();
  rows.forEach((row, number) => fill(list.children[number] ?? list.appendChild(item()), row));
  const symbols = new Set([...markets].map((row) => row.symbol)).size;
  say(find("scope"), rows.length ? `${count(rows.length, "venue")} · ${count(symbols, "symbol")}` : "");
}

function item() {
  return make("li", "", make("span"), make("span", "word number"), make("span", "number soft"));
}

function fill(element, row) {
  const [name, word, rate] = element.children;
  const heard = row.last_received !== null;
  mark(element, "standing", heard ? row.state : "waiting");
  say(name, row.exchange);
  say(word, heard ? standing(row) : "waiting");
  say(rate, heard ? `${grouped(Math.round(row.trades_per_second * 10) / 10)} trades/s` : "");
}

function standing(row) {
  const age = lasting(row.age_seconds * SECOND);
  if (row.state === "repairing") return `repairing ${count(row.open_ids, "id")} · ${age}`;
  if (row.state === "lost") return `lost ${count(row.lost_ids, "id")} · ${age}`;
  return `${row.state} · ${age}`;
}
