// The page: what is looked at, who is asked for it and when, and where it goes. Everything else is in other files.

import { Stream, ask, askAll } from "./api.js";
import { BARS, Chart } from "./chart.js";
import { choose } from "./choice.js";
import { copies } from "./copy.js";
import * as details from "./details.js";
import { find, make, mark, onceAFrame, say } from "./frame.js";
import { Ledger, QUARTER, keyOf, quarterOf } from "./ledger.js";
import { Strip } from "./strip.js";
import { Tape } from "./tape.js";
import { DAY, SECOND, clock, grouped, lasting, moment } from "./words.js";

const INTERVALS = ["1s", "1m", "5m", "15m", "1h", "1d"];
const TAPE = 200;
// How often each is asked for that no stream tells.
const LATEST = 2 * SECOND;
const QUOTE = SECOND;
const NEWEST = 10 * SECOND;
const FIGURES = 5 * SECOND;
// The stream of the venues says something every second; without a word for so long it is dead.
const SILENCE = 6 * SECOND;
// A page that nobody sees for so long lets its connections go: a browser has six for all of them.
const HIDDEN = 20 * SECOND;
const PAGES = 5;
const LATENCIES = 1_000;

const state = {
  exchange: null, symbol: null, interval: "1m",
  skew: 0, // the server's clock less ours
  opened: Date.now(), begun: false, older: false, sees: true, dayOpen: null,
  venues: new Map(), // by venue: its row of /v1/health
  latest: new Map(), // by market: its row of /v1/latest
  ages: new Map(), // by market: how old the newest trade was when it was asked for
  latencies: [], frames: null, letters: [], refused: 0, committed: NaN,
};
const now = () => Date.now() + state.skew;
const ledger = new Ledger();
const chart = new Chart(find("candles"), older);
const tape = new Tape(find("trades"), find("paused"));
const strip = new Strip(ledger, { chosen: (exchange, symbol) => look(exchange, symbol), looked: showCell });
const own = () => ({ venue: state.exchange, symbol: state.symbol });
const ownKey = () => keyOf(state);
const draw = onceAFrame(drawWords);

// The machine: venues and holes of every market.

const machine = new Stream({ events: "gaps,health" }, { begin: beginMachine, take: takeMachine, lost: trouble });

async function beginMachine({ simulated }) {
  find("simulated").hidden = !simulated;
  const day = { since: now() - DAY };
  ledger.note(await askAll("gaps", { since: Math.floor(day.since) }, PAGES));
  await Promise.all([askQuarters(quarterOf(now()) - DAY + QUARTER), askLatest(), askFirst()]);
  state.begun = true;
  if (state.exchange) chart.gaps(ledger.holes(ownKey()));
  draw();
}

function takeMachine(name, { rows }) {
  if (name === "health") {
    for (const row of rows) state.venues.set(row.exchange, row);
    const heard = rows.filter((row) => row.last_received);
    if (heard.length) state.skew = moment(heard[0].last_received) + heard[0].age_seconds * SECOND - Date.now();
  } else {
    ledger.note(rows);
    if (rows.some((row) => keyOf(row) === ownKey())) chart.gaps(ledger.holes(ownKey(), now() - DAY));
    details.refresh();
  }
  draw();
}

async function askQuarters(since) {
  const asked = Date.now();
  ledger.put(await askAll("completeness", { interval: "15m", since }, PAGES), asked);
  ledger.forget(now());
  draw();
}

async function askLatest() {
  const answer = await ask("latest");
  find("simulated").hidden = !answer.simulated;
  state.committed = answer.provisional_from === null ? NaN : moment(answer.provisional_from);
  for (const row of answer.rows) {
    state.latest.set(keyOf(row), row);
    state.ages.set(keyOf(row), now() - moment(row.timestamp));
  }
  if (!state.exchange && answer.rows.length) start();
  draw();
}

async function askFirst() {
  for (const row of (await ask("venues")).rows) if (row.first_trade) ledger.first.set(row.exchange, moment(row.first_trade));
}

// The market: bars and trades of the one that is looked at.

let market = null;

/** Look at a market: where nobody says which, at the one of the address, else at the busiest venue's first. */
function start() {
  const [exchange, symbol, interval] = location.hash.slice(1).split("/").map(decodeURIComponent);
  if (INTERVALS.includes(interval)) state.interval = interval;
  const known = [...state.latest.values()];
  const wanted = known.find((row) => row.exchange === exchange && row.symbol === symbol);
  const usual = known.find((row) => row.base_asset === "BTC") ?? known[0];
  look((wanted ?? usual).exchange, (wanted ?? usual).symbol);
}

