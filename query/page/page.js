// The page: what is looked at, who is asked for it and when, and where it goes. Everything else is in other files.

import { Stream, ask, askAll } from "./api.js";
import { BARS, Chart } from "./chart.js";
import { choose } from "./choice.js";
import { copies } from "./copy.js";
import * as details from "./details.js";
import { Figures } from "./figures.js";
import { find, make, mark, onceAFrame, say } from "./frame.js";
import { Ledger, QUARTER, keyOf, quarterOf } from "./ledger.js";
import { Strip } from "./strip.js";
import { Tape } from "./tape.js";
import { drawVenues } from "./venues.js";
import { DAY, MINUTE, SECOND, clock, count, grouped, lasting, moment } from "./words.js";

const INTERVALS = ["1s", "1m", "5m", "15m", "1h", "1d"];
const TAPE = 100;
// How often each is asked for that no stream tells.
const MARKETS = 3 * SECOND;
const QUOTE = 2 * SECOND;
const NEWEST = 10 * SECOND;
const FIGURES = 10 * SECOND;
// The stream of the venues says something every second; without a word for so long it is dead.
const SILENCE = 12 * SECOND;
// A page that nobody sees for so long lets its connections go: a browser has six for all of them.
const HIDDEN = 20 * SECOND;
const PAGES = 5;
// Before a store is so old, minutes are too few candles to see anything.
const YOUNG = 10 * MINUTE;

const state = {
  exchange: null, symbol: null, interval: "1m",
  skew: 0, // the server's clock less ours
  opened: Date.now(), begun: false, older: false, sees: true, dayOpen: null,
  venues: new Map(), // by venue: its row of /v1/health
  latest: new Map(), // by market: its row of /v1/markets
  ages: new Map(), // by market: how old the newest trade was when it was asked for
};
const now = () => Date.now() + state.skew;
const ledger = new Ledger();
const chart = new Chart(find("candles"), older);
const tape = new Tape(find("trades"), find("paused"));
const figures = new Figures();
const strip = new Strip(ledger, { chosen: (exchange, symbol) => look(exchange, symbol), looked: showCell });
const baseOf = ({ symbol }) => symbol.split("-")[0];
const own = () => ({ venue: state.exchange, symbol: state.symbol });
const ownKey = () => keyOf(state);
const draw = onceAFrame(drawWords);
const price = onceAFrame(drawPrice);

// The machine: venues and holes of every market.

const machine = new Stream({ events: "gaps,health" }, { begin: beginMachine, take: takeMachine, lost: trouble });

async function beginMachine({ simulated }) {
  find("simulated").hidden = !simulated;
  ledger.note(await askAll("gaps", { since: Math.floor(now() - DAY) }, PAGES));
  await Promise.all([askQuarters(quarterOf(now()) - DAY + QUARTER), askFirst()]);
  await askMarkets();
  state.begun = true;
  figures.ask().catch(() => {}); // asked again soon
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

async function askMarkets() {
  const answer = await ask("markets");
  find("simulated").hidden = !answer.simulated;
  figures.put(answer);
  for (const row of answer.rows) {
    state.latest.set(keyOf(row), row);
    state.ages.set(keyOf(row), row.age_seconds * SECOND);
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
  const [exchange, symbol, interval] = addressed();
  const young = now() - Math.min(...ledger.first.values()) < YOUNG;
  state.interval = INTERVALS.includes(interval) ? interval : young ? "1s" : "1m";
  const known = [...state.latest.values()];
  const wanted = known.find((row) => row.exchange === exchange && row.symbol === symbol);
  const usual = known.find((row) => baseOf(row) === "BTC") ?? known[0];
  look((wanted ?? usual).exchange, (wanted ?? usual).symbol);
}

/** What the address says after its #; whatever somebody wrote there. */
function addressed() {
  try {
    return location.hash.slice(1).split("/").map(decodeURIComponent);
  } catch {
    return [];
  }
}

function look(exchange, symbol, interval = state.interval) {
  Object.assign(state, { exchange, symbol, interval, dayOpen: null });
  figures.latencies = [];
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
    figures.arrived(rows, now());
    newest(rows.findLast((row) => row.origin === "live"));
  }
  price();
}

function newest(row) {
  if (!row) return;
  const known = state.latest.get(ownKey());
  if (known && known.last_traded > row.timestamp) return;
  state.latest.set(ownKey(), { ...known, exchange: row.exchange, symbol: row.symbol, price: row.price, last_traded: row.timestamp });
  state.ages.set(ownKey(), now() - moment(row.timestamp));
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

// What is said.

function drawWords() {
  drawVenues(state.venues.values(), state.latest.values());
  drawPrice();
  const time = now();
  const checking = { kind: "checking", claim: "Checking…", below: "asking the ledger" };
  const { kind, claim, below } = state.begun ? ledger.sentence(Date.now()) : checking;
  mark(find("sentence"), "state", kind);
  say(find("claim"), claim);
  say(find("claim-details"), below);
  const holes = ledger.holes(null, time - DAY).length;
  say(find("holes"), holes ? count(holes, "hole") : "No holes");
  const markets = new Set([...ledger.markets(), ...state.latest.keys()]);
  if (state.begun) strip.put([...markets], state.venues, state.ages, time);
  figures.draw(time);
  if (!state.exchange) say(find("waiting"), `Connected ${lasting(Date.now() - state.opened)} ago, waiting for the first trade`);
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
  say(find("trouble-details"), `${heard}, ${soon}`);
}

// What people do.

function pickSymbol() {
  const items = [...state.latest.values()].map((row) => ({ name: row.symbol, note: row.exchange, row }));
  items.sort((one, other) => (`${one.name} ${one.note}` < `${other.name} ${other.note}` ? -1 : 1));
  choose(find("symbol"), items, state.symbol, ({ row }) => look(row.exchange, row.symbol));
}

function pickVenue() {
  const same = [...state.latest.values()].filter((row) => row.exchange !== null);
  const items = [...new Set(same.map((row) => row.exchange))].sort().map((name) => {
    const there = same.filter((row) => row.exchange === name);
    const like = there.find((row) => row.symbol === state.symbol) ?? there.find((row) => baseOf(row) === baseOf(state)) ?? there[0];
    return { name, note: like.symbol, row: like };
  });
  choose(find("venue"), items, state.exchange, ({ row }) => look(row.exchange, row.symbol));
}

function showCell(key, start) {
  const title = `${key.replace("\n", " ")} · ${clock(start, 0).slice(0, 5)} – ${clock(start + QUARTER, 0).slice(0, 5)} UTC`;
  details.open(title, () => details.holes(ledger.holes(key, start, start + QUARTER)));
}

const showHoles = () => details.open("Holes of the last 24 hours", () => details.holes(ledger.holes(null, now() - DAY)));
const showLetters = () => details.open("Dead letters", () => details.letters(figures.letters, figures.refused));

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
every(MARKETS, askMarkets);
every(QUOTE, askQuote);
every(NEWEST, () => askQuarters(quarterOf(now()) - QUARTER));
every(FIGURES, async () => {
  await figures.ask();
  await askFirst();
});
setInterval(() => {
  say(find("clock"), `${clock(now(), 0)} UTC`);
  const silent = machine.live && state.sees && Date.now() - machine.last > SILENCE;
  if (silent) for (const stream of [machine, market]) stream?.again("nothing came");
  drawTrouble();
  draw();
}, SECOND);