function look(exchange, symbol, interval = state.interval) {
  Object.assign(state, { exchange, symbol, interval, dayOpen: null, latencies: [] });
  history.replaceState(null, "", `#${[exchange, symbol, interval].map(encodeURIComponent).join("/")}`);
  market?.close();
  say(find("quote"), "");
  chart.show([], interval);
  tape.show([]);
  find("waiting").hidden = false;
  say(find("waiting"), "Loading…");
  market = new Stream(
    { ...own(), interval, events: "trades,bars" },
    { begin: beginMarket, take: takeMarket, lost: trouble },
  );
  market.open();
  drawIntervals();
  draw();
}

async function beginMarket() {
  const asked = ownKey() + state.interval;
  const [bars, trades, day] = await Promise.all([
    ask("bars", { ...own(), interval: state.interval, limit: BARS }),
    ask("trades", { ...own(), limit: TAPE }),
    ask("bars", { ...own(), interval: "1d", limit: 1 }),
  ]);
  if (asked !== ownKey() + state.interval) return;
  state.dayOpen = day.rows.at(-1)?.open ?? null;
  chart.show(bars.rows, state.interval);
  chart.gaps(ledger.holes(ownKey(), now() - DAY));
  tape.show(trades.rows);
  find("waiting").hidden = bars.rows.length > 0;
  if (!bars.rows.length) say(find("waiting"), `No trades of ${state.symbol} yet`);
  newest(trades.rows.at(-1));
}

function takeMarket(name, { rows }) {
  if (name === "bars") {
    chart.put(rows);
    find("waiting").hidden = true;
  } else {
    tape.put(rows);
    for (const row of rows) if (row.origin === "live") state.latencies.push(now() - moment(row.timestamp));
    state.latencies.splice(0, state.latencies.length - LATENCIES);
    newest(rows.findLast((row) => row.origin === "live"));
  }
  draw();
}

function newest(row) {
  if (!row) return;
  const known = state.latest.get(ownKey());
  if (!known || known.timestamp <= row.timestamp) state.latest.set(ownKey(), { ...known, ...row });
  state.ages.set(ownKey(), now() - moment(state.latest.get(ownKey()).timestamp));
}

async function older(oldest) {
  if (state.older) return;
  state.older = true;
  const asked = ownKey() + state.interval;
  try {
    const { rows } = await ask("bars", { ...own(), interval: state.interval, until: oldest, limit: BARS });
    if (asked === ownKey() + state.interval) chart.before(rows);
  } finally {
    state.older = false;
  }
}

async function askQuote() {
  if (!state.exchange) return;
  const asked = ownKey();
  const { rows } = await ask("quotes", { ...own(), limit: 1 });
  if (asked !== ownKey() || !rows.length) return;
  const { bid_price: bid, ask_price: offer } = rows.at(-1);
  say(find("quote"), `bid ${bid ? grouped(bid) : "none"} · ask ${offer ? grouped(offer) : "none"}`);
}

// The figures of the machine.

async function askFigures() {
  const { rows } = await ask("stats");
  const sum = (table) => rows.filter((row) => row.table === table).reduce((total, row) => total + row.rows, 0);
  const frames = [sum("bronze.frames"), Date.now()];
  if (state.frames) {
    const rate = ((frames[0] - state.frames[0]) * SECOND) / (frames[1] - state.frames[1]);
    say(find("frames"), `${grouped(Math.max(0, Math.round(rate)))} frames/s`);
  }
  state.frames = frames;
  const refused = sum("silver.dead_letters");
  if (refused !== state.refused || !find("refused").textContent) await askLetters(refused);
  await askFirst();
}

async function askLetters(refused) {
  state.letters = refused ? (await ask("dead-letters", { limit: 100 })).rows.reverse() : [];
  state.refused = refused;
  const reasons = new Map();
  for (const { reason } of state.letters) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  const named = [...reasons].sort((one, other) => other[1] - one[1]).slice(0, 3);
  const of = refused > state.letters.length ? `of the newest ${state.letters.length}: ` : "";
  const why = named.map(([reason, number]) => `${reason.replaceAll("_", " ")} ${number}`).join(" · ");
  say(find("refused"), `dead letters ${grouped(refused)}${why ? ` (${of}${why})` : ""}`);
  details.refresh();
}

// What is said.

function drawWords() {
  drawVenues();
  drawPrice();
  const time = now();
  const { kind, claim, below } = ledger.sentence(Date.now() - (state.begun ? 0 : DAY));
  mark(find("sentence"), "state", kind);
  say(find("claim"), claim);
  say(find("claim-details"), state.begun ? below : "asking the ledger");
  const holes = ledger.holes(null, time - DAY).length;
  say(find("holes"), holes ? `${grouped(holes)} hole${holes === 1 ? "" : "s"}` : "No holes");
  const markets = new Set([...ledger.markets(), ...state.latest.keys()]);
  strip.put([...markets], state.venues, state.ages, time);
  const latencies = [...state.latencies].sort((one, other) => one - other);
  const slowest = latencies[Math.floor(latencies.length * 0.99)];
  say(find("latency"), latencies.length ? `event → page ${(Math.max(0, slowest) / SECOND).toFixed(2)} s (p99)` : "");
  say(find("committed"), Number.isFinite(state.committed) ? `committed ${lasting(time - state.committed)} ago` : "");
  if (!state.exchange) say(find("waiting"), `Connected ${lasting(Date.now() - state.opened)} ago, waiting for the first trade`);
}

function drawVenues() {
  const rows = [...state.venues.values()].sort((one, other) => (one.exchange < other.exchange ? -1 : 1));
  const list = find("venues");
  while (list.childElementCount > rows.length) list.lastElementChild.remove();
  rows.forEach((row, number) => {
    const item = list.children[number] ?? list.appendChild(make("li", "", make("span"), make("span", "word number"), make("span", "number soft")));
    const [name, word, rate] = item.children;
    mark(item, "standing", row.last_received ? row.state : "waiting");
    say(name, row.exchange);
    say(word, row.last_received ? standing(row) : "waiting");
    say(rate, row.last_received ? `${grouped(Math.round(row.trades_per_second * 10) / 10)} trades/s` : "");
  });
  const symbols = new Set([...state.latest.values()].map((row) => row.symbol)).size;
  say(find("scope"), rows.length ? `${rows.length} venue${rows.length === 1 ? "" : "s"} · ${symbols} symbol${symbols === 1 ? "" : "s"}` : "");
}

function standing(row) {
  const age = lasting(row.age_seconds * SECOND);
  if (row.state === "repairing") return `repairing ${grouped(row.open_ids)} id${row.open_ids === 1 ? "" : "s"} · ${age}`;
  if (row.state === "lost") return `lost ${grouped(row.lost_ids)} id${row.lost_ids === 1 ? "" : "s"} · ${age}`;
  return `${row.state} · ${age}`;
}

function drawPrice() {
  const row = state.latest.get(ownKey());
  say(find("symbol"), state.symbol ?? "…");
  say(find("venue"), state.exchange ?? "…");
  say(find("price"), row ? grouped(row.price) : "");
  const change = row && state.dayOpen ? (100 * (Number(row.price) - Number(state.dayOpen))) / Number(state.dayOpen) : NaN;
  const place = find("change");
  place.className = `number ${change >= 0 ? "up" : "down"}`;
  say(place, Number.isFinite(change) ? `${change >= 0 ? "▲ +" : "▼ −"}${Math.abs(change).toFixed(2)} %` : "");
  document.title = row ? `${grouped(row.price)} ${state.symbol} · Tapekeeper` : "Tapekeeper";
}

function drawIntervals() {
  for (const button of find("intervals").children) {
    const chosen = button.textContent === state.interval;
    button.ariaChecked = String(chosen);
    button.tabIndex = chosen ? 0 : -1;
  }
}

/** A connection is gone: what is shown is dimmed, and it is said when it is tried again. */
function trouble(why) {
  if (why) state.why = why;
  drawTrouble();
}

function drawTrouble() {
  const streams = [machine, market].filter((stream) => stream && state.sees);
  const broken = streams.filter((stream) => stream.failures > 0);
  mark(document.body, "connection", broken.length ? "lost" : "live");
  find("trouble").hidden = !broken.length;
  if (!broken.length) return;
  const last = Math.max(...streams.map((stream) => stream.last));
  const next = Math.min(...broken.map((stream) => stream.next)) - Date.now();
  const heard = last ? `last update ${lasting(Date.now() - last)} ago` : "no answer yet";
  const soon = next > 0 ? `trying again in ${Math.ceil(next / SECOND)} s` : "trying again";
  say(find("trouble"), `The server does not answer: ${heard}, ${soon}`);
}

// What people do.

function pickSymbol() {
  const items = [...state.latest.values()].map((row) => ({ name: row.symbol, note: row.exchange, row }));
  items.sort((one, other) => (`${one.name} ${one.note}` < `${other.name} ${other.note}` ? -1 : 1));
  choose(find("symbol"), items, state.symbol, ({ row }) => look(row.exchange, row.symbol));
}

function pickVenue() {
  const same = [...state.latest.values()].filter((row) => row.exchange !== null);
  const base = state.latest.get(ownKey())?.base_asset;
  const items = [...new Set(same.map((row) => row.exchange))].sort().map((name) => {
    const there = same.filter((row) => row.exchange === name);
    const like = there.find((row) => row.symbol === state.symbol) ?? there.find((row) => row.base_asset === base) ?? there[0];
    return { name, note: like.symbol, row: like };
  });
  choose(find("venue"), items, state.exchange, ({ row }) => look(row.exchange, row.symbol));
}

function showCell(key, start) {
  const title = `${key.replace("\n", " ")} · ${clock(start, 0).slice(0, 5)} – ${clock(start + QUARTER, 0).slice(0, 5)} UTC`;
  details.open(title, () => details.holes(ledger.holes(key, start, start + QUARTER)));
}

const showHoles = () => details.open("Holes of the last 24 hours", () => details.holes(ledger.holes(null, now() - DAY)));
const showLetters = () => details.open("Dead letters", () => details.letters(state.letters, state.refused));

function showCopies() {
  if (!state.exchange) return;
  const named = copies(location.origin, state, state.interval);
  details.open(`${state.exchange} ${state.symbol}, bars of ${state.interval}`, () => ({ ...details.texts(named), same: "copies" }));
}

function changeTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // It is not remembered, and works.
  }
  chart.theme();
}

function showTab(name) {
  document.body.dataset.tab = name;
  for (const each of ["strip", "tape"]) {
    find(`tab-${each}`).ariaSelected = String(each === name);
    find(`tab-${each}`).tabIndex = each === name ? 0 : -1;
  }
  strip.draw();
}

const KEYS = { "/": pickSymbol, v: pickVenue, c: showCopies, d: changeTheme, h: showHoles };

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, dialog, [popover]")) return;
  const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (way && event.target.closest(".intervals")) {
    const number = (INTERVALS.indexOf(state.interval) + way + INTERVALS.length) % INTERVALS.length;
    if (state.exchange) look(state.exchange, state.symbol, INTERVALS[number]);
    find("intervals").children[number].focus();
  } else if (way && event.target.closest(".tabs")) {
    showTab(document.body.dataset.tab === "strip" ? "tape" : "strip");
    find(`tab-${document.body.dataset.tab}`).focus();
  } else if (event.key in KEYS) KEYS[event.key]();
  else return;
  event.preventDefault();
}

function listen() {
  for (const interval of INTERVALS) {
    const button = make("button", "", interval);
    button.role = "radio";
    button.addEventListener("click", () => state.exchange && look(state.exchange, state.symbol, interval));
    find("intervals").append(button);
  }
  const does = { symbol: pickSymbol, venue: pickVenue, copy: showCopies, theme: changeTheme, holes: showHoles, sentence: showHoles, refused: showLetters };
  for (const [id, act] of Object.entries(does)) find(id).addEventListener("click", act);
  for (const name of ["strip", "tape"]) find(`tab-${name}`).addEventListener("click", () => showTab(name));
  document.addEventListener("keydown", pressed);
  addEventListener("scroll", () => strip.draw(), { passive: true });
  document.addEventListener("visibilitychange", seen);
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", follow);
}

function follow({ matches }) {
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // Nothing was chosen.
  }
  if (chosen) return;
  document.documentElement.dataset.theme = matches ? "light" : "dark";
  chart.theme();
}

let leaving = 0;

function seen() {
  clearTimeout(leaving);
  if (document.hidden) {
    leaving = setTimeout(() => {
      state.sees = false;
      machine.close();
      market?.close();
    }, HIDDEN);
  } else if (!state.sees) {
    state.sees = true;
    machine.open();
    market?.open();
  }
}

/** Ask again and again, one after the other, while somebody sees it and the server answers. */
function every(pause, question) {
  setTimeout(async function again() {
    if (state.sees && machine.live && !document.hidden) await question().catch(() => {});
    setTimeout(again, pause);
  }, pause);
}

listen();
showTab("strip");
drawIntervals();
machine.open();
every(LATEST, askLatest);
every(QUOTE, askQuote);
every(NEWEST, () => askQuarters(quarterOf(now()) - QUARTER));
every(FIGURES, askFigures);
setInterval(() => {
  say(find("clock"), `${clock(now(), 0)} UTC`);
  const silent = machine.live && state.sees && Date.now() - machine.last > SILENCE;
  if (silent) for (const stream of [machine, market]) stream?.again("nothing came");
  drawTrouble();
  draw();
}, SECOND);
